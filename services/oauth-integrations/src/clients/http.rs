//! Calls to a provider: their limits, their outcome in the metrics, and the circuit that leaves a provider alone that is down.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use time::OffsetDateTime;
use url::{Url, form_urlencoded};

use crate::domain::provider::{Platform, ProviderError, ProviderMetrics};

/// The longest that a call to a provider may take. A lease on a credential outlives it.
const CALL_LIMIT: Duration = Duration::from_secs(8);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Answers of token endpoints and of the few reads have some kilobytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// So many failures in a row open the circuit, for so long.
const CIRCUIT_FAILURES: u32 = 5;
const CIRCUIT_PAUSE: Duration = Duration::from_secs(5);
/// A longer `Retry-After` counts as this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// GitHub refuses callers without a name.
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Calls one provider.
pub(super) struct Caller {
    client: reqwest::Client,
    platform: Platform,
    metrics: ProviderMetrics,
    circuit: Mutex<Circuit>,
}

/// What came back, whole.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    retry_after: Option<Duration>,
    is_rate_limited: bool,
    body: Vec<u8>,
}

#[derive(Default)]
struct Circuit {
    failures: u32,
    open_until: Option<Instant>,
}

/// A client for calls to providers: no redirects, no proxies but what is configured, and limits on time.
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(CALL_LIMIT)
        .user_agent(USER_AGENT)
        .build()
}

/// A path beneath whatever path the base has.
pub(super) fn beneath(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

impl Caller {
    pub(super) fn new(client: reqwest::Client, platform: Platform, metrics: ProviderMetrics) -> Self {
        metrics.set_circuit(platform, false);
        Self { client, platform, metrics, circuit: Mutex::default() }
    }

    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends a request and reads its answer. `operation` is a label: one of a few words.
    pub(super) async fn call<T>(
        &self,
        operation: &'static str,
        request: RequestBuilder,
        read: impl FnOnce(&Reply) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        self.circuit().admit(Instant::now())?;
        let begun = Instant::now();
        let outcome = match send(request).await {
            Ok(reply) => refuse_passing(&reply).and_then(|()| read(&reply)),
            Err(error) => Err(error),
        };
        let word = outcome.as_ref().map_or_else(ProviderError::outcome, |_| "ok");
        self.metrics.count_call(self.platform, operation, word, begun.elapsed());
        if let Err(error) = &outcome {
            tracing::info!(platform = %self.platform, operation, %error, "a call to the provider failed");
        }
        // A provider that asks for patience is not down.
        let is_down = matches!(outcome, Err(ProviderError::Unavailable { retry_after: None, .. }));
        let is_open = self.circuit().settle(is_down, Instant::now());
        self.metrics.set_circuit(self.platform, is_open);
        outcome
    }

    fn circuit(&self) -> std::sync::MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    /// A reply as tests make it.
    #[cfg(test)]
    pub(super) fn of(status: u16, body: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        Self { status, retry_after: None, is_rate_limited: false, body: body.as_bytes().to_vec() }
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|_| unreadable())
    }

    /// The body of a token endpoint: JSON or a form, whatever its content type says.
    pub(super) fn json_or_form(&self) -> Result<Value, ProviderError> {
        let text = std::str::from_utf8(&self.body).map_err(|_| unreadable())?.trim_ascii_start();
        if text.starts_with('{') {
            return self.json();
        }
        let pairs = form_urlencoded::parse(text.as_bytes());
        Ok(Value::Object(pairs.map(|(name, value)| (name.into_owned(), Value::from(value))).collect()))
    }
}

impl Circuit {
    /// Lets a call through, or says when to come again. Once the pause is over, one call tries for all.
    fn admit(&mut self, now: Instant) -> Result<(), ProviderError> {
        let Some(open_until) = self.open_until else { return Ok(()) };
        if now < open_until {
            let retry_after = Some(open_until.duration_since(now));
            return Err(ProviderError::Unavailable { retry_after, detail: "the provider is left alone" });
        }
        self.open_until = Some(now + CALL_LIMIT);
        Ok(())
    }

