//! Wires auth-api: settings, telemetry, the chosen command, and an exit code.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use auth_api::{
    app::App,
    config::{Config, EXIT_USAGE},
    domain::{Identity, audit::Circumstances, key_rotation, seed, user},
    routes,
    telemetry::{LogFormat, LogOutput, Telemetry},
};
use clap::{Parser, Subcommand};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

/// Identity: organizations, users, groups, clients, signing keys and access tokens. Settings come from the environment.
#[derive(Parser)]
#[command(name = "auth-api", version)]
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
    /// Make the demo data and print it as shell variables.
    SeedDemo,
    /// Look after the signing keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look after users.
    #[command(subcommand)]
    Users(UsersCommand),
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Publish the next key now; it signs once it has been published long enough.
    Rotate {
        /// Also remove this key at once, with all of its tokens.
        // An id may begin with a hyphen.
        #[arg(long, allow_hyphen_values = true)]
        revoke: Option<String>,
    },
    /// Remove a key at once: its tokens are revoked.
    Revoke {
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

#[derive(Subcommand)]
enum UsersCommand {
    /// Disable a user: no login any more, and the tokens that are out are revoked.
    Disable { email: String },
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
    let identity = Identity::new(config, &prometheus::Registry::new())?;
    match command {
        Command::Migrate => identity.db.migrate().await?,
        Command::SeedDemo => {
            identity.db.migrate().await?;
            let known = |variable: &str| {
                let seeded = std::env::var(format!("SEED_{variable}")).or_else(|_| std::env::var(variable));
                seeded.ok().filter(|secret| !secret.is_empty()).map(SecretString::from)
            };
            for (name, value) in seed::seed(&identity, known).await? {
                write_line(&format!("{name}='{}'", value.replace('\'', r"'\''")))?;
            }
        }
        Command::Keys(KeysCommand::Rotate { revoke }) => {
            if let Some(revoked) = &revoke {
                key_rotation::reload(&identity).await?;
                anyhow::ensure!(identity.keys.load().kids().contains(revoked), "there is no key {revoked}");
            }
            let kid = key_rotation::rotate(&identity).await?;
            if let Some(revoked) = revoke {
                anyhow::ensure!(
                    key_rotation::revoke(&identity, &revoked).await?,
                    "there is no key {revoked}"
                );
            }
            write_line(&kid)?;
        }
        Command::Keys(KeysCommand::Revoke { kid }) => {
            anyhow::ensure!(key_rotation::revoke(&identity, &kid).await?, "there is no key {kid}");
        }
        Command::Users(UsersCommand::Disable { email }) => {
            match user::disable(&identity, &email.parse()?, &Circumstances::default()).await? {
                user::Disabling::UnknownUser => anyhow::bail!("there is no such user"),
                user::Disabling::Nothing => tracing::info!("the user was disabled before"),
                user::Disabling::Done => tracing::info!("disabled"),
            }
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

fn write_line(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
