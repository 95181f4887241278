//! Wires oauth-integrations: settings, telemetry, the chosen command, and an exit code.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use oauth_integrations::{
    app::App,
    config::{Config, EXIT_USAGE},
    domain::{Integrations, key_rotation},
    routes,
    telemetry::{LogFormat, LogOutput, Telemetry},
};
use tokio::signal::unix::{SignalKind, signal};

/// GitHub, Jira and Slack, connected for an organization, and their tokens. Settings come from the environment.
#[derive(Parser)]
#[command(name = "oauth-integrations", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default).
    Serve,
    /// Check the settings and end.
    CheckConfig {
        /// Print the table of all settings instead.
        #[arg(long)]
        markdown: bool,
    },
    /// Print the contract (`OpenAPI` 3.1).
    Openapi,
    /// Bring the database's schema up to date and end.
    Migrate,
    /// Look after the keys of `TOKEN_ENCRYPTION_KEYS`.
    #[command(subcommand)]
    Keys(KeysCommand),
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Encrypt every stored token with the key in use. It may be stopped and begun again at any time.
    Rewrap,
}

fn main() -> ExitCode {
    // The one TLS stack of the process; a second call would find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = Cli::parse().command.unwrap_or(Command::Serve);
    match command {
        Command::CheckConfig { markdown: true } => return print(&Config::markdown()),
        Command::Openapi => {
            return print(&(routes::contract::build().to_pretty_json().unwrap_or_default() + "\n"));
        }
        _ => {}
    }
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => {
            // The error would tell what is in the line, which may be a secret.
            eprintln!(".env is not usable: a line in it cannot be read.");
            return ExitCode::from(EXIT_USAGE);
        }
        _ => {}
    }
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let (format, output) = match command {
        Command::Serve => (config.log_format, LogOutput::Stdout),
        _ => (LogFormat::Pretty, LogOutput::Stderr),
    };
    let telemetry = match Telemetry::start(format, &config.rust_log, output) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{error}.");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let outcome = tokio::runtime::Runtime::new()
        .context("no async runtime")
        .and_then(|runtime| runtime.block_on(run(command, &config)));
    telemetry.flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, config: &Config) -> anyhow::Result<()> {
    if let Command::Serve = command {
        let app = App::build(config)?;
        return Ok(app.run_until_stopped(stop_signal()?).await?);
    }
    let integrations = Integrations::new(config, &prometheus::Registry::new())?;
    match command {
        Command::Migrate => integrations.db.migrate().await?,
        Command::Keys(KeysCommand::Rewrap) => {
            let rewrapped = key_rotation::rewrap(&integrations).await?;
            writeln!(std::io::stdout(), "{rewrapped}")?;
        }
        Command::Serve | Command::CheckConfig { .. } | Command::Openapi => {}
    }
    Ok(())
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
