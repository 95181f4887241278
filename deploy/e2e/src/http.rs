//! Requests to one peer, and answers that explain themselves when they are not what was expected.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder, header::HeaderMap, redirect::Policy};
use serde_json::Value;

/// Longer than the 2 s within which every service answers, whatever is down.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A service at its base URL.
#[derive(Clone)]
pub struct Peer {
    client: Client,
    base: String,
}

/// A request in the making.
pub struct Call {
    what: String,
    request: RequestBuilder,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    what: String,
    pub status: u16,
    pub headers: HeaderMap,
    /// `null` where the body is no JSON.
    pub body: Value,
    pub text: String,
    pub took: Duration,
}

/// A client with one TLS stack, no redirects and no proxy.
pub fn client() -> Result<Client> {
    // The second caller finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().redirect(Policy::none()).timeout(TIMEOUT).no_proxy();
    // In a cluster the simulator has the name of its Service, which is forwarded to this machine.
    Ok(builder.resolve("simulator", SocketAddr::from(([127, 0, 0, 1], 0))).build()?)
}

impl Peer {
    /// Talks to `base` with `client`.
    pub fn new(client: Client, base: &str) -> Self {
        Self { client, base: base.trim_end_matches('/').to_owned() }
    }

    /// The base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Starts a request.
    pub fn call(&self, method: Method, path: &str) -> Call {
        Call {
            what: format!("{method} {path}"),
            request: self.client.request(method, format!("{}{path}", self.base)),
        }
    }

    /// Starts a `GET`.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// Starts a `POST`.
    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }
}

impl Call {
    /// With an access token.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.bearer_auth(token);
        self
    }

    /// With an access token, or without any.
    #[must_use]
    pub fn maybe_bearer(self, token: Option<&str>) -> Self {
        match token {
            Some(token) => self.bearer(token),
            None => self,
        }
    }

    /// With the credentials of a client (RFC 6749, section 2.3.1).
    #[must_use]
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.request = self.request.basic_auth(user, Some(password));
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// With a form as body.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        self.request = self.request.form(fields);
        self
    }

    /// Sends it and reads the whole answer, whatever its status.
    pub async fn send(self) -> Result<Answer> {
        let Self { what, request } = self;
        let started = Instant::now();
        let response = request.send().await.with_context(|| format!("{what} was not answered"))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.with_context(|| format!("{what} broke off"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { what, status, headers, body, text, took: started.elapsed() })
    }
}

impl Answer {
    /// The answer, if it has this status.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status == status {
            return Ok(self);
        }
        bail!("{} answered {}, expected {status}: {}", self.what, self.status, shortened(&self.text));
    }

    /// The answer, if it is a problem of this status whose `detail` is this sentence.
    pub fn expect_problem(self, status: u16, detail: &str) -> Result<Self> {
        let answer = self.expect(status)?;
        if answer.body["detail"] != detail {
            bail!("{} said {}, expected the detail {detail:?}", answer.what, shortened(&answer.text));
        }
        Ok(answer)
    }

    /// The answer, if it is a problem of this status whose `error` is this code.
    pub fn expect_error(self, status: u16, code: &str) -> Result<Self> {
        let answer = self.expect(status)?;
        if answer.body["error"] != code {
            bail!("{} said {}, expected the error {code:?}", answer.what, shortened(&answer.text));
        }
        Ok(answer)
    }

    /// The text at a JSON pointer.
    pub fn text_at(&self, pointer: &str) -> Result<&str> {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .with_context(|| format!("{}: no text at {pointer} in {}", self.what, shortened(&self.text)))
    }

    /// The number at a JSON pointer.
    pub fn number_at(&self, pointer: &str) -> Result<i64> {
        self.body
            .pointer(pointer)
            .and_then(Value::as_i64)
            .with_context(|| format!("{}: no number at {pointer} in {}", self.what, shortened(&self.text)))
    }

    /// The list at a JSON pointer.
    pub fn list_at(&self, pointer: &str) -> Result<&[Value]> {
        self.body
            .pointer(pointer)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .with_context(|| format!("{}: no list at {pointer} in {}", self.what, shortened(&self.text)))
    }

    /// A header, where it is there once and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Enough of a body to see what it is.
fn shortened(text: &str) -> String {
    const ENOUGH: usize = 400;
    match text.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None if text.is_empty() => "(empty body)".to_owned(),
        None => text.to_owned(),
    }
}
