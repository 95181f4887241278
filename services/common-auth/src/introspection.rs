//! The rollback of local validation (`USE_OAUTH2_AUTH=false`): auth-api is asked about every token (RFC 7662).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    claims::AccessTokenClaims,
    error::AuthError,
    keys::{read_limited, unavailable},
    metrics::AuthMetrics,
    service_token::ServiceTokenManager,
    unverified::Unverified,
    verifier::{LEEWAY_SECONDS, VerifiedToken, unix_now},
};

const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Asks the introspection endpoint with this service's token, which needs the scope `tokens:introspect`.
pub struct Introspector {
    client: reqwest::Client,
    url: reqwest::Url,
    audience: String,
    tokens: Arc<ServiceTokenManager>,
    limit: Duration,
    metrics: Arc<AuthMetrics>,
}

#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(flatten)]
    claims: serde_json::Map<String, serde_json::Value>,
}

impl Introspector {
    /// Asks `url`; a token has to be meant for `audience`. After `limit` there is no answer, whatever took so long.
    pub fn new(
        client: reqwest::Client,
        url: reqwest::Url,
        audience: impl Into<String>,
        tokens: Arc<ServiceTokenManager>,
        limit: Duration,
        metrics: Arc<AuthMetrics>,
    ) -> Self {
        Self { client, url, audience: audience.into(), tokens, limit, metrics }
    }

    /// Whether auth-api holds the token for good, now.
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`], or [`AuthError::Unavailable`] when auth-api does not answer in time.
    pub async fn introspect(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        let started = Instant::now();
        let outcome = self.ask(token).await;
        self.metrics.validation_duration.observe(started.elapsed());
        self.metrics.count_validation(&outcome);
        if let Err(error) = &outcome {
            tracing::debug!(reason = error.reason(), "Token validation failed");
        }
        outcome
    }

    async fn ask(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        // What could never be a token of ours is not worth a call; the answer is that of local validation.
        let unverified = Unverified::decode(token)?;
        if !unverified.claims.aud.contains(&self.audience) {
            return Err(AuthError::InvalidToken("audience"));
        }
        let expires_at = unverified.claims.exp;
        if unix_now() >= expires_at.saturating_add(LEEWAY_SECONDS) {
            return Err(AuthError::TokenExpired);
        }
        // One limit for all that an answer may take: this service's own token, the question, and both again after a refusal.
        let answer = tokio::time::timeout(self.limit, self.answer(token))
            .await
            .map_err(|_| unreachable_peer(&"no answer in time"))??;
        if !answer.active {
            let expired = unix_now() >= expires_at;
            return Err(if expired { AuthError::TokenExpired } else { AuthError::InvalidToken("inactive") });
        }
        // Answered without claims, this service has not been allowed to see them: nobody's token is wrong.
        let claims: AccessTokenClaims = serde_json::from_value(answer.claims.into())
            .map_err(|_| unreachable_peer(&"active, but without the claims of an access token"))?;
        if !claims.aud.contains(&self.audience) {
            return Err(AuthError::InvalidToken("audience"));
        }
        VerifiedToken::new(&claims, None, &self.metrics)
            .map(Arc::new)
            .ok_or(AuthError::InvalidToken("subject"))
    }

    /// Asks once more with a new service token where the first is refused: it may have been revoked.
    async fn answer(&self, token: &str) -> Result<Answer, AuthError> {
        let own = self.own_token().await?;
        let mut response = self.post(token, &own).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.tokens.invalidate(&own).await;
            response = self.post(token, &self.own_token().await?).await?;
        }
        let body =
            read_limited(response, MAX_ANSWER_BYTES).await.map_err(|error| unreachable_peer(&error))?;
        // What serde says would quote the claims.
        serde_json::from_slice(&body)
            .map_err(|_| unreachable_peer(&"the answer is no introspection response"))
    }

    async fn own_token(&self) -> Result<SecretString, AuthError> {
        self.tokens.token().await.map_err(|error| unreachable_peer(&error))
    }

    async fn post(&self, token: &str, own: &SecretString) -> Result<reqwest::Response, AuthError> {
        let request = self.client.post(self.url.clone()).bearer_auth(own.expose_secret());
        let answer = request.form(&[("token", token)]).send().await;
        answer.map_err(|error| unreachable_peer(&unavailable(error)))
    }
}

fn unreachable_peer(error: &dyn std::fmt::Display) -> AuthError {
    tracing::warn!(%error, "introspection failed");
    AuthError::Unavailable
}
