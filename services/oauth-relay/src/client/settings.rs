//! Where a waiting program finds the relay.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::OAuthRelayError;
use crate::domain::frame::seconds;

/// Where the relay's coordinator is, and how long to wait for it by default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `OAUTH_SOCKET_PATH`
    pub socket_path: PathBuf,
    /// `OAUTH_USE_TCP`; always so on Windows.
    pub use_tcp: bool,
    /// `OAUTH_TCP_HOST`
    pub tcp_host: String,
    /// `OAUTH_TCP_FALLBACK_PORT`
    pub tcp_port: u16,
    /// `OAUTH_TCP_SECRET`
    pub tcp_secret: Option<SecretString>,
    /// `OAUTH_DEFAULT_TIMEOUT`, in seconds
    pub default_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket_path: PathBuf::from("/tmp/poast-relay-oauth.sock"),
            use_tcp: cfg!(windows),
            tcp_host: "127.0.0.1".to_owned(),
            tcp_port: 9999,
            tcp_secret: None,
            default_timeout: Duration::from_mins(5),
        }
    }
}

impl Settings {
    /// The settings in the environment, with `.env` in the working directory beneath it; what is in neither is the default.
    ///
    /// # Errors
    /// [`OAuthRelayError::Settings`], with a sentence that names the variable.
    pub fn from_env() -> Result<Self, OAuthRelayError> {
        let file = match dotenvy::dotenv_iter() {
            Ok(lines) => lines.collect::<Result<HashMap<_, _>, _>>(),
            Err(error) if error.not_found() => Ok(HashMap::new()),
            Err(error) => Err(error),
        };
        // What could not be read may be a secret, so it is not told.
        let file = file.map_err(|_| OAuthRelayError::Settings(".env is not usable.".to_owned()))?;
        Self::from_lookup(|name| {
            let value = std::env::var(name).ok().or_else(|| file.get(name).cloned());
            value.filter(|value| !value.is_empty())
        })
    }

    pub(super) fn endpoint(&self) -> String {
        if self.use_tcp {
            format!("{}:{}", self.tcp_host, self.tcp_port)
        } else {
            self.socket_path.display().to_string()
        }
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, OAuthRelayError> {
        let mut settings = Self::default();
        let invalid = |name: &str| OAuthRelayError::Settings(format!("{name} is not usable."));
        if let Some(path) = lookup("OAUTH_SOCKET_PATH") {
            settings.socket_path = path.into();
        }
        if let Some(switch) = lookup("OAUTH_USE_TCP") {
            settings.use_tcp |= match switch.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" => false,
                _ => return Err(invalid("OAUTH_USE_TCP")),
            };
        }
        if let Some(host) = lookup("OAUTH_TCP_HOST") {
            settings.tcp_host = host;
        }
        if let Some(port) = lookup("OAUTH_TCP_FALLBACK_PORT") {
            settings.tcp_port = port.parse().map_err(|_| invalid("OAUTH_TCP_FALLBACK_PORT"))?;
        }
        settings.tcp_secret = lookup("OAUTH_TCP_SECRET").map(SecretString::from);
        if let Some(timeout) = lookup("OAUTH_DEFAULT_TIMEOUT") {
            let timeout = timeout.parse().ok().and_then(seconds);
            settings.default_timeout = timeout.ok_or_else(|| invalid("OAUTH_DEFAULT_TIMEOUT"))?;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, OAuthRelayError> {
        Settings::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_environment_is_enough() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.endpoint(), "/tmp/poast-relay-oauth.sock");
        assert_eq!(settings.default_timeout, Duration::from_mins(5));
    }

    #[test]
    fn the_environment_says_where_the_relay_is() {
        let tcp =
            [("OAUTH_USE_TCP", "True"), ("OAUTH_TCP_HOST", "relay"), ("OAUTH_TCP_FALLBACK_PORT", "1234")];
        assert_eq!(settings(&tcp).unwrap().endpoint(), "relay:1234");
        assert_eq!(settings(&[("OAUTH_SOCKET_PATH", "/run/r.sock")]).unwrap().endpoint(), "/run/r.sock");
    }

    #[test]
    fn what_is_unusable_is_named() {
        for (name, value) in [
            ("OAUTH_TCP_FALLBACK_PORT", "x"),
            ("OAUTH_DEFAULT_TIMEOUT", "-1"),
            ("OAUTH_DEFAULT_TIMEOUT", "0"),
            ("OAUTH_USE_TCP", "maybe"),
        ] {
            assert!(settings(&[(name, value)]).unwrap_err().to_string().contains(name));
        }
    }
}
