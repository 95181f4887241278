//! The library for programs that wait: one call, and the code is here.
//!
//! ```no_run
//! # async fn run() -> Result<(), oauth_relay::client::OAuthRelayError> {
//! use std::time::Duration;
//!
//! use oauth_relay::client::{AuthorizationUrl, OAuthRelayError, wait_for_code};
//!
//! let authorization = AuthorizationUrl::new("https://as.example/authorize", "my-client")
//!     .redirect_uri("https://relay.example/oauth/callback")
//!     .scope("openid")
//!     .build()
//!     .map_err(|error| OAuthRelayError::Settings(error.to_string()))?;
//! println!("Open {}", authorization.url);
//!
//! let result = wait_for_code(Some(&authorization.state), Some(Duration::from_secs(600)), None).await?;
//! match result.code {
//!     Some(code) => println!("{} characters of code", code.len()),
//!     None => println!("no code: {:?}", result.error()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The state is what protects a program from the callback of somebody else's authorization (RFC 6749, section 10.12), and nobody but
//! the program can check it: make it at random for each authorization, wait for exactly that one, and compare it. The relay routes by
//! it; this library compares it with the delivered one.

mod authorization;
pub mod command;
mod connection;
mod settings;

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use self::connection::Connection;
pub use self::{
    authorization::{Authorization, AuthorizationUrl},
    settings::Settings,
};
use crate::domain::frame::{ClientFrame, Dismissal, Register, ServerFrame};

/// How long to wait before another try to register, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// More than any relay lets anybody wait, and less than a clock can hold.
const LONGEST_WAIT: Duration = Duration::from_hours(24 * 365);

/// What came back from the provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RelayResult {
    /// Whether there is a code.
    pub success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub state: Option<String>,
    /// All parameters but the code; where there is one, only [extended](WaitForCode::extended) waiters get them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Map<String, Value>>,
}

