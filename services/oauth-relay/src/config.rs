//! The settings of the service, read from the environment and checked before a port opens.

use std::{error::Error as _, fmt::Write, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    ArgAction, CommandFactory, Parser,
    error::{ContextKind, ContextValue},
};
use secrecy::SecretString;
use url::Url;

use crate::{
    domain::{callback::CodeKeys, frame, waiter::Duplicate},
    telemetry::LogFormat,
};

/// What a call to auth-api may take; all of them are made in the background.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(400);
pub const BACKGROUND_CALL_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may be idle. Longer than proxies keep theirs, 60 s as a rule: who closes later never closes on a request.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long open requests may go on after SIGTERM, and within it how long callbacks may still find their waiters.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(20);
pub const LAST_CALLBACKS_LIMIT: Duration = Duration::from_secs(12);

/// The exit code for unusable settings (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// The settings. The sentence above each field is its documentation, in `--help` and in the README's table.
#[derive(Clone, Debug, Parser)]
#[command(name = "oauth-relay", no_binary_name = true, disable_help_flag = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a variable")]
pub struct Config {
    /// Address of the main listener.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of the main listener; 0 lets the system choose.
    #[arg(long, env, default_value_t = 8020)]
    pub port: u16,
    /// Address of the listener for `/livez`, `/readyz` and `/metrics`.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub admin_host: IpAddr,
    /// Port of that listener.
    #[arg(long, env, default_value_t = 9020)]
    pub admin_port: u16,
    /// Where browsers reach this service; `/openapi.json` names it.
    #[arg(long, env, value_parser = parse_base_url)]
    pub public_url: Option<Url>,
    /// `json` or `pretty`.
    #[arg(long, env, value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Which log lines are written, such as `info,oauth_relay=debug`.
    #[arg(long, env, default_value = "info")]
    pub rust_log: String,
    /// Whether there is a callback and a socket at all.
    #[arg(long, env, default_value = "false", value_parser = parse_switch, action = ArgAction::Set)]
    pub oauth_enabled: bool,
    /// Path of the callback, registered at providers beneath `PUBLIC_URL`.
    #[arg(long, env, default_value = "/oauth/callback", value_parser = parse_path)]
    pub oauth_callback_path: String,
    /// Names under which a code may come, in any case of letters; the first that has a value wins. Separated by commas, or a JSON list.
    #[arg(long, env, default_value = "code,authorization_code", value_parser = CodeKeys::parse)]
    pub oauth_code_keys: CodeKeys,
    /// The socket where programs wait.
    #[arg(long, env, default_value = "/tmp/poast-relay-oauth.sock")]
    pub oauth_socket_path: PathBuf,
    /// Users whose programs may wait, by number and separated by commas, besides the service's own; with any, the socket's file is open to all users and the system is asked who comes.
    #[arg(long, env, default_value = "", value_parser = parse_list::<u32>)]
    pub oauth_allowed_uids: List<u32>,
    /// Whether programs wait on a TCP port in place of the socket's file; always so on Windows.
    #[arg(long, env, default_value = "false", value_parser = parse_switch, action = ArgAction::Set)]
    pub oauth_use_tcp: bool,
    /// That port; 0 lets the system choose.
    #[arg(long, env, default_value_t = 9999)]
    pub oauth_tcp_fallback_port: u16,
    /// Address of that port; one that other machines reach needs `OAUTH_TCP_SECRET`.
    #[arg(long, env, default_value = "127.0.0.1")]
    pub oauth_tcp_bind_address: IpAddr,
    /// What programs have to know that wait over TCP; without it, everybody may who reaches the port.
    #[arg(long, env, value_parser = parse_secret)]
    pub oauth_tcp_secret: Option<SecretString>,
    /// How long a program waits that does not say how long, in seconds.
    #[arg(long, env, default_value = "300.0", value_parser = parse_timeout)]
    pub oauth_default_timeout: Duration,
    /// The longest that a program may ask for, in seconds; more is cut to it, or to `OAUTH_DEFAULT_TIMEOUT` where that is longer.
    #[arg(long, env, default_value = "3600", value_parser = parse_timeout)]
    pub oauth_max_timeout: Duration,
    /// The most programs that wait at once.
    #[arg(long, env, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub oauth_max_waiters: u32,
    /// What a second program that waits for the same state does to the first: `replace` it, or get itself a `reject`.
    #[arg(long, env, value_enum, default_value = "replace")]
    pub oauth_duplicate: Duplicate,
    /// Whether one program may wait without a state.
    #[arg(long, env, default_value = "true", value_parser = parse_switch, action = ArgAction::Set)]
    pub oauth_allow_stateless: bool,
    /// Whether a state of fewer than 16 characters is refused; without it, the log warns.
    #[arg(long, env, default_value = "false", value_parser = parse_switch, action = ArgAction::Set)]
    pub oauth_strict_state: bool,
    /// How long a callback waits for a program that comes late, 0 to 60.
    #[arg(long, env, default_value = "0", value_parser = seconds::<0, 60>)]
    pub oauth_hold_seconds: Duration,
    /// Whether callbacks without a program that waits are logged.
    #[arg(long, env, default_value = "true", value_parser = parse_switch, action = ArgAction::Set)]
    pub oauth_log_unmatched: bool,
    /// The `iss` of the tokens that are accepted; without it, nobody waits over HTTP, and auth-api is not needed.
    #[arg(long, env, value_parser = parse_issuer)]
    pub auth_api_issuer: Option<String>,
    /// Where auth-api is reached; the issuer where it is not given.
    #[arg(long, env, value_parser = parse_base_url)]
    pub auth_api_url: Option<Url>,
    /// Where auth-api's keys are read; `/.well-known/jwks.json` beneath `AUTH_API_URL` where it is not given.
    #[arg(long, env, value_parser = parse_base_url)]
    pub auth_api_jwks_url: Option<Url>,
    /// The `aud` that a token has to name.
    #[arg(long, env, default_value = "oauth-relay", value_parser = parse_text)]
    pub jwt_audience: String,
    /// Time between two fetches of the keys, 10 to 86400.
    #[arg(long = "jwks-refresh-seconds", env = "JWKS_REFRESH_SECONDS", default_value = "1800", value_parser = seconds::<10, 86_400>)]
    pub jwks_refresh: Duration,
    /// The client that this service is at auth-api.
    #[arg(long, env, default_value = "oauth-relay-service", value_parser = parse_text)]
    pub client_id: String,
    /// Secret of that client; needed with `AUTH_API_ISSUER`.
    #[arg(long, env, value_parser = parse_secret)]
    pub client_secret: Option<SecretString>,
}

