//! The hand-out of a token to a service of the platform: one database round trip where the token is fresh.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common_auth::Tenant;
use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    CredentialError, RENEW_AHEAD, default_kinds,
    refresh::{Renewal, Target},
    seal,
};
use crate::{
    domain::{
        Integrations,
        provider::{CredentialKind, Narrowing, OAuthProvider, Platform, ProviderError},
    },
    store::{
        self,
        credential::{HandOutAudit, HandOutQuery, HandOutRecord},
    },
};

/// How long a caller waits for a renewal; it goes on without the caller.
const WAIT_LIMIT: Duration = Duration::from_millis(1500);
/// When a caller may come again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Looks at the row: as it is, after a renewal, and after one that somebody else got in between.
const LOOKS: usize = 3;

/// Which token is asked for.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    pub platform: Platform,
    pub installation_id: Option<Uuid>,
    /// None: the installation's own.
    pub kind: Option<CredentialKind>,
    pub narrowing: Narrowing,
    /// How long it has to last at least.
    pub min_ttl: Duration,
    pub client_id: &'a str,
    /// Goes into the audit.
    pub reason: &'a str,
    pub request_id: Option<&'a str>,
}

/// A token to use now.
#[derive(Clone, Debug)]
pub struct HandOut {
    pub access_token: SecretString,
    /// None where it does not expire.
    pub expires_at: Option<OffsetDateTime>,
    pub scopes: Vec<String>,
    pub installation_id: Uuid,
    pub external_org_id: Option<String>,
    pub platform: Platform,
}

/// Hands a token out that lasts as long as it is asked to, and writes that into the audit.
pub async fn hand_out(
    integrations: &Arc<Integrations>,
    tenant: &Tenant,
    wish: &Wish<'_>,
) -> Result<HandOut, CredentialError> {
    let outcome = find_or_renew(integrations, tenant, wish).await;
    let word = match &outcome {
        Ok(_) => "ok",
        Err(error) => outcome_word(error),
    };
    integrations.metrics.count_hand_out(wish.platform, word);
    outcome
}

async fn find_or_renew(
    integrations: &Arc<Integrations>,
    tenant: &Tenant,
    wish: &Wish<'_>,
) -> Result<HandOut, CredentialError> {
    let provider = integrations.providers.get(wish.platform);
    let mints = provider.is_some_and(OAuthProvider::mints);
    if !wish.narrowing.is_empty() && !mints {
        return Err(CredentialError::Invalid("repositories and permissions go with a GitHub App only"));
    }
    let deadline = Instant::now() + WAIT_LIMIT;
    for _ in 0..LOOKS {
        let record = look(integrations, tenant, wish, mints).await?;
        if record.is_handed_out {
            return open(integrations, tenant, wish, &record);
        }
        refuse_unusable(&record)?;
        if !wish.narrowing.is_empty() {
            return mint_narrowed(integrations, tenant, wish, &record).await;
        }
        let target = target(tenant, wish, &record, mints)?;
        if target.kind == CredentialKind::Installation && record.kind.is_none() {
            let connection = integrations.db.connection().await?;
            store::credential::insert_empty(&connection, tenant, target.key()).await?;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let renewal = integrations.flights.join(integrations, target);
        match tokio::time::timeout(left, renewal).await {
            Ok(Renewal::Settled) => {}
            Ok(Renewal::Later { retry_after }) => return Err(later(retry_after)),
            Err(_) => return Err(later(None)),
        }
    }
    Err(later(None))
}

/// The one installation that may be meant.
async fn look(
    integrations: &Integrations,
    tenant: &Tenant,
    wish: &Wish<'_>,
    mints: bool,
) -> Result<HandOutRecord, CredentialError> {
    let named = wish.kind.map(|kind| [kind.as_str()]);
    let query = HandOutQuery {
        platform: wish.platform.as_str(),
        installation_id: wish.installation_id,
        kinds: named.as_ref().map_or_else(|| default_kinds(wish.platform, mints), |named| named.as_slice()),
        min_ttl_seconds: wish.min_ttl.as_secs_f64(),
        is_stored_wanted: wish.narrowing.is_empty(),
        audit: &audit(wish),
    };
    let connection = integrations.db.connection().await?;
    let mut records = store::credential::hand_out(&connection, tenant, &query).await?;
    drop(connection);
    match (records.pop(), records.is_empty()) {
        (Some(record), true) => Ok(record),
        (Some(record), false) => {
            let mut ids: Vec<_> = records.iter().map(|record| record.installation_id).collect();
            ids.push(record.installation_id);
            Err(CredentialError::Several(ids))
        }
        (None, _) if integrations.providers.get(wish.platform).is_none() => {
            Err(CredentialError::ProviderNotConfigured)
        }
        (None, _) => Err(CredentialError::NotConnected),
    }
}

fn audit<'a>(wish: &Wish<'a>) -> HandOutAudit<'a> {
    HandOutAudit {
        id: Uuid::now_v7(),
        client_id: wish.client_id,
        reason: wish.reason,
        request_id: wish.request_id,
    }
}

