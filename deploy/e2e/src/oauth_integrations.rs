//! oauth-integrations, one method per endpoint.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::http::{Answer, Peer};

/// oauth-integrations at its base URL, with its admin port.
#[derive(Clone)]
pub struct OauthIntegrations {
    pub peer: Peer,
    pub admin: Peer,
}

impl OauthIntegrations {
    /// `POST /oauth/install-tickets`.
    pub async fn install_ticket(&self, token: Option<&str>, platform: &str) -> Result<Answer> {
        let call = self.peer.post("/oauth/install-tickets").maybe_bearer(token);
        call.json(&json!({ "platform": platform })).send().await
    }

    /// `GET /oauth/installations?platform=`.
    pub async fn installations(&self, token: Option<&str>, platform: &str) -> Result<Answer> {
        self.peer.get(&format!("/oauth/installations?platform={platform}")).maybe_bearer(token).send().await
    }

    /// `POST /oauth/installations/{id}/check`.
    pub async fn check(&self, token: &str, id: &str) -> Result<Answer> {
        self.peer.post(&format!("/oauth/installations/{id}/check")).bearer(token).send().await
    }

    /// `DELETE /oauth/installations/{id}`.
    pub async fn revoke(&self, token: &str, id: &str) -> Result<Answer> {
        self.peer.call(Method::DELETE, &format!("/oauth/installations/{id}")).bearer(token).send().await
    }

    /// `GET /oauth/token/{platform}?org_id=`.
    pub async fn token(&self, token: Option<&str>, platform: &str, org_id: Uuid) -> Result<Answer> {
        self.peer.get(&format!("/oauth/token/{platform}?org_id={org_id}")).maybe_bearer(token).send().await
    }
}
