//! The rules and use cases. Nothing here knows of HTTP.

pub mod audit;
pub mod change;
pub mod client;
pub mod client_authentication;
pub mod client_secrets;
pub mod clock;
pub mod directory;
pub mod discovery;
pub mod failure;
pub mod feed;
pub mod grant;
pub mod group;
pub mod introspection;
pub mod jwks;
pub mod key_encryption;
pub mod key_rotation;
pub mod login;
pub mod login_attempt;
pub mod network;
pub mod organization;
pub mod password;
pub mod refresh;
pub mod retention;
pub mod revocation;
pub mod role;
pub mod seed;
pub mod session;
pub mod token;
pub mod user;

use std::{sync::Arc, time::Duration};

use prometheus::Registry;
use uuid::Uuid;

pub use crate::store::{StoreError, notification};
use crate::{config::Config, store::Database};

/// Everything that the use cases work with. One per process.
pub struct Identity {
    pub db: Database,
    pub keys: Arc<jwks::KeyRing>,
    pub secrets: key_encryption::KeyEncryptionKeys,
    pub passwords: password::Passwords,
    pub clients: client::Clients,
    pub failures: failure::Failures,
    pub feeds: feed::FeedWatch,
    pub clock: clock::SharedClock,
    pub metrics: grant::GrantMetrics,
    pub settings: Settings,
    /// Which of the replicas this is.
    pub replica_id: Uuid,
}

/// The settings that the use cases follow.
#[derive(Clone, Debug)]
pub struct Settings {
    pub issuer: String,
    pub refresh_grace: Duration,
    pub refresh_idle: Duration,
    pub refresh_absolute: Duration,
    pub session_life: Duration,
    pub rotation: key_rotation::RotationSettings,
    pub client_secrets: client_secrets::MountedSecrets,
}

/// Verifiers' clocks may be behind by so much, and still accept a token.
const CLOCK_LEEWAY: Duration = Duration::from_mins(1);

impl Settings {
    /// The settings in the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            issuer: config.auth_api_issuer.clone(),
            refresh_grace: config.refresh_grace,
            refresh_idle: config.refresh_idle,
            refresh_absolute: config.refresh_absolute,
            session_life: config.session_ttl,
            rotation: key_rotation::RotationSettings {
                period: config.key_rotation,
                prepublish: config.jwks_prepublish,
                token_life: config.access_token_ttl,
            },
            client_secrets: config.client_secrets.clone(),
        }
    }

    /// How long an access token lives.
    pub fn token_life(&self) -> Duration {
        self.rotation.token_life
    }

    /// How long after its issue a token may still be accepted somewhere.
    pub fn longest_memory(&self) -> Duration {
        self.token_life() + CLOCK_LEEWAY
    }
}

/// Why the use cases cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Password(#[from] password::PasswordError),
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl Identity {
    /// Sets everything up; connects to nothing yet.
    pub fn new(config: &Config, registry: &Registry) -> Result<Self, SetupError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            db: Database::new(config)?,
            keys: Arc::default(),
            secrets: config.key_encryption_keys.clone(),
            passwords: password::Passwords::new(cores.min(password::MOST_THREADS))?,
            clients: client::Clients::default(),
            failures: failure::Failures::register(registry)?,
            feeds: feed::FeedWatch::default(),
            clock: clock::SharedClock::default(),
            metrics: grant::GrantMetrics::register(registry)?,
            settings: Settings::new(config),
            replica_id: Uuid::now_v7(),
        })
    }
}