/// Values separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// Where and as whom auth-api is asked.
#[derive(Clone, Debug)]
pub struct AuthApi {
    pub issuer: String,
    pub jwks_url: String,
    pub token_url: String,
    pub revocations_url: String,
    pub client_secret: SecretString,
}

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

    /// Whether programs wait on a TCP port.
    #[must_use]
    pub fn uses_tcp(&self) -> bool {
        self.oauth_use_tcp || cfg!(windows)
    }

    /// auth-api, if there is one.
    #[must_use]
    pub fn auth_api(&self) -> Option<AuthApi> {
        let issuer = self.auth_api_issuer.clone()?;
        let base = self.auth_api_url.as_ref().map_or(issuer.as_str(), Url::as_str).trim_end_matches('/');
        let jwks_url = self.auth_api_jwks_url.as_ref().map(ToString::to_string);
        Some(AuthApi {
            jwks_url: jwks_url.unwrap_or_else(|| format!("{base}/.well-known/jwks.json")),
            token_url: format!("{base}/oauth/token"),
            revocations_url: format!("{base}/oauth/revocations"),
            client_secret: self.client_secret.clone()?,
            issuer,
        })
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
        let config = Self::try_parse_from(arguments).map_err(|error| ConfigError::from_clap(&error))?;
        config.check()?;
        Ok(config)
    }

    /// What no single variable says.
    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |variable: &str, reason: &str| {
            Err(ConfigError::Invalid { variable: variable.to_owned(), reason: reason.to_owned() })
        };
        if self.auth_api_issuer.is_some() && self.client_secret.is_none() {
            return Err(ConfigError::Missing("CLIENT_SECRET".to_owned()));
        }
        let is_open = self.oauth_enabled && self.uses_tcp() && !self.oauth_tcp_bind_address.is_loopback();
        if is_open && self.oauth_tcp_secret.is_none() {
            return invalid(
                "OAUTH_TCP_BIND_ADDRESS",
                "other machines reach it, which needs OAUTH_TCP_SECRET",
            );
        }
        if ["/health", "/openapi.json", "/oauth/wait"].contains(&self.oauth_callback_path.as_str()) {
            return invalid("OAUTH_CALLBACK_PATH", "the path has another use");
        }
        Ok(())
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
                    (None, Some(ContextValue::Strings(values))) if values.is_empty() => {
                        "it is empty".to_owned()
                    }
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

/// A path of letters, digits and `-._~/`: anything else would need encoding, or be a pattern.
fn parse_path(text: &str) -> Result<String, &'static str> {
    let is_plain = text.chars().all(|char| char.is_ascii_alphanumeric() || "-._~/".contains(char));
    if text.starts_with('/') && text.len() > 1 && is_plain {
        Ok(text.to_owned())
    } else {
        Err("it is no plain path")
    }
}

