//! A running stack: its settings, and the services as peers.

use anyhow::{Context, Result};

use crate::{
    auth_api::AuthApi,
    chat_api::ChatApi,
    http::{self, Peer},
    oauth_integrations::OauthIntegrations,
    oauth_relay::OauthRelay,
    settings::Settings,
    timeline::Timeline,
};

/// Everything that a step or a test needs.
#[derive(Clone)]
pub struct Stack {
    pub settings: Settings,
    pub auth: AuthApi,
    pub chat: ChatApi,
    pub integrations: OauthIntegrations,
    pub relay: OauthRelay,
}

impl Stack {
    /// The stack that the process environment describes.
    pub fn from_env() -> Result<Self> {
        Self::new(Settings::from_env()?)
    }

    /// The stack of these settings.
    pub fn new(settings: Settings) -> Result<Self> {
        let client = http::client()?;
        let peer = |url: &str| Peer::new(client.clone(), url);
        Ok(Self {
            auth: AuthApi { peer: peer(&settings.auth_api_url), admin: peer(&settings.auth_api_admin_url) },
            integrations: OauthIntegrations {
                peer: peer(&settings.oauth_integrations_url),
                admin: peer(&settings.oauth_integrations_admin_url),
            },
            relay: OauthRelay {
                peer: peer(&settings.oauth_relay_url),
                admin: peer(&settings.oauth_relay_admin_url),
            },
            chat: ChatApi { peer: peer(&settings.chat_api_url), admin: peer(&settings.chat_api_admin_url) },
            settings,
        })
    }

    /// The stored messages.
    pub async fn timeline(&self) -> Result<Timeline> {
        let uri = self.settings.mongodb_uri.as_deref().context("MONGODB_URI is not set")?;
        Timeline::connect(uri, &self.settings.mongodb_database).await
    }
}
