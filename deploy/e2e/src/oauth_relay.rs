//! oauth-relay, one method per endpoint.

use anyhow::Result;

use crate::http::{Answer, Peer};

/// oauth-relay at its base URL, with its admin port.
#[derive(Clone)]
pub struct OauthRelay {
    pub peer: Peer,
    pub admin: Peer,
}

impl OauthRelay {
    /// `GET /oauth/wait`: one long poll.
    pub async fn wait(&self, token: Option<&str>, state: &str, timeout: u32) -> Result<Answer> {
        self.peer
            .get(&format!("/oauth/wait?state={state}&timeout={timeout}"))
            .maybe_bearer(token)
            .send()
            .await
    }

    /// What a provider sends the browser to.
    pub fn callback_url(&self) -> String {
        format!("{}/oauth/callback", self.peer.base())
    }

    /// How many wait now.
    pub async fn waiters(&self) -> Result<f64> {
        Ok(crate::metrics::scrape(&self.admin).await?.sum("oauth_relay_waiters", &[]))
    }
}
