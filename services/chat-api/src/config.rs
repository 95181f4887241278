//! The settings of the service, read from the environment and checked before a port opens.

use std::{error::Error as _, fmt::Write, net::IpAddr, time::Duration};

use clap::{CommandFactory, Parser, error::ContextKind};
use mongodb::options::ConnectionString;
use secrecy::SecretString;
use url::Url;

use crate::telemetry::LogFormat;

/// What one request may spend on its dependencies. Together under two seconds, so that one that is down is a 503 within two.
pub const INTROSPECTION_LIMIT: Duration = Duration::from_millis(450);
pub const DIRECTORY_WAIT_LIMIT: Duration = Duration::from_millis(450);
pub const STORE_LIMIT: Duration = Duration::from_secs(1);

/// What one operation of the store may spend, and within it the search for a server and opening a connection.
pub const OPERATION_LIMIT: Duration = Duration::from_millis(950);
pub const SERVER_SELECTION_LIMIT: Duration = Duration::from_millis(500);
pub const CONNECT_LIMIT: Duration = Duration::from_millis(400);

/// How long a call in the background may take, for which no request waits.
pub const BACKGROUND_CALL_LIMIT: Duration = Duration::from_secs(5);
/// How long a poll of auth-api's changes waits for news. Short, since so long nobody notices that a connection was lost: a member who was removed
/// would go on reading.
pub const DIRECTORY_POLL_WAIT: Duration = Duration::from_secs(1);

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
#[command(name = "chat-api", no_binary_name = true, disable_help_flag = true)]
pub struct Config {
    /// Address of the main listener.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of the main listener; 0 lets the system choose.
    #[arg(long, env, default_value_t = 8001)]
    pub port: u16,
    /// Address of the listener for `/livez`, `/readyz` and `/metrics`.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub admin_host: IpAddr,
    /// Port of that listener.
    #[arg(long, env, default_value_t = 9001)]
    pub admin_port: u16,
    /// Where browsers reach this service; `/openapi.json` names it.
    #[arg(long, env, value_parser = parse_base_url)]
    pub public_url: Option<Url>,
    /// Origins that browsers may call from, separated by commas; none where it is empty.
    #[arg(long, env, default_value = "", value_parser = parse_origins)]
    pub allowed_origins: Origins,
    /// `json` or `pretty`.
    #[arg(long, env, value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Which log lines are written, such as `info,chat_api=debug`.
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
    #[arg(long, env, default_value = "chat-api", value_parser = parse_text)]
    pub jwt_audience: String,
    /// Time between two fetches of the keys, 10 to 86400.
    #[arg(long = "jwks-refresh-seconds", env = "JWKS_REFRESH_SECONDS", default_value = "1800", value_parser = seconds::<10, 86_400>)]
    pub jwks_refresh: Duration,
    /// `true`: tokens are checked here, against auth-api's keys. `false`: auth-api is asked about each one.
    #[arg(long, env, default_value_t = true, action = clap::ArgAction::Set)]
    pub use_oauth2_auth: bool,
    /// The client that this service is at auth-api.
    #[arg(long, env, default_value = "chat-api-service", value_parser = parse_text)]
    pub client_id: String,
    /// Secret of that client.
    #[arg(long, env, value_parser = parse_secret)]
    pub client_secret: SecretString,
    /// Connection string of MongoDB.
    #[arg(long, env, value_parser = parse_mongodb_uri)]
    pub mongodb_uri: SecretString,
    /// Database.
    #[arg(long, env, default_value = "chat_api", value_parser = parse_text)]
    pub mongodb_database: String,
    /// How long groups and members are taken from memory while auth-api is down, 2 to 604800.
    #[arg(long = "directory-max-stale-seconds", env = "DIRECTORY_MAX_STALE_SECONDS", default_value = "3600", value_parser = seconds::<2, 604_800>)]
    pub directory_max_stale: Duration,
    /// Organizations whose groups are kept in memory.
    #[arg(long, env, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub directory_max_orgs: u32,
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
    ///
    /// # Errors
    /// [`ConfigError`], for the first variable that is missing or unusable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_arguments(std::iter::empty())
    }

    /// The settings in these pairs of variable and value; what is not among them comes from the environment.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let flag = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        Self::from_arguments(pairs.into_iter().map(|(name, value)| format!("--{}={value}", flag(name))))
    }

    /// Where a path of auth-api is reached.
    #[must_use]
    pub fn auth_api(&self, path: &str) -> String {
        let base = self.auth_api_url.as_ref().map_or(self.auth_api_issuer.as_str(), Url::as_str);
        format!("{}{path}", base.trim_end_matches('/'))
    }

    /// Where auth-api's keys are read.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        match &self.auth_api_jwks_url {
            Some(url) => url.to_string(),
            None => self.auth_api("/.well-known/jwks.json"),
        }
    }

    /// The README's table of variables.
    #[must_use]
    pub fn markdown() -> String {
        let mut table = String::from("| variable | default | meaning |\n|---|---|---|\n");
        for argument in Self::command().get_arguments() {
            let Some(variable) = argument.get_env() else { continue };
            let default = match argument.get_default_values().first().map(|value| value.to_string_lossy()) {
                Some(value) if value.is_empty() => "empty".to_owned(),
                Some(value) => format!("`{value}`"),
                None if argument.is_required_set() => "required".to_owned(),
                None => "none".to_owned(),
            };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| `{}` | {default} | {help} |", variable.to_string_lossy());
        }
        table.push_str(OPENTELEMETRY_ROWS);
        table
    }

    fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, ConfigError> {
        Self::try_parse_from(arguments).map_err(|error| ConfigError::from_clap(&error))
    }
}

