//! Asks the provider how a connection is, and writes down what it says.

use std::{sync::Arc, time::Duration};

use common_auth::Tenant;
use time::OffsetDateTime;
use tracing::Instrument;
use uuid::Uuid;

use super::{CredentialError, default_kinds, refresh::Target, seal};
use crate::{
    domain::{
        Integrations,
        installation::Status,
        provider::{Credential, CredentialKind, OAuthProvider, Platform, Probe, ProviderError},
    },
    store::{
        self, StoreError,
        credential::{CredentialKey, CredentialRecord},
        installation::InstallationRecord,
        installation_status::FindingRecord,
    },
};

/// A token that ends sooner is renewed before the provider is asked with it.
const MIN_TTL: Duration = Duration::from_mins(1);

/// What the provider says, and the version of the credential that it was asked with, if it was one of the installation's.
struct Word {
    said: Result<Probe, ProviderError>,
    asked_with: Option<(CredentialKind, i64)>,
}

/// A credential to ask with, as it stood in its row.
struct Usable {
    credential: Credential,
    version: i64,
}

/// How a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOutcome {
    pub status: Status,
    pub status_reason: Option<String>,
}

/// Asks the provider about an installation. Whoever cannot be reached changes nothing.
pub async fn check(
    integrations: &Arc<Integrations>,
    tenant: &Tenant,
    installation_id: Uuid,
) -> Result<CheckOutcome, CredentialError> {
    let (flying, tenant) = (Arc::clone(integrations), *tenant);
    let work = async move { check_now(&flying, &tenant, installation_id).await };
    let cut_off = |_| CredentialError::TemporarilyUnavailable { retry_after: Duration::from_secs(1) };
    integrations.flights.complete(work.in_current_span()).await.map_err(cut_off)?
}

async fn check_now(
    integrations: &Arc<Integrations>,
    tenant: &Tenant,
    installation_id: Uuid,
) -> Result<CheckOutcome, CredentialError> {
    let found = find(integrations, tenant, installation_id).await?;
    let found = found.filter(|row| row.revoked_at.is_none()).ok_or(CredentialError::NotConnected)?;
    if found.status != Status::PendingApproval.as_str() {
        let platform = platform_of(&found)?;
        let provider = integrations.providers.get(platform).ok_or(CredentialError::ProviderNotConfigured)?;
        match ask(integrations, provider, tenant, &found, platform).await? {
            Some(Word { said: Ok(probe), .. }) => {
                settle_well(integrations, provider, tenant, &found, probe).await?;
            }
            Some(Word { said: Err(error), asked_with }) => {
                settle_ill(integrations, tenant, &found, &error, asked_with).await?;
            }
            // A token could not be renewed for good: the renewal has written down why.
            None => {}
        }
    }
    let now = find(integrations, tenant, installation_id).await?.ok_or(CredentialError::NotConnected)?;
    let unknown = |_| StoreError::Row("an installation has an unknown status");
    Ok(CheckOutcome { status: now.status.parse().map_err(unknown)?, status_reason: now.status_reason })
}

