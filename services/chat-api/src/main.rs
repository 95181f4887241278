//! Wires the service: telemetry, settings, build, run, flush, exit code; and its other commands.

use std::{io::Write, process::ExitCode};

use chat_api::{
    app::App,
    config::{Config, EXIT_USAGE},
    routes::contract,
    telemetry::{LogOutput, Telemetry},
};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Team chat.
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
        Command::Openapi => print(&contract::render(None)),
        Command::CheckConfig { markdown: true } => print(&Config::markdown()),
        Command::CheckConfig { markdown: false } => with_config(|_| Ok(())),
        Command::Serve => with_config(|config| serve(&config)),
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
            eprintln!("chat-api: {error:#}");
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
