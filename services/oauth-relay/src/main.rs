//! Wires the service: telemetry, settings, build, run, flush, exit code; and its other commands.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use oauth_relay::{
    app::App,
    client::command::{MakeUrl, Wait},
    config::{Config, EXIT_USAGE},
    routes::contract,
    telemetry::{LogFormat, LogOutput, Telemetry},
};
use tokio::signal::unix::{SignalKind, signal};

/// Authorization codes for programs that cannot open a browser.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default).
    Serve,
    /// Check the settings and exit.
    CheckConfig {
        /// Print the table of variables instead; needs no settings.
        #[arg(long)]
        markdown: bool,
    },
    /// Print the `OpenAPI` contract.
    Openapi,
    Wait(Wait),
    Url(MakeUrl),
}

fn main() -> ExitCode {
    // Where the crates of this process do not agree on one, rustls has no default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => {
            // The error would tell what is in the line, which may be a secret.
            eprintln!(".env is not usable: a line in it cannot be read.");
            return EXIT_USAGE.into();
        }
        _ => {}
    }
    match Arguments::parse().command.unwrap_or(Command::Serve) {
        Command::Openapi => print(&contract::render(None, contract::CALLBACK_PATH)),
        Command::CheckConfig { markdown: true } => print(&Config::markdown()),
        Command::CheckConfig { markdown: false } => with_config(|_| Ok(())),
        Command::Serve => with_config(|config| serve(&config)),
        Command::Wait(command) => wait(command),
        Command::Url(command) => command.run(),
    }
}

fn with_config(run: impl FnOnce(Config) -> anyhow::Result<()>) -> ExitCode {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return EXIT_USAGE.into();
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oauth-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(config.log_format, &config.rust_log, LogOutput::Stdout)?;
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let app = App::build(config).await?;
        app.run_until_stopped(stop_signal()?).await?;
        Ok(())
    });
    telemetry.flush();
    outcome
}

/// Its output is for another program, so its logs go to stderr, and only those that matter unless `RUST_LOG` asks for more.
fn wait(command: Wait) -> ExitCode {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    let prepared = Telemetry::start(LogFormat::Pretty, &filter, LogOutput::Stderr)
        .map_err(anyhow::Error::from)
        .and_then(|_| Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?));
    match prepared {
        Ok(runtime) => runtime.block_on(command.run()),
        Err(error) => {
            eprintln!("oauth-relay: {error:#}");
            EXIT_USAGE.into()
        }
    }
}

/// Resolves on the first SIGTERM or SIGINT; the second ends the process at once.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut next = async move || {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    };
    Ok(async move {
        next().await;
        tokio::spawn(async move {
            next().await;
            std::process::exit(1);
        });
    })
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