async fn find(
    integrations: &Integrations,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<InstallationRecord>, StoreError> {
    let connection = integrations.db.connection().await?;
    store::installation::find(&connection, tenant, id).await
}

fn platform_of(row: &InstallationRecord) -> Result<Platform, StoreError> {
    row.platform.parse().map_err(|_| StoreError::Row("an installation is of an unknown platform"))
}

/// What the provider says; none where there is no token to ask with.
async fn ask(
    integrations: &Arc<Integrations>,
    provider: &dyn OAuthProvider,
    tenant: &Tenant,
    row: &InstallationRecord,
    platform: Platform,
) -> Result<Option<Word>, CredentialError> {
    {
        let connection = integrations.db.connection().await?;
        store::installation_status::touch_probe(&connection, tenant, row.id).await?;
    }
    let number = row.external_install_id.as_deref();
    if provider.mints() && number.is_some() {
        return Ok(Some(Word { said: provider.probe(number, None).await, asked_with: None }));
    }
    let mut usable = find_usable(integrations, tenant, row.id, platform).await?;
    let ends_soon = |usable: &Usable| {
        usable.credential.token_expires_at.is_some_and(|end| end < OffsetDateTime::now_utc() + MIN_TTL)
    };
    if let Some(kind) = usable.as_ref().filter(|it| ends_soon(it)).map(|it| it.credential.kind) {
        let due_within = Some(MIN_TTL);
        let target = Target { tenant: *tenant, installation_id: row.id, platform, kind, due_within };
        integrations.flights.join(integrations, target).await;
        usable = find_usable(integrations, tenant, row.id, platform).await?;
        if usable.as_ref().is_some_and(ends_soon) {
            return Err(CredentialError::TemporarilyUnavailable { retry_after: Duration::from_secs(1) });
        }
    }
    let Some(Usable { credential, version }) = usable else { return Ok(None) };
    let said = provider.probe(number, Some(&credential)).await;
    Ok(Some(Word { said, asked_with: Some((credential.kind, version)) }))
}

/// The credential that the installation lives by, if it still counts.
async fn find_usable(
    integrations: &Integrations,
    tenant: &Tenant,
    id: Uuid,
    platform: Platform,
) -> Result<Option<Usable>, CredentialError> {
    let connection = integrations.db.connection().await?;
    let rows = store::credential::list(&connection, tenant, id).await?;
    drop(connection);
    let is_there =
        |row: &&CredentialRecord| row.refused_reason.is_some() || row.access_token_encrypted.is_some();
    let kinds = default_kinds(platform, false);
    let chosen = kinds.iter().find_map(|kind| rows.iter().filter(is_there).find(|row| row.kind == *kind));
    let chosen = chosen.filter(|row| row.refused_reason.is_none());
    let Some(row) = chosen.cloned() else { return Ok(None) };
    let version = row.credential_version;
    let credential = seal::open_record(&integrations.cipher, tenant, id, row)?;
    Ok(credential.map(|credential| Usable { credential, version }))
}

async fn settle_well(
    integrations: &Integrations,
    provider: &dyn OAuthProvider,
    tenant: &Tenant,
    row: &InstallationRecord,
    probe: Probe,
) -> Result<(), CredentialError> {
    // A warning about a grant's end is the status of a healthy installation.
    let is_ill = row.status != Status::Active.as_str();
    let finding = FindingRecord {
        status: is_ill.then_some(Status::Active.as_str()),
        status_reason: None,
        external_org_name: probe.external_org_name,
        permissions: probe.permissions,
        scopes: probe.scopes,
        asked_with: None,
    };
    let mut connection = integrations.db.connection().await?;
    let transaction = connection.transaction().await?;
    let is_applied =
        store::installation_status::apply(&transaction, tenant, row.id, row.connected_at, &finding).await?;
    if is_applied && is_ill && provider.mints() {
        let key = CredentialKey { installation_id: row.id, kind: "installation" };
        store::credential::forget_refusal(&transaction, tenant, key).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn settle_ill(
    integrations: &Integrations,
    tenant: &Tenant,
    row: &InstallationRecord,
    error: &ProviderError,
    asked_with: Option<(CredentialKind, i64)>,
) -> Result<(), CredentialError> {
    let (status, reason) = match error {
        ProviderError::Suspended => (Status::Suspended, "suspended_at_provider"),
        ProviderError::NotFound => (Status::NeedsReconnect, "uninstalled"),
        ProviderError::Refused { .. } | ProviderError::NotOwner | ProviderError::NotGranted => {
            (Status::NeedsReconnect, "access_revoked")
        }
        ProviderError::Unavailable { retry_after, .. } => {
            let retry_after = retry_after.unwrap_or(Duration::from_secs(1));
            return Err(CredentialError::TemporarilyUnavailable { retry_after });
        }
        ProviderError::Misconfigured { .. } | ProviderError::NothingGranted | ProviderError::Unsupported => {
            return Err(CredentialError::TemporarilyUnavailable { retry_after: Duration::from_mins(1) });
        }
    };
    let finding = FindingRecord {
        status: Some(status.as_str()),
        status_reason: Some(reason),
        // Some providers end a token when it is renewed: that they refuse the old one is no word on the new one.
        asked_with: asked_with.map(|(kind, version)| (kind.as_str(), version)),
        ..FindingRecord::default()
    };
    let connection = integrations.db.connection().await?;
    store::installation_status::apply(&connection, tenant, row.id, row.connected_at, &finding).await?;
    Ok(())
}
