//! The rollback of local validation (`USE_OAUTH2_AUTH=false`): auth-api is asked about every token (RFC 7662).

use std::sync::Arc;

use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::{
    claims::AccessTokenClaims,
    error::AuthError,
    keys::{read_limited, unavailable},
    metrics::AuthMetrics,
    service_token::ServiceTokenManager,
    verifier::VerifiedToken,
};

const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Asks the introspection endpoint with this service's token, which needs the scope `tokens:introspect`.
pub struct Introspector {
    client: reqwest::Client,
    url: reqwest::Url,
    audience: String,
    tokens: Arc<ServiceTokenManager>,
    metrics: Arc<AuthMetrics>,
}

#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(flatten)]
    claims: serde_json::Map<String, serde_json::Value>,
}

impl Introspector {
    /// Asks `url`; a token has to be meant for `audience`.
    pub fn new(
        client: reqwest::Client,
        url: reqwest::Url,
        audience: impl Into<String>,
        tokens: Arc<ServiceTokenManager>,
        metrics: Arc<AuthMetrics>,
    ) -> Self {
        Self { client, url, audience: audience.into(), tokens, metrics }
    }

    /// Whether auth-api holds the token for good, now.
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`], or [`AuthError::Unavailable`] when auth-api does not answer in time.
    pub async fn introspect(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        let timer = self.metrics.validation_duration.start_timer();
        let outcome = self.ask(token).await;
        timer.observe_duration();
        self.metrics.count_validation(&outcome);
        outcome
    }

    async fn ask(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        let own = self.tokens.token().await.map_err(|error| unreachable_peer(&error))?;
        let response = self
            .client
            .post(self.url.clone())
            .bearer_auth(own.expose_secret())
            .form(&[("token", token)])
            .send()
            .await
            .map_err(|error| unreachable_peer(&unavailable(error)))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.tokens.invalidate(&own).await;
        }
        let body =
            read_limited(response, MAX_ANSWER_BYTES).await.map_err(|error| unreachable_peer(&error))?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| unreachable_peer(&error))?;
        if !answer.active {
            return Err(AuthError::InvalidToken("inactive"));
        }
        let claims: AccessTokenClaims =
            serde_json::from_value(answer.claims.into()).map_err(|_| AuthError::InvalidToken("claims"))?;
        if !claims.aud.contains(&self.audience) {
            return Err(AuthError::InvalidToken("audience"));
        }
        VerifiedToken::new(&claims, None).map(Arc::new).ok_or(AuthError::InvalidToken("subject"))
    }
}

fn unreachable_peer(error: &dyn std::fmt::Display) -> AuthError {
    tracing::warn!(%error, "introspection failed");
    AuthError::Unavailable
}
