//! What an organization has connected: its state, and how it ends.

use std::{fmt, str::FromStr, time::Duration};

use common_auth::Tenant;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Integrations,
    audit::{self, Circumstances, Event},
    credential,
    provider::{OAuthTokens, Platform, Revocation},
};
use crate::store::{self, Database, StoreError, installation::InstallationRecord};

/// How long a disconnect waits for the provider; here it has happened by then.
const REVOKE_LIMIT: Duration = Duration::from_secs(5);

/// Whether an installation can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    /// Somebody has to give consent anew.
    NeedsReconnect,
    /// Somebody at the provider stopped it, and can let it go on.
    Suspended,
    /// An owner at the provider has not approved it yet.
    PendingApproval,
    /// Disconnected here.
    Revoked,
}

/// An installation as its organization sees it.
#[derive(Clone, Debug)]
pub struct Installation {
    pub id: Uuid,
    pub org_id: Uuid,
    pub platform: Platform,
    pub status: Status,
    /// One machine word.
    pub status_reason: Option<String>,
    pub external_org_id: Option<String>,
    pub external_org_name: Option<String>,
    pub external_install_id: Option<String>,
    pub scopes: Vec<String>,
    pub permissions: Value,
    pub metadata: Value,
    pub installed_by: String,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    pub connected_at: Option<OffsetDateTime>,
    pub last_checked_at: Option<OffsetDateTime>,
    /// When the first of its tokens ends.
    pub token_expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
}

/// Which installations to list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub platform: Option<Platform>,
    /// The last one of the page before.
    pub after: Option<Uuid>,
    pub limit: i64,
}

/// The text names no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no status")]
pub struct UnknownStatus;

/// Why an installation could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    #[error("there is no such installation")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Credential(#[from] credential::CredentialError),
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsReconnect => "needs_reconnect",
            Self::Suspended => "suspended",
            Self::PendingApproval => "pending_approval",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let all = [Self::Active, Self::NeedsReconnect, Self::Suspended, Self::PendingApproval, Self::Revoked];
        all.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl TryFrom<InstallationRecord> for Installation {
    type Error = StoreError;

    fn try_from(record: InstallationRecord) -> Result<Self, StoreError> {
        let unusable = |_| StoreError::Row("an installation has an unknown status");
        Ok(Self {
            id: record.id,
            org_id: record.org_id,
            platform: record
                .platform
                .parse()
                .map_err(|_| StoreError::Row("an installation is of an unknown platform"))?,
            status: record.status.parse().map_err(unusable)?,
            status_reason: record.status_reason,
            external_org_id: record.external_org_id,
            external_org_name: record.external_org_name,
            external_install_id: record.external_install_id,
            scopes: record.scopes,
            permissions: record.permissions,
            metadata: record.metadata,
            installed_by: record.installed_by,
            created_at: record.created_at,
            updated_at: record.updated_at,
            connected_at: record.connected_at,
            last_checked_at: record.last_probed_at,
            token_expires_at: record.token_expires_at,
            revoked_at: record.revoked_at,
        })
    }
}

/// The living installations of an organization, oldest first.
pub async fn list(db: &Database, tenant: &Tenant, page: &Page) -> Result<Vec<Installation>, StoreError> {
    let connection = db.connection().await?;
    let platform = page.platform.map(Platform::as_str);
    let rows = store::installation::list(&connection, tenant, platform, page.after, page.limit).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// One installation of an organization.
pub async fn find(db: &Database, tenant: &Tenant, id: Uuid) -> Result<Option<Installation>, StoreError> {
    let connection = db.connection().await?;
    store::installation::find(&connection, tenant, id).await?.map(TryInto::try_into).transpose()
}

/// Ends an installation: here at once, its tokens wiped; then at the provider, as far as it answers and lets a program do so.
pub async fn revoke(
    integrations: &Integrations,
    tenant: &Tenant,
    id: Uuid,
    actor: Uuid,
    circumstances: &Circumstances,
) -> Result<(Installation, Revocation), RevokeError> {
    let found = find(&integrations.db, tenant, id).await?.ok_or(RevokeError::NotFound)?;
    if found.status == Status::Revoked {
        return Ok((found, Revocation { provider_revoked: false, help_url: None }));
    }
    let tokens = load_tokens(integrations, tenant, id).await?;
    let mut connection = integrations.db.connection().await?;
    let transaction = connection.transaction().await?;
    store::installation::revoke(&transaction, tenant, id).await?;
    credential::wipe(&transaction, tenant, id).await?;
    let event = Event::new("installation.revoked", found.platform).actor(actor).installation(id);
    audit::record(&transaction, tenant, event, circumstances).await?;
    transaction.commit().await?;
    drop(connection);
    let revocation = revoke_at_provider(integrations, &found, tokens.as_ref()).await;
    let gone = find(&integrations.db, tenant, id).await?.unwrap_or(found);
    Ok((gone, revocation))
}

/// The tokens that the provider is told to forget. Some that cannot be decrypted do not keep anybody from disconnecting.
async fn load_tokens(
    integrations: &Integrations,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<OAuthTokens>, RevokeError> {
    match credential::load(&integrations.db, &integrations.cipher, tenant, id).await {
        Ok(tokens) => Ok(Some(tokens)),
        Err(credential::CredentialError::Store(error)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, installation_id = %id, "the tokens to revoke cannot be read");
            Ok(None)
        }
    }
}

async fn revoke_at_provider(
    integrations: &Integrations,
    installation: &Installation,
    tokens: Option<&OAuthTokens>,
) -> Revocation {
    let not_revoked = Revocation { provider_revoked: false, help_url: None };
    let Some(provider) = integrations.providers.get(installation.platform) else { return not_revoked };
    let none = OAuthTokens { credentials: Vec::new(), metadata: Value::Null };
    let work = provider.revoke_tokens(installation.external_install_id.as_deref(), tokens.unwrap_or(&none));
    match tokio::time::timeout(REVOKE_LIMIT, work).await {
        Ok(Ok(revocation)) => revocation,
        Ok(Err(error)) => {
            tracing::warn!(%error, installation_id = %installation.id, "the provider did not revoke");
            not_revoked
        }
        Err(_) => {
            tracing::warn!(installation_id = %installation.id, "the provider did not revoke in time");
            not_revoked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_is_written() {
        for text in ["active", "needs_reconnect", "suspended", "pending_approval", "revoked"] {
            assert_eq!(text.parse::<Status>().unwrap().as_str(), text);
        }
        assert_eq!("Active".parse::<Status>(), Err(UnknownStatus));
    }
}
