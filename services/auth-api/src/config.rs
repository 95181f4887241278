//! The settings of the service, read from the environment and checked before a port opens.

use std::{error::Error as _, fmt::Write as _, net::IpAddr, time::Duration};

use clap::{CommandFactory, Parser, error::ContextKind};
use secrecy::SecretString;
use url::Url;

use crate::{
    domain::{client_secrets::MountedSecrets, key_encryption::KeyEncryptionKeys, network::TrustedProxies},
    telemetry::LogFormat,
};

/// What one request may spend on the database. Together under two seconds, so that a database that is down is a 503 within two.
pub const POOL_WAIT_LIMIT: Duration = Duration::from_millis(400);
pub const CONNECT_LIMIT: Duration = Duration::from_millis(500);
pub const STATEMENT_LIMIT: Duration = Duration::from_millis(800);

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
#[command(name = "auth-api", no_binary_name = true, disable_help_flag = true)]
pub struct Config {
    /// Address of the main listener.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of the main listener; 0 lets the system choose.
    #[arg(long, env, default_value_t = 8000)]
    pub port: u16,
    /// Address of the listener for `/livez`, `/readyz` and `/metrics`.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub admin_host: IpAddr,
    /// Port of that listener.
    #[arg(long, env, default_value_t = 9000)]
    pub admin_port: u16,
    /// The identity that tokens carry as `iss`: an http or https URL without a slash at its end.
    #[arg(long, env, value_parser = parse_issuer)]
    pub auth_api_issuer: String,
    /// Where browsers and services reach this service; the issuer where it is not given.
    #[arg(long, env, value_parser = parse_base_url)]
    pub public_url: Option<Url>,
    /// Origins that browsers may call from, separated by commas; none where it is empty.
    #[arg(long, env, default_value = "", value_parser = parse_origins)]
    pub allowed_origins: Origins,
    /// Addresses or networks of proxies whose `X-Forwarded-For` is believed, separated by commas; none where it is empty.
    #[arg(long, env, default_value = "")]
    pub trusted_proxies: TrustedProxies,
    /// `json` or `pretty`.
    #[arg(long, env, value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Which log lines are written, such as `info,auth_api=debug`.
    #[arg(long, env, default_value = "info")]
    pub rust_log: String,
    /// Host of PostgreSQL, or the folder of its socket.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub postgres_host: String,
    /// Port of PostgreSQL.
    #[arg(long, env, default_value_t = 5432)]
    pub postgres_port: u16,
    /// Role to log in as.
    #[arg(long, env, default_value = "auth_api")]
    pub postgres_user: String,
    /// Password of that role.
    #[arg(long, env, value_parser = parse_secret)]
    pub postgres_password: SecretString,
    /// Database.
    #[arg(long, env, default_value = "auth_api")]
    pub postgres_db: String,
    /// Connections that one replica keeps at most.
    #[arg(long, env, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=500))]
    pub postgres_max_connections: u16,
    /// Keys that private keys are encrypted with and refresh tokens are made with: `id:base64 of 32 bytes`, separated by commas,
    /// the one in use first. A new one goes to the end on every replica before it goes to the front on any; an old one stays until no login
    /// and no signing key from its time is left.
    #[arg(long, env)]
    pub key_encryption_keys: KeyEncryptionKeys,
    /// Life of an access token, 10 to 86400.
    #[arg(long = "access-token-ttl-seconds", env = "ACCESS_TOKEN_TTL_SECONDS", default_value = "900", value_parser = seconds::<10, 86_400>)]
    pub access_token_ttl: Duration,
    /// How long a refresh token that was just used may be used again, 0 to 60; the answer is the same successor.
    #[arg(long = "refresh-grace-seconds", env = "REFRESH_GRACE_SECONDS", default_value = "10", value_parser = seconds::<0, 60>)]
    pub refresh_grace: Duration,
    /// A refresh token that is not used for so long ends.
    #[arg(long = "refresh-idle-seconds", env = "REFRESH_IDLE_SECONDS", default_value = "1209600", value_parser = seconds::<60, 31_536_000>)]
    pub refresh_idle: Duration,
    /// A login ends after so long, however often it is refreshed.
    #[arg(long = "refresh-absolute-seconds", env = "REFRESH_ABSOLUTE_SECONDS", default_value = "7776000", value_parser = seconds::<60, 31_536_000>)]
    pub refresh_absolute: Duration,
    /// Life of the session cookie.
    #[arg(long = "session-ttl-seconds", env = "SESSION_TTL_SECONDS", default_value = "43200", value_parser = seconds::<60, 31_536_000>)]
    pub session_ttl: Duration,
    /// How long a signing key is published before it signs, at least.
    #[arg(long = "jwks-prepublish-seconds", env = "JWKS_PREPUBLISH_SECONDS", default_value = "600", value_parser = seconds::<0, 86_400>)]
    pub jwks_prepublish: Duration,
    /// How long a signing key signs.
    #[arg(long = "key-rotation-seconds", env = "KEY_ROTATION_SECONDS", default_value = "2592000", value_parser = seconds::<1, 315_360_000>)]
    pub key_rotation: Duration,
    /// Folder with `<client id>/client_secret` files of 32 characters or more; a secret that its client does not have is added at the
    /// start, and none is removed.
    #[arg(long = "client-secrets-dir", env = "CLIENT_SECRETS_DIR", default_value = "", value_parser = MountedSecrets::read)]
    pub client_secrets: MountedSecrets,
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

