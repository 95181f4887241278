//! The rules and use cases. Nothing here knows of HTTP.

pub mod audit;
pub mod callback;
mod connect;
pub mod credential;
pub mod encryption;
pub mod installation;
pub mod key_rotation;
pub mod notice;
pub mod opaque;
pub mod provider;
pub mod result;
pub mod retention;
pub mod return_to;
pub mod state;
pub mod ticket;
pub mod webhook;

use std::sync::Arc;

use common_auth::{
    AuthMetrics, ServiceTokenManager, ServiceTokenSettings, http_client,
    revocation::{HttpRevocationSource, RevocationWatcher},
};
use prometheus::Registry;
use secrecy::SecretString;
use url::Url;

pub use crate::store::StoreError;
use crate::{
    clients::{self, runtime::RuntimeApi},
    config::{BACKGROUND_CALL_LIMIT, CONNECT_LIMIT, Config, INTROSPECTION_LIMIT, Origins},
    store::Database,
};

/// The scopes that this service asks for: revocations, notices, and tokens where it does not check them itself.
const SCOPES: [&str; 3] = ["revocations:read", "tokens:introspect", "runtime:notify"];

/// Everything that the use cases work with. One per process.
pub struct Integrations {
    pub db: Database,
    pub cipher: encryption::TokenCipher,
    pub providers: provider::Providers,
    pub flights: credential::Flights,
    pub metrics: provider::ProviderMetrics,
    /// The revocations in force; none where tokens are checked at auth-api.
    pub revocations: Option<Arc<RevocationWatcher>>,
    pub auth_metrics: Arc<AuthMetrics>,
    /// This service's own token at auth-api.
    pub tokens: Arc<ServiceTokenManager>,
    /// Who is told about connections.
    pub runtime: Option<RuntimeApi>,
    pub github_webhook_secret: Option<SecretString>,
    pub slack_signing_secret: Option<SecretString>,
    pub settings: Settings,
}

/// The settings that the use cases follow.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme and host that providers send browsers back to.
    pub callback_base: String,
    /// Scheme and host under which browsers see this service.
    pub public_origin: String,
    /// Origins that browsers may be sent on to.
    pub origins: Origins,
    /// Consents that one organization may have under way at once.
    pub max_live_states: u32,
    /// Which platforms' tokens clients may be handed.
    pub hand_out_platforms: credential::HandOutPlatforms,
}

/// Why the use cases cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("an address of auth-api cannot be used: {0}")]
    Address(#[from] url::ParseError),
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    #[error(transparent)]
    Provider(#[from] clients::providers::ConnectError),
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl Integrations {
    /// Sets everything up; connects to nothing yet.
    pub fn new(config: &Config, registry: &Registry) -> Result<Self, SetupError> {
        let metrics = provider::ProviderMetrics::register(registry)?;
        let (github, jira, slack) =
            (config.provider.github.clone(), config.provider.jira.clone(), config.provider.slack.clone());
        // Where tokens are checked at auth-api, a request may wait for this service's own.
        let limit = if config.use_oauth2_auth { BACKGROUND_CALL_LIMIT } else { INTROSPECTION_LIMIT };
        let tokens = ServiceTokenManager::new(
            ServiceTokenSettings {
                token_url: config.auth_api("/oauth/token"),
                client_id: config.client_id.clone(),
                client_secret: config.client_secret.clone(),
                scopes: SCOPES.map(str::to_owned).to_vec(),
            },
            http_client(CONNECT_LIMIT, limit)?,
        );
        let background = http_client(CONNECT_LIMIT, BACKGROUND_CALL_LIMIT)?;
        let runtime = config.runtime_url.clone();
        let auth_metrics = AuthMetrics::register(registry)?;
        let revocations = revocations(config, &tokens, &auth_metrics)?;
        Ok(Self {
            revocations,
            auth_metrics,
            db: Database::new(config)?,
            cipher: encryption::TokenCipher::new(config.token_encryption_keys.clone()),
            providers: clients::providers::connect(github, jira, slack, &metrics)?,
            flights: credential::Flights::default(),
            metrics,
            runtime: runtime.map(|base| RuntimeApi::new(background, base, Arc::clone(&tokens))),
            tokens,
            github_webhook_secret: config.provider.github_webhook_secret().cloned(),
            slack_signing_secret: config.provider.slack_signing_secret().cloned(),
            settings: Settings {
                callback_base: config.oauth_callback_base.origin().ascii_serialization(),
                public_origin: config.public_origin(),
                origins: config.allowed_origins.clone(),
                max_live_states: config.max_live_states_per_org,
                hand_out_platforms: config.hand_out_platforms.clone(),
            },
        })
    }
}

/// The feed that says which tokens do not count any more.
fn revocations(
    config: &Config,
    tokens: &Arc<ServiceTokenManager>,
    metrics: &Arc<AuthMetrics>,
) -> Result<Option<Arc<RevocationWatcher>>, SetupError> {
    if !config.use_oauth2_auth {
        return Ok(None);
    }
    let feed = HttpRevocationSource::new(
        http_client(CONNECT_LIMIT, BACKGROUND_CALL_LIMIT)?,
        Url::parse(&config.auth_api("/oauth/revocations"))?,
        Arc::clone(tokens),
    );
    Ok(Some(Arc::new(RevocationWatcher::new(feed, Arc::clone(metrics)))))
}
