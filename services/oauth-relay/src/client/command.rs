//! The commands for programs in any language: `oauth-relay wait` and `oauth-relay url`.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use rustix::{process::getpgrp, termios::tcgetpgrp};
use serde::Serialize;
use tokio::sync::mpsc;
use url::Url;

use super::{AuthorizationUrl, OAuthRelayError, RelayResult, Settings, WaitForCode};
use crate::domain::{
    callback::{Callback, CodeKeys},
    frame::seconds,
};

const EXIT_CODE: u8 = 0;
const EXIT_DENIED: u8 = 1;
const EXIT_BAD_ARGUMENT: u8 = 2;
const EXIT_TIMEOUT: u8 = 3;
const EXIT_CONNECTION: u8 = 4;
const EXIT_RELAY: u8 = 5;
/// As the server's (`EX_USAGE` of sysexits.h).
const EXIT_SETTINGS: u8 = 64;
/// `EX_IOERR` of sysexits.h.
const EXIT_OUTPUT: u8 = 74;

/// Parameters of an authorization URL that have an option of their own, or are made here.
const MADE_OTHERWISE: [&str; 7] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
];

/// Wait for a callback and print it as one JSON object.
///
/// `OAUTH_SOCKET_PATH`, `OAUTH_USE_TCP`, `OAUTH_TCP_HOST`, `OAUTH_TCP_FALLBACK_PORT`, `OAUTH_TCP_SECRET` say where the relay is. The URL
/// of a callback that is pasted meanwhile, on a line of its own, counts like one that comes by way of the relay.
///
/// Exit codes: 0 a code; 1 the provider's error, or no code; 2 a wrong argument; 3 the time is over; 4 the relay cannot be reached;
/// 5 the relay sent us away; 64 unusable settings; 74 the result cannot be printed.
#[derive(Args)]
pub struct Wait {
    /// The state in the authorization URL; without it, any callback that has none is taken.
    // One of 64 in base64url begins with a hyphen.
    #[arg(long, allow_hyphen_values = true)]
    state: Option<String>,
    /// How long to wait, in seconds; `OAUTH_DEFAULT_TIMEOUT` where it is not given.
    #[arg(long, value_parser = parse_seconds)]
    timeout: Option<Duration>,
    /// The relay's socket, in place of `OAUTH_SOCKET_PATH`.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Leave the input alone, for scripts whose own input it is.
    #[arg(long)]
    no_input: bool,
}

/// Print an authorization URL with a fresh state, as a JSON object `{url,state,code_verifier}`.
#[derive(Args)]
pub struct MakeUrl {
    /// The provider's authorization endpoint.
    #[arg(long)]
    authorize_url: String,
    /// The client's id at the provider.
    #[arg(long)]
    client_id: String,
    /// The relay's callback, as it is registered at the provider.
    #[arg(long)]
    redirect_uri: String,
    /// Scopes, separated as the provider wants it.
    #[arg(long)]
    scope: Option<String>,
    /// Adds a code challenge (RFC 7636, S256).
    #[arg(long)]
    pkce: bool,
    /// Any other parameter, such as `prompt=consent`; may come several times.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, String)>,
}

impl Wait {
    /// Runs the command.
    pub async fn run(self) -> ExitCode {
        match self.outcome().await {
            Ok(result) => print(&result, if result.success { EXIT_CODE } else { EXIT_DENIED }),
            Err(error) => {
                eprintln!("oauth-relay: {error}");
                exit_code(&error).into()
            }
        }
    }

    async fn outcome(self) -> Result<RelayResult, OAuthRelayError> {
        let mut settings = Settings::from_env()?;
        if let Some(socket) = self.socket {
            (settings.socket_path, settings.use_tcp) = (socket, false);
        }
        let keys = match std::env::var("OAUTH_CODE_KEYS") {
            Ok(keys) => CodeKeys::parse(&keys).map_err(|reason| {
                OAuthRelayError::Settings(format!("OAUTH_CODE_KEYS is not usable: {reason}."))
            })?,
            Err(_) => CodeKeys::default(),
        };
        let mut waiting = WaitForCode::new().settings(settings).extended(true).reconnect(true);
        if let Some(state) = &self.state {
            waiting = waiting.state(state);
        }
        if let Some(timeout) = self.timeout {
            waiting = waiting.timeout(timeout);
        }
        let reads_input = !self.no_input && may_read_input();
        if reads_input && io::stdin().is_terminal() {
            eprintln!(
                "Waiting. Where the browser cannot reach the relay, paste the URL that it was sent to here."
            );
        }
        tokio::select! {
            outcome = waiting.wait() => outcome,
            pasted = pasted_callback(self.state.as_deref(), &keys), if reads_input => Ok(pasted),
        }
    }
}

