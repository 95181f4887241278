//! How a renewal ends: compare-and-set on the version that it read.

use common_auth::Tenant;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{CredentialKey, SealedCredential};
use crate::store::{Executor, StoreError, execute, query_one, query_opt};

/// A provider's final word on a credential.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// One word for `status_reason`.
    pub reason: &'a str,
    /// What the installation becomes, if this is the credential that it lives by.
    pub status: &'a str,
    /// The provider's own word.
    pub error: &'a str,
    /// The installation lives by another credential.
    pub is_secondary: bool,
    /// Kinds that the installation rather lives by, if it has one of them in order.
    pub better_kinds: &'a [&'a str],
}

/// How long a credential is left alone after a failure.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// 0 to 1, so that those who failed together do not come back together.
    pub jitter: f64,
    /// What the provider asked for.
    pub at_least_seconds: f64,
}

/// Writes a renewed credential unless the version has changed; whether it was written. An installation that was thought to be in
/// trouble is well again. A credential that is due again already is left alone for a moment: the provider would be asked without end.
pub async fn save_refreshed(
    db: &impl Executor,
    tenant: &Tenant,
    installation_id: Uuid,
    version: i64,
    credential: &SealedCredential,
    is_primary: bool,
) -> Result<bool, StoreError> {
    let sql = "WITH saved AS ( \
                 UPDATE installation_credentials c SET access_token_encrypted = $5, \
                   refresh_token_encrypted = $6, token_expires_at = $7, \
                   refresh_expires_at = coalesce($8, refresh_expires_at), \
                   absolute_expires_at = coalesce($9, absolute_expires_at), \
                   scopes = CASE WHEN cardinality($10::text[]) > 0 THEN $10 ELSE scopes END, key_id = $11, \
                   credential_version = credential_version + 1, lease_holder = NULL, lease_until = NULL, \
                   last_refresh_at = now(), last_refresh_error = NULL, refreshed_count = refreshed_count + 1, \
                   refused_reason = NULL, failures = 0, updated_at = now(), \
                   next_attempt_at = CASE WHEN $7 < now() + interval '5 minutes' THEN now() + interval '30 seconds' END \
                 WHERE org_id = $1 AND installation_id = $2 AND kind = $3 AND credential_version = $4 \
                 RETURNING installation_id \
               ), healed AS ( \
                 UPDATE oauth_installations SET status = 'active', status_reason = NULL, updated_at = now() \
                 WHERE $12 AND id IN (SELECT installation_id FROM saved) \
                   AND (status IN ('needs_reconnect', 'suspended') OR status = 'active' AND status_reason = 'renewal_fails') \
               ) SELECT EXISTS (SELECT FROM saved)";
    let parameters: [&(dyn ToSql + Sync); 12] = [
        &tenant.org_id(),
        &installation_id,
        &credential.kind,
        &version,
        &credential.access_token_encrypted,
        &credential.refresh_token_encrypted,
        &credential.token_expires_at,
        &credential.refresh_expires_at,
        &credential.absolute_expires_at,
        &credential.scopes,
        &credential.key_id,
        &is_primary,
    ];
    Ok(query_one(db, sql, &parameters).await?.try_get(0)?)
}

/// Writes a final refusal down unless the version has changed; whether it was written.
pub async fn mark_refused(
    db: &impl Executor,
    tenant: &Tenant,
    key: CredentialKey<'_>,
    version: i64,
    refusal: &Refusal<'_>,
) -> Result<bool, StoreError> {
    let sql = "WITH refused AS ( \
                 UPDATE installation_credentials SET refused_reason = $5, last_refresh_error = $7, \
                   lease_holder = NULL, lease_until = NULL, updated_at = now() \
                 WHERE org_id = $1 AND installation_id = $2 AND kind = $3 AND credential_version = $4 \
                 RETURNING installation_id \
               ), marked AS ( \
                 UPDATE oauth_installations i SET status = $6, status_reason = $5, updated_at = now() \
                 WHERE NOT $8 AND i.id IN (SELECT installation_id FROM refused) AND i.status IN ('active', 'suspended') \
                   AND NOT EXISTS (SELECT FROM installation_credentials b WHERE b.installation_id = i.id \
                                   AND b.kind = ANY($9) AND b.refused_reason IS NULL AND b.access_token_encrypted IS NOT NULL) \
               ) SELECT EXISTS (SELECT FROM refused)";
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &tenant.org_id(),
        &key.installation_id,
        &key.kind,
        &version,
        &refusal.reason,
        &refusal.status,
        &refusal.error,
        &refusal.is_secondary,
        &refusal.better_kinds,
    ];
    Ok(query_one(db, sql, &parameters).await?.try_get(0)?)
}

/// Gives the lease back after a failure that passes, and says how many seconds nobody has to try: twice as long each time up to a
/// minute, times the jitter, and no shorter than the provider asks for. None when the lease was another's by then.
pub async fn mark_failed(
    db: &impl Executor,
    tenant: &Tenant,
    key: CredentialKey<'_>,
    holder: Uuid,
    error: &str,
    backoff: Backoff,
) -> Result<Option<f64>, StoreError> {
    let sql = "UPDATE installation_credentials SET failures = failures + 1, last_refresh_error = $5, \
                 lease_holder = NULL, lease_until = NULL, updated_at = now(), \
                 next_attempt_at = now() + make_interval(secs => \
                   greatest(least(60, power(2, least(failures, 6))) * $6, $7)) \
               WHERE org_id = $1 AND installation_id = $2 AND kind = $3 AND lease_holder = $4 \
               RETURNING extract(epoch FROM next_attempt_at - now())::float8";
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &tenant.org_id(),
        &key.installation_id,
        &key.kind,
        &holder,
        &error,
        &backoff.jitter,
        &backoff.at_least_seconds,
    ];
    query_opt(db, sql, &parameters).await?.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Lets a refused credential be tried again.
pub async fn forget_refusal(
    db: &impl Executor,
    tenant: &Tenant,
    key: CredentialKey<'_>,
) -> Result<(), StoreError> {
    let sql = "UPDATE installation_credentials SET refused_reason = NULL, failures = 0, next_attempt_at = NULL, \
                 updated_at = now() WHERE org_id = $1 AND installation_id = $2 AND kind = $3";
    execute(db, sql, &[&tenant.org_id(), &key.installation_id, &key.kind]).await.map(drop)
}

/// Takes a credential out of use: its tokens are deleted, and whoever renews it comes too late.
pub async fn refuse(
    db: &impl Executor,
    tenant: &Tenant,
    key: CredentialKey<'_>,
    reason: &str,
) -> Result<(), StoreError> {
    let sql = "UPDATE installation_credentials SET refused_reason = $4, access_token_encrypted = NULL, \
                 refresh_token_encrypted = NULL, key_id = NULL, credential_version = credential_version + 1, \
                 lease_holder = NULL, lease_until = NULL, updated_at = now() \
               WHERE org_id = $1 AND installation_id = $2 AND kind = $3";
    execute(db, sql, &[&tenant.org_id(), &key.installation_id, &key.kind, &reason]).await.map(drop)
}
