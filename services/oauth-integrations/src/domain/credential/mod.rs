//! Tokens: stored encrypted, handed out fresh, renewed once for everybody who waits.
//!
//! Freshness is decided at the hand-out, by the database's clock. A token that ends soon is renewed behind the answer; one that has
//! ended is renewed before it. One process renews (a lease in the row), one task in it (a flight), and the write counts only if nobody
//! wrote in the meantime (the version). The new refresh token is in the row before anybody is answered.
//!
//! A crash between the provider's answer and the row (S47) costs, by provider: GitHub App installation, nothing, since tokens are minted
//! with the app's key; Atlassian, nothing within ten minutes, since the used refresh token still counts; Slack, nothing if the next
//! try is soon; GitHub user, the grant, since its refresh token dies with its first use: the person has to reconnect.
//! The sweep tries again what was cut off, whether anybody asks for it or not.

mod allow_list;
mod check;
mod flight;
mod hand_out;
mod refresh;
mod seal;
mod settle;
mod upkeep;

use std::time::Duration;

use common_auth::Tenant;
use uuid::Uuid;

pub use self::{
    allow_list::{HandOutPlatforms, HandOutPlatformsError},
    check::{CheckOutcome, check},
    flight::Flights,
    hand_out::{HandOut, Wish, hand_out},
    refresh::{Renewal, renew},
    seal::rewrap,
    upkeep::{reconcile, renew_due},
};
use super::{
    encryption::{CipherError, TokenCipher},
    provider::{Credential, OAuthTokens, Platform},
};
use crate::store::{self, Database, Executor, StoreError};

/// A token that ends within so long is renewed while it is still handed out.
pub const RENEW_AHEAD: Duration = Duration::from_mins(5);

/// Why there is no token. The first four are the machine codes that callers tell apart.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the organization has not connected it")]
    NotConnected,
    /// Somebody has to give consent anew, or undo a suspension.
    #[error("it has to be connected anew")]
    NeedsReconnect { status_reason: Option<String> },
    #[error("several installations may be meant")]
    Several(Vec<Uuid>),
    /// The provider is in trouble, or somebody else's renewal takes long.
    #[error("temporarily unavailable")]
    TemporarilyUnavailable { retry_after: Duration },
    #[error("the platform is not configured")]
    ProviderNotConfigured,
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    #[error(transparent)]
    Cipher(#[from] CipherError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the tokens of a new consent; a renewal that is under way with the old ones comes to nothing.
pub async fn save(
    db: &impl Executor,
    cipher: &TokenCipher,
    tenant: &Tenant,
    installation_id: Uuid,
    credentials: &[Credential],
) -> Result<(), CredentialError> {
    for credential in credentials {
        let sealed = seal::seal(cipher, tenant, installation_id, credential)?;
        store::credential::replace(db, tenant, installation_id, &sealed).await?;
    }
    Ok(())
}

/// Deletes the tokens of an installation.
pub async fn wipe(db: &impl Executor, tenant: &Tenant, installation_id: Uuid) -> Result<(), CredentialError> {
    Ok(store::credential::wipe(db, tenant, installation_id).await?)
}

/// The tokens of an installation as they stand, fresh or not.
pub async fn load(
    db: &Database,
    cipher: &TokenCipher,
    tenant: &Tenant,
    installation_id: Uuid,
) -> Result<OAuthTokens, CredentialError> {
    let connection = db.connection().await?;
    let rows = store::credential::list(&connection, tenant, installation_id).await?;
    drop(connection);
    let mut credentials: Vec<Credential> = Vec::new();
    for row in rows {
        credentials.extend(seal::open_record(cipher, tenant, installation_id, row)?);
    }
    Ok(OAuthTokens { credentials, metadata: serde_json::json!({}) })
}

/// Which kinds of credential may be handed out as the installation's own, the first choice first.
fn default_kinds(platform: Platform, mints: bool) -> &'static [&'static str] {
    match platform {
        Platform::Github if mints => &["installation"],
        Platform::Github | Platform::Jira => &["user"],
        Platform::Slack => &["bot", "user"],
    }
}
