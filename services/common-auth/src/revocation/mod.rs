//! Revoked tokens: auth-api's feed of them, and the deny-list that every token is held against.

mod deny_list;
mod watcher;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

pub use deny_list::DenyList;
pub use watcher::RevocationWatcher;

use crate::{
    keys::{SourceError, read_limited, unavailable, unusable},
    service_token::ServiceTokenManager,
};

/// Entries asked for at once.
pub const PAGE_LIMIT: usize = 500;

/// What an answer may take beyond its wait, at most.
const LONGEST_MARGIN: Duration = Duration::from_secs(4);
/// One page is far smaller.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// What a revocation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationKind {
    /// One token.
    Jti,
    /// A session: every token with this `sid`.
    Family,
    /// A user; with `org_id`, only in that organization.
    Subject,
    /// Every token given to a client.
    Client,
    /// Every token signed with a key.
    Key,
    /// No revocation but a notice in the same feed: the key set changed, fetch it.
    KeysChanged,
    /// A kind that a later auth-api knows: one that is not understood must not spoil the others.
    #[serde(other)]
    Unknown,
}

/// An entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationEntry {
    /// A decimal number; commit order.
    pub cursor: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub kind: RevocationKind,
    /// The `jti`, `sid`, `sub`, `client_id` or `kid`.
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<Uuid>,
    /// Tokens with an earlier `iat` are revoked. Not looked at for `jti`, `family` and `key`, which never come back.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_before: OffsetDateTime,
    /// From then on no token that this entry is about can still be alive.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// A page of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationPage {
    pub items: Vec<RevocationEntry>,
    /// Where the next page starts.
    pub next: String,
}

/// Where the revocations come from: HTTP, or in auth-api itself its own table.
pub trait RevocationSource: Send + Sync + 'static {
    /// The entries after a cursor, at most [`PAGE_LIMIT`]; without one, from the oldest that is in force. Where there are none,
    /// the source waits up to `wait_seconds` for one to come.
    fn page(
        &self,
        after: Option<String>,
        wait_seconds: u64,
    ) -> BoxFuture<'_, Result<RevocationPage, SourceError>>;
}

/// Revocations from auth-api's `GET /oauth/revocations`, read with this service's own token.
pub struct HttpRevocationSource {
    client: reqwest::Client,
    url: reqwest::Url,
    tokens: Arc<ServiceTokenManager>,
}

impl HttpRevocationSource {
    /// Reads `url`. `client` best has connections of its own: one that was lost, and that others left behind, costs seconds.
    pub fn new(client: reqwest::Client, url: reqwest::Url, tokens: Arc<ServiceTokenManager>) -> Self {
        Self { client, url, tokens }
    }
}

impl RevocationSource for HttpRevocationSource {
    fn page(
        &self,
        after: Option<String>,
        wait_seconds: u64,
    ) -> BoxFuture<'_, Result<RevocationPage, SourceError>> {
        Box::pin(async move {
            let token =
                self.tokens.token().await.map_err(|error| SourceError::Unavailable(error.to_string()))?;
            let mut request = self
                .client
                .get(self.url.clone())
                .bearer_auth(secrecy::ExposeSecret::expose_secret(&token))
                .query(&[("limit", PAGE_LIMIT.to_string()), ("wait", wait_seconds.to_string())])
                .timeout(Duration::from_secs(wait_seconds) + LONGEST_MARGIN);
            if let Some(after) = after {
                request = request.query(&[("after", after)]);
            }
            let response = request.send().await.map_err(unavailable)?;
            match response.status() {
                StatusCode::GONE => return Err(SourceError::CursorTooOld),
                StatusCode::UNAUTHORIZED => self.tokens.invalidate(&token).await,
                _ => {}
            }
            let body = read_limited(response, MAX_PAGE_BYTES).await?;
            serde_json::from_slice(&body).map_err(|error| unusable(&error))
        })
    }
}
