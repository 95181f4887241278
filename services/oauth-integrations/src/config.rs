//! The settings of the service, read from the environment and checked before a port opens.

mod parse;
mod providers;

use std::{error::Error as _, fmt::Write as _, net::IpAddr, time::Duration};

use clap::{CommandFactory, Parser, error::ContextKind};
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use self::parse::{
    parse_base_url, parse_issuer, parse_network, parse_origins, parse_secret, parse_text, seconds,
};
pub use self::providers::ProviderConfig;
use crate::{
    domain::{credential::HandOutPlatforms, encryption::TokenEncryptionKeys},
    telemetry::LogFormat,
};

/// What one request may spend on the database. Together under two seconds, so that a database that is down is a 503 within two.
pub const POOL_WAIT_LIMIT: Duration = Duration::from_millis(400);
pub const CONNECT_LIMIT: Duration = Duration::from_millis(500);
pub const STATEMENT_LIMIT: Duration = Duration::from_millis(800);

/// How long a call to auth-api may take that a request waits for.
pub const INTROSPECTION_LIMIT: Duration = Duration::from_millis(450);
/// How long a call in the background may take, for which no request waits.
pub const BACKGROUND_CALL_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may be idle. Longer than proxies keep theirs, 60 s as a rule: who closes later never closes on a request.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long open connections are served after SIGTERM, so that whoever uses one learns from an answer to connect elsewhere: a connection closed
/// without a word may be closed on a request that is just on its way.
pub const LAME_DUCK: Duration = Duration::from_secs(3);
/// How long open requests may go on after that.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(17);

/// The exit code for unusable settings (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// The settings. The sentence above each field is its documentation, in `--help` and in the README's table.
#[derive(Clone, Debug, Parser)]
#[command(name = "oauth-integrations", no_binary_name = true, disable_help_flag = true)]
pub struct Config {
    /// Address of the main listener.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of the main listener; 0 lets the system choose.
    #[arg(long, env, default_value_t = 8010)]
    pub port: u16,
    /// Address of the listener for `/livez`, `/readyz` and `/metrics`.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub admin_host: IpAddr,
    /// Port of that listener.
    #[arg(long, env, default_value_t = 9010)]
    pub admin_port: u16,
    /// Where browsers reach this service, without a path; `OAUTH_CALLBACK_BASE` where it is not given, whose host it must have.
    #[arg(long, env, value_parser = parse_base_url)]
    pub public_url: Option<Url>,
    /// Origins that browsers may call from and come back to (`return_to`), separated by commas; none where it is empty.
    #[arg(long, env, default_value = "", value_parser = parse_origins)]
    pub allowed_origins: Origins,
    /// Addresses or networks of proxies whose `X-Forwarded-For` is believed, separated by commas.
    #[arg(long, env, value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,
    /// `json` or `pretty`.
    #[arg(long, env, value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Which log lines are written, such as `info,oauth_integrations=debug`.
    #[arg(long, env, default_value = "info")]
    pub rust_log: String,
    /// The `iss` of the tokens that are accepted.
    #[arg(long, env, value_parser = parse_issuer)]
    pub auth_api_issuer: String,
    /// Where auth-api is reached; the issuer where it is not given.
    #[arg(long, env, value_parser = parse_base_url)]
    pub auth_api_url: Option<Url>,
    /// Where auth-api's keys are read; `/.well-known/jwks.json` beneath `AUTH_API_URL` where it is not given.
    #[arg(long, env, value_parser = parse_base_url)]
    pub auth_api_jwks_url: Option<Url>,
    /// The `aud` that a token has to name.
    #[arg(long, env, default_value = "oauth-integrations", value_parser = parse_text)]
    pub jwt_audience: String,
    /// Time between two fetches of the keys, 10 to 86400.
    #[arg(long = "jwks-refresh-seconds", env = "JWKS_REFRESH_SECONDS", default_value = "1800", value_parser = seconds::<10, 86_400>)]
    pub jwks_refresh: Duration,
    /// `true`: tokens are checked here, against auth-api's keys. `false`: auth-api is asked about each one.
    #[arg(long, env, default_value_t = true, action = clap::ArgAction::Set)]
    pub use_oauth2_auth: bool,
    /// The client that this service is at auth-api.
    #[arg(long, env, default_value = "oauth-integrations-service", value_parser = parse_text)]
    pub client_id: String,
    /// Secret of that client.
    #[arg(long, env, value_parser = parse_secret)]
    pub client_secret: SecretString,
    /// Host of PostgreSQL, or the folder of its socket.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub postgres_host: String,
    /// Port of PostgreSQL.
    #[arg(long, env, default_value_t = 5432)]
    pub postgres_port: u16,
    /// Role to log in as.
    #[arg(long, env, default_value = "oauth_integrations")]
    pub postgres_user: String,
    /// Password of that role.
    #[arg(long, env, value_parser = parse_secret)]
    pub postgres_password: SecretString,
    /// Database.
    #[arg(long, env, default_value = "oauth_integrations")]
    pub postgres_db: String,
    /// Connections that one replica keeps at most.
    #[arg(long, env, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=500))]
    pub postgres_max_connections: u16,
    /// Keys that providers' tokens are encrypted with: `id:base64 of 32 bytes`, separated by commas, the one in use first.
    #[arg(long, env)]
    pub token_encryption_keys: TokenEncryptionKeys,
    /// Where providers send browsers back to: scheme and host, https unless it is on loopback. `/oauth/callback/{platform}` beneath
    /// it is what is registered at each provider.
    #[arg(long, env, value_parser = parse::parse_callback_base)]
    pub oauth_callback_base: Url,
    /// Where mozaiks-runtime hears that a connection was made; it is not told where this is not given.
    #[arg(long, env, value_parser = parse_base_url)]
    pub runtime_url: Option<Url>,
    /// Starts and callbacks that one address may make in a minute.
    #[arg(long, env, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_browser_per_minute: u32,
    /// Tokens that one client may be handed in a minute.
    #[arg(long, env, default_value_t = 6000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_hand_out_per_minute: u32,
    /// Clients that may be handed tokens of some platforms only: `client=github+jira`, separated by commas. Others may have all.
    #[arg(long, env, default_value = "")]
    pub hand_out_platforms: HandOutPlatforms,
    /// Consents that one organization may have under way at once.
    #[arg(long, env, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_live_states_per_org: u32,
    #[command(flatten)]
    pub provider: ProviderConfig,
}