    /// Where browsers and services reach this service.
    pub fn public_url(&self) -> String {
        let url = self.public_url.as_ref().map_or(self.auth_api_issuer.as_str(), Url::as_str);
        url.trim_end_matches('/').to_owned()
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
        let config = Self::try_parse_from(arguments).map_err(|error| ConfigError::from_clap(&error))?;
        if config.jwks_prepublish > config.key_rotation {
            return Err(ConfigError::Invalid {
                variable: "JWKS_PREPUBLISH_SECONDS".to_owned(),
                reason: "it is longer than KEY_ROTATION_SECONDS".to_owned(),
            });
        }
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

fn parse_secret(text: &str) -> Result<SecretString, &'static str> {
    if text.is_empty() { Err("it is empty") } else { Ok(SecretString::from(text)) }
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

    const KEYS: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn config<'a>(extra: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, ConfigError> {
        let base = [
            ("AUTH_API_ISSUER", "http://auth-api:8000"),
            ("POSTGRES_PASSWORD", "p"),
            ("KEY_ENCRYPTION_KEYS", KEYS),
        ];
        Config::from_pairs(base.into_iter().chain(extra))
    }

    #[test]
    fn the_defaults_and_three_values_are_enough() {
        let config = config([]).unwrap();
        assert_eq!(config.port, 8000);
        assert_eq!(config.public_url(), "http://auth-api:8000");
        assert_eq!(config.access_token_ttl, Duration::from_mins(15));
    }

    #[test]
    fn a_bad_value_is_named_in_one_sentence_without_the_value() {
        for (variable, value, reason) in [
            ("PORT", "http", "invalid digit"),
            ("ACCESS_TOKEN_TTL_SECONDS", "900s", "10 to 86400"),
            ("LOG_FORMAT", "xml", "json"),
            ("ALLOWED_ORIGINS", "https://a.example/path", "origin"),
            ("TRUSTED_PROXIES", "10.0.0.0/40", "networks"),
            ("JWKS_PREPUBLISH_SECONDS", "86399999", "0 to 86400"),
            ("POSTGRES_MAX_CONNECTIONS", "1", "2..=500"),
        ] {
            let error = config([(variable, value)]).unwrap_err().to_string();
            assert!(error.starts_with(variable) && error.contains(reason), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn an_issuer_has_no_slash_at_its_end() {
        let pairs =
            [("AUTH_API_ISSUER", "http://a/"), ("POSTGRES_PASSWORD", "p"), ("KEY_ENCRYPTION_KEYS", KEYS)];
        assert_eq!(
            Config::from_pairs(pairs).unwrap_err().to_string(),
            "AUTH_API_ISSUER is not usable: it ends with a slash."
        );
    }

    #[test]
    fn a_secret_is_never_repeated() {
        let pairs = [
            ("AUTH_API_ISSUER", "http://a"),
            ("POSTGRES_PASSWORD", "p"),
            ("KEY_ENCRYPTION_KEYS", "k1:hunter2"),
        ];
        let error = Config::from_pairs(pairs).unwrap_err().to_string();
        assert!(error.starts_with("KEY_ENCRYPTION_KEYS") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error =
            Config::from_pairs([("AUTH_API_ISSUER", "http://a"), ("POSTGRES_PASSWORD", "p")]).unwrap_err();
        assert_eq!(error, ConfigError::Missing("KEY_ENCRYPTION_KEYS".to_owned()));
    }

    #[test]
    fn the_limits_leave_an_answer_within_two_seconds() {
        assert!(POOL_WAIT_LIMIT + CONNECT_LIMIT + STATEMENT_LIMIT < Duration::from_secs(2));
    }

    #[test]
    fn every_variable_is_in_the_table() {
        let table = Config::markdown();
        assert!(table.contains("| `KEY_ENCRYPTION_KEYS` | required |"), "{table}");
        assert!(table.contains("| `PORT` | `8000` |"), "{table}");
    }
}