const OPENTELEMETRY_ROWS: &str = "\
| `OTEL_EXPORTER_OTLP_ENDPOINT` | none | Where traces go (OTLP over HTTP); none are made without it. |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` | OpenTelemetry's | As OpenTelemetry defines them. |
";

impl ConfigError {
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

fn parse_text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("it is empty") } else { Ok(text.to_owned()) }
}

fn parse_secret(text: &str) -> Result<SecretString, &'static str> {
    if text.is_empty() { Err("it is empty") } else { Ok(SecretString::from(text)) }
}

/// Only the form: names are looked up when the service starts. What the driver says may quote the password.
fn parse_mongodb_uri(text: &str) -> Result<SecretString, &'static str> {
    match ConnectionString::parse(text) {
        Ok(_) => Ok(SecretString::from(text)),
        Err(_) => Err("it is no connection string, or a part of it is not percent-encoded"),
    }
}

fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is no URL")?;
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain {
        Ok(url)
    } else {
        Err("it is no plain http or https URL")
    }
}

/// Tokens carry the text byte for byte, so it stays one; a slash at the end is what issuers differ in most.
fn parse_issuer(text: &str) -> Result<String, &'static str> {
    parse_base_url(text)?;
    if text.ends_with('/') { Err("it ends with a slash") } else { Ok(text.to_owned()) }
}

fn parse_origins(text: &str) -> Result<Origins, &'static str> {
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    origins.map(parse_origin).collect::<Result<_, _>>().map(Origins)
}

fn parse_origin(text: &str) -> Result<String, &'static str> {
    let origin = parse_base_url(text)
        .map_err(|_| "it holds something else than origins")?
        .origin()
        .ascii_serialization();
    if origin == text { Ok(origin) } else { Err("an origin is scheme://host[:port] and nothing else") }
}

fn seconds<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (MIN..=MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("it is no whole number of seconds from {MIN} to {MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: [(&str, &str); 3] = [
        ("AUTH_API_ISSUER", "http://auth-api:8000"),
        ("CLIENT_SECRET", "s"),
        ("MONGODB_URI", "mongodb://user:pass@127.0.0.1/"),
    ];

    fn config<'a>(extra: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, ConfigError> {
        Config::from_pairs(BASE.into_iter().chain(extra))
    }

    #[test]
    fn the_defaults_and_three_values_are_enough() {
        let config = config([]).unwrap();
        assert_eq!((config.port, config.admin_port), (8001, 9001));
        assert!(config.use_oauth2_auth);
        assert_eq!(config.auth_api("/oauth/token"), "http://auth-api:8000/oauth/token");
        assert_eq!(config.jwks_url(), "http://auth-api:8000/.well-known/jwks.json");
    }

    #[test]
    fn identity_and_address_of_auth_api_are_two_things() {
        let config = config([("AUTH_API_URL", "http://10.0.0.7:8000/")]).unwrap();
        assert_eq!(config.auth_api_issuer, "http://auth-api:8000");
        assert_eq!(config.auth_api("/oauth/token"), "http://10.0.0.7:8000/oauth/token");
    }

    #[test]
    fn a_bad_value_is_named_in_one_sentence() {
        for (variable, value, reason) in [
            ("PORT", "http", "invalid digit"),
            ("USE_OAUTH2_AUTH", "maybe", "true"),
            ("LOG_FORMAT", "xml", "json"),
            ("ALLOWED_ORIGINS", "https://a.example/path", "origin"),
            ("DIRECTORY_MAX_STALE_SECONDS", "0", "2 to 604800"),
            ("AUTH_API_URL", "auth-api", "URL"),
            ("CLIENT_ID", "", "empty"),
        ] {
            let error = config([(variable, value)]).unwrap_err().to_string();
            assert!(error.starts_with(variable) && error.contains(reason), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error =
            Config::from_pairs([("AUTH_API_ISSUER", "http://a"), ("CLIENT_SECRET", "s")]).unwrap_err();
        assert_eq!(error, ConfigError::Missing("MONGODB_URI".to_owned()));
    }

    #[test]
    fn secrets_do_not_print() {
        let printed = format!("{:?}", config([]).unwrap());
        assert!(!printed.contains("user:pass"), "{printed}");
    }

    #[test]
    fn the_limits_leave_an_answer_within_two_seconds() {
        assert!(INTROSPECTION_LIMIT + DIRECTORY_WAIT_LIMIT + STORE_LIMIT < Duration::from_secs(2));
        assert!(SERVER_SELECTION_LIMIT + CONNECT_LIMIT < OPERATION_LIMIT);
        assert!(OPERATION_LIMIT < STORE_LIMIT);
    }

    #[test]
    fn every_variable_is_in_the_table() {
        let table = Config::markdown();
        assert!(table.contains("| `MONGODB_URI` | required |"), "{table}");
        assert!(table.contains("| `PORT` | `8001` |"), "{table}");
    }
}