/// Decrypts what was handed out; what ends soon is renewed behind the answer.
fn open(
    integrations: &Arc<Integrations>,
    tenant: &Tenant,
    wish: &Wish<'_>,
    record: &HandOutRecord,
) -> Result<HandOut, CredentialError> {
    let (Some(kind), Some(sealed)) = (&record.kind, &record.access_token_encrypted) else {
        return Err(CredentialError::NotConnected);
    };
    let id = record.installation_id;
    let access_token = seal::open_access_token(&integrations.cipher, tenant, id, kind, sealed)?;
    let ends_soon = record.token_expires_at.is_some_and(|end| end < record.now + RENEW_AHEAD);
    if ends_soon && let Ok(kind) = kind.parse() {
        let due_within = Some(RENEW_AHEAD);
        let target =
            Target { tenant: *tenant, installation_id: id, platform: wish.platform, kind, due_within };
        // Started by being joined; nobody waits for it here.
        drop(integrations.flights.join(integrations, target));
    }
    Ok(HandOut {
        access_token,
        expires_at: record.token_expires_at,
        scopes: record.scopes.clone(),
        installation_id: id,
        external_org_id: record.external_org_id.clone(),
        platform: wish.platform,
    })
}

/// An installation or credential that only a person can put right.
fn refuse_unusable(record: &HandOutRecord) -> Result<(), CredentialError> {
    let status_reason = match (record.status.as_str(), &record.refused_reason) {
        ("active", None) => return Ok(()),
        ("active", refused) => refused.clone(),
        (status, _) => record.status_reason.clone().or_else(|| Some(status.to_owned())),
    };
    Err(CredentialError::NeedsReconnect { status_reason })
}

fn target(
    tenant: &Tenant,
    wish: &Wish<'_>,
    record: &HandOutRecord,
    mints: bool,
) -> Result<Target, CredentialError> {
    let kind = match &record.kind {
        Some(kind) => kind.parse().map_err(|_| CredentialError::NotConnected)?,
        None if mints && wish.kind.is_none_or(|kind| kind == CredentialKind::Installation) => {
            CredentialKind::Installation
        }
        None => return Err(CredentialError::NotConnected),
    };
    Ok(Target {
        tenant: *tenant,
        installation_id: record.installation_id,
        platform: wish.platform,
        kind,
        due_within: Some(wish.min_ttl.max(RENEW_AHEAD)),
    })
}

/// A token made to measure: it stands in no row, so only its audit is written.
async fn mint_narrowed(
    integrations: &Arc<Integrations>,
    tenant: &Tenant,
    wish: &Wish<'_>,
    record: &HandOutRecord,
) -> Result<HandOut, CredentialError> {
    let number = record.external_install_id.clone().ok_or(CredentialError::NotConnected)?;
    let (flying, narrowing, platform) = (Arc::clone(integrations), wish.narrowing.clone(), wish.platform);
    let work = async move {
        let provider = flying.providers.get(platform).ok_or(ProviderError::Unsupported)?;
        provider.mint_token(&number, &narrowing).await
    };
    let minted = tokio::time::timeout(WAIT_LIMIT, integrations.flights.complete(work)).await;
    let minted = minted.unwrap_or_else(|_| Ok(Err(ProviderError::unavailable("no answer in time"))));
    let credential = match minted {
        Ok(Ok(credential)) => credential,
        Ok(Err(ProviderError::NotGranted)) => {
            return Err(CredentialError::Invalid(
                "the installation does not have these repositories or permissions",
            ));
        }
        Ok(Err(ProviderError::Suspended)) => {
            return Err(CredentialError::NeedsReconnect {
                status_reason: Some("suspended_at_provider".to_owned()),
            });
        }
        Ok(Err(ProviderError::NotFound)) => {
            return Err(CredentialError::NeedsReconnect { status_reason: Some("uninstalled".to_owned()) });
        }
        Ok(Err(ProviderError::Unavailable { retry_after, .. })) => return Err(later(retry_after)),
        Ok(Err(_)) | Err(_) => return Err(later(None)),
    };
    let connection = integrations.db.connection().await?;
    let (id, kind) = (record.installation_id, credential.kind.as_str());
    store::credential::insert_hand_out(&connection, tenant, id, kind, &audit(wish)).await?;
    Ok(HandOut {
        access_token: credential.access_token,
        expires_at: credential.token_expires_at,
        scopes: credential.scopes,
        installation_id: id,
        external_org_id: record.external_org_id.clone(),
        platform: wish.platform,
    })
}

fn later(retry_after: Option<Duration>) -> CredentialError {
    CredentialError::TemporarilyUnavailable {
        retry_after: retry_after.unwrap_or(RETRY_AFTER).max(RETRY_AFTER),
    }
}

fn outcome_word(error: &CredentialError) -> &'static str {
    match error {
        CredentialError::NotConnected => "not_connected",
        CredentialError::NeedsReconnect { .. } => "needs_reconnect",
        CredentialError::Several(_) => "several_installations",
        CredentialError::TemporarilyUnavailable { .. } => "temporarily_unavailable",
        CredentialError::ProviderNotConfigured => "provider_not_configured",
        CredentialError::Invalid(_) => "invalid",
        CredentialError::Cipher(_) => "cipher_failed",
        CredentialError::Store(_) => "store_failed",
    }
}
