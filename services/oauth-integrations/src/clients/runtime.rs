//! mozaiks-runtime: hears that a consent was given, so that a workflow that waits for it goes on.

use std::{sync::Arc, time::Duration};

use common_auth::ServiceTokenManager;
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use super::http::beneath;
use crate::telemetry;

/// The longest that one notice may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Calls the runtime with this service's own token, which needs the scope `runtime:notify`.
pub struct RuntimeApi {
    client: reqwest::Client,
    base: Url,
    tokens: Arc<ServiceTokenManager>,
}

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// It may be taken later.
    #[error("not taken: {0}")]
    Unavailable(String),
    /// It never will be.
    #[error("refused with status {0}")]
    Refused(u16),
}

impl RuntimeApi {
    /// Calls the runtime at `base`.
    pub fn new(client: reqwest::Client, base: Url, tokens: Arc<ServiceTokenManager>) -> Self {
        Self { client, base, tokens }
    }

    /// Says that a consent is over. Said twice it is the same notice.
    pub async fn notify_oauth_completed(&self, notice: &Value) -> Result<(), NoticeError> {
        let url = beneath(&self.base, &["api", "realtime", "oauth", "completed"]);
        let mut is_retry = false;
        loop {
            let token = self.tokens.token().await.map_err(|error| unavailable(&error))?;
            let response = self
                .client
                .post(url.clone())
                .headers(telemetry::trace_headers())
                .bearer_auth(token.expose_secret())
                .timeout(LIMIT)
                .json(notice)
                .send()
                .await
                .map_err(|error| unavailable(&error.without_url()))?;
            return match response.status() {
                status if status.is_success() => Ok(()),
                StatusCode::UNAUTHORIZED if !is_retry => {
                    self.tokens.invalidate(&token).await;
                    is_retry = true;
                    continue;
                }
                // The rights of this client may still be put in order; a body that is wrong stays so.
                status @ (StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS) => Err(unavailable(&status)),
                status if status.is_client_error() => Err(NoticeError::Refused(status.as_u16())),
                status => Err(unavailable(&status)),
            };
        }
    }
}

fn unavailable(error: &impl std::fmt::Display) -> NoticeError {
    NoticeError::Unavailable(error.to_string())
}