impl MakeUrl {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let mut builder =
            AuthorizationUrl::new(self.authorize_url, &self.client_id).redirect_uri(&self.redirect_uri);
        if let Some(scope) = &self.scope {
            builder = builder.scope(scope);
        }
        if self.pkce {
            builder = builder.pkce();
        }
        for (name, value) in &self.parameters {
            builder = builder.parameter(name, value);
        }
        match builder.build() {
            Ok(authorization) => print(&authorization, EXIT_CODE),
            Err(error) => {
                eprintln!("oauth-relay: --authorize-url cannot be used: {error}");
                EXIT_BAD_ARGUMENT.into()
            }
        }
    }
}

/// In the background of a terminal, reading from it would stop the process.
fn may_read_input() -> bool {
    let input = io::stdin();
    !input.is_terminal() || tcgetpgrp(&input).is_ok_and(|foreground| foreground == getpgrp())
}

/// The first line of the input that is the callback; does not end where the input does.
async fn pasted_callback(state: Option<&str>, keys: &CodeKeys) -> RelayResult {
    let (sender, mut lines) = mpsc::channel(1);
    // A thread of its own that nobody waits for: reading a terminal cannot be broken off.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        match read_pasted(&line, state, keys) {
            Some(Ok(result)) => return result,
            Some(Err(reason)) => {
                eprintln!("oauth-relay: this is not the callback that is waited for: {reason}");
            }
            None => {}
        }
    }
    std::future::pending().await
}

fn read_pasted(
    line: &str,
    state: Option<&str>,
    keys: &CodeKeys,
) -> Option<Result<RelayResult, &'static str>> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let url = Url::parse(line).ok();
    let query = match &url {
        Some(url) => url.query().unwrap_or_default(),
        None => line.trim_start_matches('?'),
    };
    let Ok(callback) = Callback::from_query(query, keys) else { return Some(Err("it cannot be read")) };
    if callback.state.as_deref() != state.filter(|state| !state.is_empty()) {
        return Some(Err("it has another state"));
    }
    if callback.code.is_none() && !callback.is_denied {
        return Some(Err("it has neither a code nor an error"));
    }
    Some(Ok(RelayResult {
        success: callback.code.is_some(),
        code: callback.code,
        state: callback.state,
        raw: Some(callback.raw),
    }))
}

fn exit_code(error: &OAuthRelayError) -> u8 {
    match error {
        OAuthRelayError::Timeout(_) => EXIT_TIMEOUT,
        OAuthRelayError::Connection(_) => EXIT_CONNECTION,
        OAuthRelayError::Settings(_) => EXIT_SETTINGS,
        _ => EXIT_RELAY,
    }
}

/// Prints one line of JSON, and ends with this code where that works.
fn print(value: &impl Serialize, code: u8) -> ExitCode {
    let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|mut line| {
        line.push(b'\n');
        io::stdout().write_all(&line)
    });
    match written {
        Ok(()) => code.into(),
        Err(error) => {
            eprintln!("oauth-relay: the result cannot be printed: {error}");
            EXIT_OUTPUT.into()
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    text.parse().ok().and_then(seconds).ok_or("it is no number of seconds above zero")
}

fn parse_parameter(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    // A parameter may come only once (RFC 6749, section 3.1).
    if MADE_OTHERWISE.contains(&name) {
        return Err("another option makes it, or the command itself");
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pasted(line: &str) -> Option<Result<RelayResult, &'static str>> {
        read_pasted(line, Some("s"), &CodeKeys::default())
    }

    #[test]
    fn a_url_or_its_query_may_be_pasted() {
        for line in
            [" https://relay.example/oauth/callback?code=c&state=s ", "?code=c&state=s", "code=c&state=s"]
        {
            let result = pasted(line).unwrap().unwrap();
            assert_eq!((result.success, result.code.as_deref()), (true, Some("c")), "{line}");
        }
        let denied = pasted("http://localhost/?error=access_denied&state=s").unwrap().unwrap();
        assert_eq!((denied.success, denied.error()), (false, Some("access_denied")));
    }

    #[test]
    fn what_is_pasted_has_to_have_the_state() {
        for line in ["code=c", "code=c&state=other", "code=c&state=S", "hello", "state=s"] {
            assert!(pasted(line).unwrap().is_err(), "{line}");
        }
        assert!(pasted("  ").is_none());
    }
}
