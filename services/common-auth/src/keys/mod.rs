//! auth-api's public keys: where they come from, which of them count, and when they are fetched.

mod key_set;
mod manager;
mod unpublished;

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{StatusCode, header};
use serde::Deserialize;

pub use key_set::{KeySet, VerificationKey};
pub use manager::{JwksManager, JwksSettings};

/// A larger answer is no key set of ours.
const MAX_JWKS_BYTES: usize = 256 * 1024;

/// A JWK Set (RFC 7517, section 5), its keys not looked at yet: one that is not understood must not spoil the others.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct JsonWebKeySet {
    pub keys: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// What a fetch brought.
#[derive(Clone, Debug)]
pub enum Fetched {
    Keys(JsonWebKeySet),
    /// The source says that nothing changed since the last fetch (HTTP 304).
    Unchanged,
}

/// Why a source gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot be reached: {0}")]
    Unavailable(String),
    #[error("unusable answer: {0}")]
    Unusable(String),
    /// A feed no longer has the entries after this cursor: the reader loads everything anew.
    #[error("the cursor is too old")]
    CursorTooOld,
}

/// Where the keys come from: HTTP, or in auth-api itself the key ring in memory.
pub trait JwksSource: Send + Sync + 'static {
    /// The current set. `forced` asks caches on the way to step aside.
    fn fetch(&self, forced: bool) -> BoxFuture<'_, Result<Fetched, SourceError>>;
}

/// Keys from `AUTH_API_JWKS_URL`.
pub struct HttpJwksSource {
    client: reqwest::Client,
    url: reqwest::Url,
    etag: std::sync::Mutex<Option<header::HeaderValue>>,
}

impl HttpJwksSource {
    /// Reads `url` with `client`, whose limits bound each fetch.
    pub fn new(client: reqwest::Client, url: reqwest::Url) -> Self {
        Self { client, url, etag: std::sync::Mutex::default() }
    }

    fn etag(&self) -> std::sync::MutexGuard<'_, Option<header::HeaderValue>> {
        self.etag.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl JwksSource for HttpJwksSource {
    fn fetch(&self, forced: bool) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            let mut request = self.client.get(self.url.clone()).header(header::ACCEPT, "application/json");
            if forced {
                request = request.header(header::CACHE_CONTROL, "no-cache");
            }
            if let Some(etag) = self.etag().clone() {
                request = request.header(header::IF_NONE_MATCH, etag);
            }
            let response = request.send().await.map_err(unavailable)?;
            if response.status() == StatusCode::NOT_MODIFIED {
                return Ok(Fetched::Unchanged);
            }
            let etag = response.headers().get(header::ETAG).cloned();
            let body = read_limited(response, MAX_JWKS_BYTES).await?;
            let keys = serde_json::from_slice(&body).map_err(|error| unusable(&error))?;
            // Of a set without a usable key nobody may hear later that it is unchanged, and take that for good news.
            *self.etag() = etag.filter(|_| KeySet::is_any_usable(&keys));
            Ok(Fetched::Keys(keys))
        })
    }
}

/// An HTTP client for calls to auth-api: no redirects, and limits that keep a dead peer from holding a request.
pub fn http_client(connect: Duration, total: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .timeout(total)
        .build()
}

/// The body of a successful answer, refused when it grows past `limit` bytes.
pub(crate) async fn read_limited(response: reqwest::Response, limit: usize) -> Result<Vec<u8>, SourceError> {
    if !response.status().is_success() {
        return Err(SourceError::Unavailable(format!("status {}", response.status().as_u16())));
    }
    read_body(response, limit).await
}

/// The body of an answer of any status, refused when it grows past `limit` bytes.
pub(crate) async fn read_body(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, SourceError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > limit {
            return Err(SourceError::Unusable(format!("more than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error of a call that did not get through; the address stays out of it, since it may hold credentials.
pub(crate) fn unavailable(error: reqwest::Error) -> SourceError {
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    SourceError::Unavailable(format!("{error}{cause}"))
}

/// The error of an answer that is not understood. What serde says would quote from it.
pub(crate) fn unusable(error: &serde_json::Error) -> SourceError {
    SourceError::Unusable(format!("unexpected at line {} column {}", error.line(), error.column()))
}