    /// Takes note of an outcome; whether the circuit is open then.
    fn settle(&mut self, is_down: bool, now: Instant) -> bool {
        if !is_down {
            *self = Self::default();
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= CIRCUIT_FAILURES {
            self.open_until = Some(now + CIRCUIT_PAUSE);
        }
        self.open_until.is_some()
    }
}

async fn send(request: RequestBuilder) -> Result<Reply, ProviderError> {
    let response = request.send().await.map_err(|error| broken(&error))?;
    let status = response.status();
    let (retry_after, is_rate_limited) = patience(&response);
    let body = read_body(response).await?;
    Ok(Reply { status, retry_after, is_rate_limited, body })
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(ProviderError::unavailable("the answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// How long the provider asks to wait, and whether it refuses for the number of calls: 429, or GitHub's 403 with an empty allowance.
fn patience(response: &Response) -> (Option<Duration>, bool) {
    let number = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        value.trim().parse::<u64>().ok()
    };
    let after = number(header::RETRY_AFTER.as_str()).map(Duration::from_secs);
    let is_spent = number("x-ratelimit-remaining") == Some(0);
    let until_reset = number("x-ratelimit-reset").filter(|_| is_spent).map(|reset| {
        let now = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
        Duration::from_secs(reset.saturating_sub(now))
    });
    let status = response.status();
    let is_limited = status == StatusCode::TOO_MANY_REQUESTS
        || (status == StatusCode::FORBIDDEN && (is_spent || after.is_some()));
    (after.or(until_reset).map(|wait| wait.min(LONGEST_RETRY_AFTER)), is_limited)
}

/// Answers that say nothing about the credential, at every provider and endpoint.
fn refuse_passing(reply: &Reply) -> Result<(), ProviderError> {
    if reply.is_rate_limited {
        let retry_after = reply.retry_after.or(Some(CIRCUIT_PAUSE));
        return Err(ProviderError::Unavailable { retry_after, detail: "too many calls" });
    }
    if reply.status.is_server_error() {
        return Err(ProviderError::Unavailable {
            retry_after: reply.retry_after,
            detail: "the provider has an error",
        });
    }
    if reply.status.is_redirection() {
        return Err(ProviderError::unavailable("the provider redirects"));
    }
    Ok(())
}

/// An answer of no known form.
pub(super) fn unreadable() -> ProviderError {
    ProviderError::unavailable("the answer is unreadable")
}

/// Of a call that broke. Nothing of it is repeated: addresses may hold secrets.
fn broken(error: &reqwest::Error) -> ProviderError {
    ProviderError::unavailable(if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circuit_opens_after_failures_in_a_row_and_one_call_tries_again() {
        let mut circuit = Circuit::default();
        let now = Instant::now();
        for _ in 1..CIRCUIT_FAILURES {
            assert!(!circuit.settle(true, now));
        }
        assert!(!circuit.settle(false, now), "a success starts the count anew");
        for _ in 1..CIRCUIT_FAILURES {
            assert!(!circuit.settle(true, now));
        }
        assert!(circuit.settle(true, now));
        assert!(circuit.admit(now).is_err());
        let later = now + CIRCUIT_PAUSE;
        assert!(circuit.admit(later).is_ok());
        assert!(circuit.admit(later).is_err(), "the others wait for the outcome");
        assert!(circuit.settle(true, later), "it failed: open again at once");
        assert!(circuit.admit(later + CIRCUIT_PAUSE).is_ok());
        assert!(!circuit.settle(false, later));
        assert!(circuit.admit(later).is_ok());
    }

    #[test]
    fn paths_go_beneath_the_base_and_are_escaped() {
        for (base, expected) in [
            ("https://api.github.com", "https://api.github.com/orgs/a%2Fb"),
            ("https://ghes.example/api/v3/", "https://ghes.example/api/v3/orgs/a%2Fb"),
        ] {
            let base = Url::parse(base).unwrap();
            assert_eq!(beneath(&base, &["orgs", "a/b"]).as_str(), expected);
        }
    }

    #[test]
    fn token_answers_are_read_in_both_forms() {
        let reply = |body| Reply::of(200, body);
        let json = reply("\n{\"access_token\":\"a b\"}").json_or_form().unwrap();
        assert_eq!(json["access_token"], "a b");
        assert_eq!(reply("access_token=a+b&scope=").json_or_form().unwrap()["access_token"], "a b");
        assert!(reply("{\"access_token\":\"a").json_or_form().is_err());
        assert!(reply("<html>").json_or_form().unwrap().get("access_token").is_none());
    }
}