/// Waits for one callback; [`WaitForCode::wait`] does it.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing waits until it is told to"]
pub struct WaitForCode {
    state: Option<String>,
    timeout: Option<Duration>,
    settings: Option<Settings>,
    is_extended: bool,
    reconnects: bool,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthRelayError {
    /// The time is over.
    #[error(transparent)]
    Timeout(#[from] OAuthTimeoutError),
    /// The relay cannot be reached.
    #[error(transparent)]
    Connection(#[from] OAuthConnectionError),
    /// Another waiter holds the state.
    #[error("another program waits for this state")]
    Replaced,
    /// The relay has too many waiters.
    #[error("the relay has too many waiters")]
    Capacity,
    /// The relay has stopped.
    #[error("the relay has stopped")]
    Shutdown,
    /// The relay has hung up without a word: it refused the registration, or has died.
    #[error("the relay has hung up; its log says why")]
    Closed,
    /// The callback has another state than the one waited for.
    #[error("the callback has another state")]
    StateMismatch,
    /// The relay sends what is no frame.
    #[error("the relay sends something else than frames: {0}")]
    Protocol(String),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// No callback came in the time that it tells: the program's own, or the relay's maximum where that is shorter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Timeout waiting for OAuth callback: none came within {:.1} seconds", .0.as_secs_f64())]
pub struct OAuthTimeoutError(pub Duration);

/// The relay cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("Cannot connect to OAuth relay at {endpoint}; is it running? {source}")]
pub struct OAuthConnectionError {
    pub endpoint: String,
    pub source: std::io::Error,
}

impl RelayResult {
    /// The provider's `error`.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.parameter("error")
    }

    /// The provider's `iss` (RFC 9207), which a program that uses several providers compares with the one it sent the browser to.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.parameter("iss")
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.raw.as_ref()?.get(name)?.as_str()
    }
}

/// Waits for the callback with this state, or without a state for any that has none; for as long as `settings` say where `timeout` is
/// none, and with the settings of the environment where they are none. Dropping the future gives up the place.
///
/// It speaks the original's protocol: `timeout` goes along only where it is longer than the default, since without it no coordinator
/// waits so long. [`WaitForCode`] has more.
///
/// # Errors
/// [`OAuthRelayError`]; [`OAuthTimeoutError`] and [`OAuthConnectionError`] in it.
pub async fn wait_for_code(
    state: Option<&str>,
    timeout: Option<Duration>,
    settings: Option<&Settings>,
) -> Result<RelayResult, OAuthRelayError> {
    WaitForCode {
        state: state.map(str::to_owned),
        timeout,
        settings: settings.cloned(),
        ..WaitForCode::default()
    }
    .wait()
    .await
}

impl WaitForCode {
    /// As [`wait_for_code`] without arguments.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for this state.
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Waits so long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits at this relay.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Asks for all parameters, also beside a code, and acknowledges the delivery: the browser is told that it is complete only when
    /// it is. The original's coordinator does not know it.
    pub fn extended(mut self, is_extended: bool) -> Self {
        self.is_extended = is_extended;
        self
    }

    /// Registers again, until its time is over, when a relay at which it was registered goes away.
    pub fn reconnect(mut self, reconnects: bool) -> Self {
        self.reconnects = reconnects;
        self
    }

    /// Waits.
    ///
    /// # Errors
    /// [`OAuthRelayError`]
    pub async fn wait(self) -> Result<RelayResult, OAuthRelayError> {
        let settings = match &self.settings {
            Some(settings) => settings.clone(),
            None => Settings::from_env()?,
        };
        let timeout = self.timeout.unwrap_or(settings.default_timeout);
        let started = Instant::now();
        let deadline = started + timeout.min(LONGEST_WAIT);
        let waiting = Waiting { wanted: &self, settings: &settings, timeout, started, deadline };
        tokio::time::timeout_at(deadline, waiting.run())
            .await
            .unwrap_or_else(|_| Err(OAuthTimeoutError(timeout).into()))
    }
}

/// A wait that has begun.
struct Waiting<'a> {
    wanted: &'a WaitForCode,
    settings: &'a Settings,
    timeout: Duration,
    started: Instant,
    deadline: Instant,
}

impl Waiting<'_> {
    async fn run(&self) -> Result<RelayResult, OAuthRelayError> {
        let mut was_registered = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.try_once(&mut was_registered).await {
                Err(error) if self.wanted.reconnects && was_registered && error.may_pass() => error,
                outcome => return outcome,
            };
            tracing::debug!(%error, "waiting at the relay was broken off");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_once(&self, was_registered: &mut bool) -> Result<RelayResult, OAuthRelayError> {
        let WaitForCode { state: wanted_state, is_extended, .. } = self.wanted;
        let mut connection = Connection::open(self.settings, self.deadline).await?;
        // Where it has hung up already, what it said before is read next.
        let _ = connection.send(&ClientFrame::Register(self.register())).await;
        // Plain coordinators do not say that the place is held: there, being let in has to do.
        *was_registered |= !is_extended;
        loop {
            match connection.receive().await? {
                ServerFrame::Registered { .. } => *was_registered = true,
                ServerFrame::Deliver { state, code, raw } => {
                    if wanted_state.as_deref().filter(|state| !state.is_empty()) != state.as_deref() {
                        return Err(OAuthRelayError::StateMismatch);
                    }
                    if *is_extended {
                        // Where it is not said, the browser is told of a failure, and the code is worth nothing less.
                        let _ = connection.send(&ClientFrame::Ack).await;
                    }
                    return Ok(RelayResult { success: code.is_some(), code, state, raw });
                }
                ServerFrame::Error { error, .. } => return Err(self.dismissed(error)),
            }
        }
    }

    fn register(&self) -> Register {
        let WaitForCode { state, is_extended, .. } = self.wanted;
        let says_timeout = *is_extended || self.timeout > self.settings.default_timeout;
        let left = || self.deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        let secret = self.settings.tcp_secret.as_ref().filter(|_| self.settings.use_tcp);
        Register {
            state: state.clone().filter(|state| !state.is_empty()),
            timeout: says_timeout.then(|| left().max(0.001)),
            extended: *is_extended,
            secret: secret.map(|secret| secret.expose_secret().to_owned()),
        }
    }

    fn dismissed(&self, reason: Dismissal) -> OAuthRelayError {
        match reason {
            Dismissal::Timeout => OAuthTimeoutError(self.started.elapsed()).into(),
            Dismissal::Replaced => OAuthRelayError::Replaced,
            Dismissal::Capacity => OAuthRelayError::Capacity,
            Dismissal::Shutdown => OAuthRelayError::Shutdown,
        }
    }
}

impl OAuthRelayError {
    /// Whether it goes away with the relay's next start.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Closed | Self::Shutdown)
    }
}