/// Origins allowed to call from a browser, each as a browser writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Vec<String>);

/// Why the settings are unusable: one sentence that names the variable, never a secret value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{0} is not set.")]
    Missing(String),
    #[error("{variable} is not usable: {reason}.")]
    Invalid { variable: String, reason: String },
    #[error("The environment is not usable: {0}.")]
    Other(String),
}

impl Config {
    /// The settings in the environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_arguments(std::iter::empty())
    }

    /// The settings in these pairs of variable and value; what is not among them comes from the environment.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let flag = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        Self::from_arguments(pairs.into_iter().map(|(name, value)| format!("--{}={value}", flag(name))))
    }

    /// Where a path of auth-api is reached.
    pub fn auth_api(&self, path: &str) -> String {
        let base = self.auth_api_url.as_ref().map_or(self.auth_api_issuer.as_str(), Url::as_str);
        format!("{}{path}", base.trim_end_matches('/'))
    }

    /// Where auth-api's keys are read.
    pub fn jwks_url(&self) -> String {
        match &self.auth_api_jwks_url {
            Some(url) => url.to_string(),
            None => self.auth_api("/.well-known/jwks.json"),
        }
    }

    /// The origin under which browsers see this service.
    pub fn public_origin(&self) -> String {
        self.public_url.as_ref().unwrap_or(&self.oauth_callback_base).origin().ascii_serialization()
    }

    /// The README's table of variables.
    pub fn markdown() -> String {
        let mut table = String::from("| variable | default | meaning |\n|---|---|---|\n");
        for argument in Self::command().get_arguments() {
            let Some(variable) = argument.get_env() else { continue };
            let defaults = argument.get_default_values();
            let default = match defaults.first().map(|value| value.to_string_lossy()) {
                Some(value) if value.is_empty() => "empty".to_owned(),
                Some(value) => format!("`{value}`"),
                None if argument.is_required_set() => "required".to_owned(),
                None => "none".to_owned(),
            };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "| `{}` | {default} | {} |",
                variable.to_string_lossy(),
                help.replace('\n', " ")
            );
        }
        table.push_str("| `OTEL_EXPORTER_OTLP_ENDPOINT` | none | Where traces go (OTLP over HTTP); none are made without it. |\n");
        table.push_str("| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` | OpenTelemetry's | As OpenTelemetry defines them. |\n");
        table
    }

    fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, ConfigError> {
        let mut config = Self::try_parse_from(arguments).map_err(|error| ConfigError::from_clap(&error))?;
        let is_elsewhere = |url: &Url| {
            url.host() != config.oauth_callback_base.host()
                || url.scheme() != config.oauth_callback_base.scheme()
        };
        if config.public_url.as_ref().is_some_and(is_elsewhere) {
            return Err(ConfigError::invalid(
                "PUBLIC_URL",
                "it is on another host than OAUTH_CALLBACK_BASE, where the browser's cookie would be missing",
            ));
        }
        config.provider.settle()?;
        Ok(config)
    }
}

impl Origins {
    /// Whether `origin` may call.
    pub fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == origin)
    }
}

impl ConfigError {
    fn invalid(variable: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { variable: variable.to_owned(), reason: reason.into() }
    }

    /// Turns clap's report into a sentence. Values stay out of it, since one may be a secret.
    fn from_clap(error: &clap::Error) -> Self {
        let named = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
        let variable = named
            .split([' ', '=', ','])
            .next()
            .unwrap_or_default()
            .trim_start_matches('-')
            .to_ascii_uppercase()
            .replace('-', "_");
        match error.kind() {
            _ if variable.is_empty() => Self::Other(first_line(&error.to_string())),
            clap::error::ErrorKind::MissingRequiredArgument => Self::Missing(variable),
            _ => {
                let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
                    (Some(source), _) => first_line(&source.to_string()),
                    (None, Some(values)) => format!("it is none of {values}"),
                    (None, None) => "its value is of another form".to_owned(),
                };
                Self::Invalid { variable, reason }
            }
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