/// As the documents' environment files write it.
fn parse_switch(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("it is neither true nor false"),
    }
}

fn parse_list<T: FromStr>(text: &str) -> Result<List<T>, &'static str> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.parse().map_err(|_| "it is no list of numbers")).collect::<Result<_, _>>().map(List)
}

fn parse_timeout(text: &str) -> Result<Duration, &'static str> {
    text.parse()
        .ok()
        .and_then(frame::seconds)
        .filter(|timeout| *timeout <= LONGEST_TIMEOUT)
        .ok_or("it is no number of seconds above 0 and up to 604800")
}

/// A week.
const LONGEST_TIMEOUT: Duration = Duration::from_hours(168);

fn seconds<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (MIN..=MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("it is no whole number of seconds from {MIN} to {MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, ConfigError> {
        Config::from_pairs(pairs)
    }

    #[test]
    fn the_defaults_are_the_documents() {
        let config = config([]).unwrap();
        assert_eq!((config.port, config.admin_port), (8020, 9020));
        assert!(!config.oauth_enabled && !config.oauth_use_tcp && config.oauth_log_unmatched);
        assert_eq!(config.oauth_callback_path, "/oauth/callback");
        assert_eq!(config.oauth_code_keys, CodeKeys::default());
        assert_eq!(config.oauth_socket_path, PathBuf::from("/tmp/poast-relay-oauth.sock"));
        assert_eq!(config.oauth_tcp_fallback_port, 9999);
        assert_eq!(config.oauth_default_timeout, Duration::from_mins(5));
        assert!(config.auth_api().is_none());
    }

    #[test]
    fn auth_api_comes_with_its_issuer_and_needs_a_secret() {
        let issuer = ("AUTH_API_ISSUER", "http://auth-api:8000");
        assert_eq!(config([issuer]).unwrap_err(), ConfigError::Missing("CLIENT_SECRET".to_owned()));
        let config = config([issuer, ("CLIENT_SECRET", "s"), ("AUTH_API_URL", "http://10.0.0.7:8000/")]);
        let auth_api = config.unwrap().auth_api().unwrap();
        assert_eq!(auth_api.issuer, "http://auth-api:8000");
        assert_eq!(auth_api.token_url, "http://10.0.0.7:8000/oauth/token");
        assert_eq!(auth_api.jwks_url, "http://10.0.0.7:8000/.well-known/jwks.json");
    }

    #[test]
    fn a_port_that_others_reach_needs_a_secret() {
        let open =
            [("OAUTH_ENABLED", "true"), ("OAUTH_USE_TCP", "true"), ("OAUTH_TCP_BIND_ADDRESS", "0.0.0.0")];
        let error = config(open).unwrap_err().to_string();
        assert!(error.contains("OAUTH_TCP_SECRET"), "{error}");
        assert!(config(open.into_iter().chain([("OAUTH_TCP_SECRET", "s")])).is_ok());
    }

    #[test]
    fn a_bad_value_is_named_in_one_sentence() {
        for (variable, value, reason) in [
            ("PORT", "http", "invalid digit"),
            ("OAUTH_ENABLED", "maybe", "true"),
            ("LOG_FORMAT", "xml", "json"),
            ("OAUTH_DUPLICATE", "both", "replace"),
            ("OAUTH_CALLBACK_PATH", "oauth", "path"),
            ("OAUTH_CALLBACK_PATH", "/{any}", "path"),
            ("OAUTH_CALLBACK_PATH", "/oauth/wait", "another use"),
            ("OAUTH_CODE_KEYS", "[1]", "JSON"),
            ("OAUTH_DEFAULT_TIMEOUT", "0", "above 0"),
            ("OAUTH_HOLD_SECONDS", "61", "0 to 60"),
            ("OAUTH_MAX_WAITERS", "0", "1"),
            ("OAUTH_ALLOWED_UIDS", "root", "numbers"),
            ("AUTH_API_URL", "auth-api", "URL"),
            ("CLIENT_ID", "", "empty"),
        ] {
            let error = config([(variable, value)]).unwrap_err().to_string();
            assert!(error.starts_with(variable) && error.contains(reason), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn switches_are_written_in_several_ways() {
        for value in ["true", "True", "1", "yes", "on"] {
            assert!(config([("OAUTH_ENABLED", value)]).unwrap().oauth_enabled, "{value}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let printed = format!("{:?}", config([("OAUTH_TCP_SECRET", "hidden")]).unwrap());
        assert!(!printed.contains("hidden"), "{printed}");
    }

    #[test]
    fn every_variable_is_in_the_table() {
        let table = Config::markdown();
        assert!(table.contains("| `OAUTH_DEFAULT_TIMEOUT` | `300.0` |"), "{table}");
        assert!(table.contains("| `PORT` | `8020` |"), "{table}");
    }
}
