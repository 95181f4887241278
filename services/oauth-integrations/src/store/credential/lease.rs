//! Who may renew a credential: one process at a time, until its lease ends.

use common_auth::Tenant;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::CredentialKey;
use crate::store::{Executor, StoreError, execute, query, query_opt};

/// What its holder needs to renew a credential.
#[derive(Clone, Debug)]
pub struct LeaseRecord {
    pub refresh_token_encrypted: Option<String>,
    pub external_install_id: Option<String>,
    /// Whoever writes says which version it read.
    pub credential_version: i64,
}

/// How a credential stands, for one who waits for another's renewal.
#[derive(Clone, Debug)]
pub struct StandingRecord {
    pub is_due: bool,
    pub is_leased: bool,
    pub is_refused: bool,
    /// Seconds until it may be tried again.
    pub pause_seconds: Option<f64>,
}

/// A credential to renew ahead of need.
#[derive(Clone, Debug)]
pub struct DueRecord {
    pub installation_id: Uuid,
    pub org_id: Uuid,
    pub platform: String,
    pub kind: String,
    /// Not because its token ends soon.
    pub is_owed: bool,
}

/// What makes a renewal due whenever the token ends: the refresh token would end unused; or the last renewal was cut off or failed,
/// and the provider may have given an answer that it repeats for some minutes only. That is tried again often at first, then each hour.
/// Who has renewed it makes it undue for everybody.
const IS_OWED: &str = "(coalesce(c.refresh_expires_at < now() + interval '30 days' \
                          AND coalesce(c.last_refresh_at, c.created_at) < now() - interval '1 day', false) \
                       OR c.lease_holder IS NOT NULL \
                       OR c.failures > 0 AND (c.failures <= 15 OR c.updated_at < now() - interval '1 hour'))";

/// What makes a renewal due: no token, or one that ends within so many seconds (`$4`); without a number only that it is owed.
fn is_due() -> String {
    format!(
        "CASE WHEN $4::float8 IS NULL THEN {IS_OWED} ELSE c.access_token_encrypted IS NULL \
         OR coalesce(c.token_expires_at < now() + make_interval(secs => $4), false) END"
    )
}

/// Makes room for a token that is minted.
pub async fn insert_empty(
    db: &impl Executor,
    tenant: &Tenant,
    key: CredentialKey<'_>,
) -> Result<(), StoreError> {
    // The foreign key would refuse another organization's; one that is gone is no mistake.
    let sql = "INSERT INTO installation_credentials (installation_id, kind, org_id) \
               SELECT id, $3, org_id FROM oauth_installations WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL \
               ON CONFLICT DO NOTHING";
    execute(db, sql, &[&tenant.org_id(), &key.installation_id, &key.kind]).await.map(drop)
}

/// Takes the lease if a renewal is due, nobody has it and no pause is to be kept.
pub async fn acquire_lease(
    db: &impl Executor,
    tenant: &Tenant,
    key: CredentialKey<'_>,
    due_within_seconds: Option<f64>,
    holder: Uuid,
    lease_seconds: f64,
) -> Result<Option<LeaseRecord>, StoreError> {
    let is_due = is_due();
    let sql = format!(
        "UPDATE installation_credentials c SET lease_holder = $5, lease_until = now() + make_interval(secs => $6) \
         FROM oauth_installations i WHERE i.id = c.installation_id AND i.revoked_at IS NULL \
           AND c.org_id = $1 AND c.installation_id = $2 AND c.kind = $3 AND {is_due} AND c.refused_reason IS NULL \
           AND (c.lease_until IS NULL OR c.lease_until <= now()) \
           AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now()) \
         RETURNING c.refresh_token_encrypted, i.external_install_id, c.credential_version"
    );
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&tenant.org_id(), &key.installation_id, &key.kind, &due_within_seconds, &holder, &lease_seconds];
    let row = query_opt(db, &sql, &parameters).await?;
    row.map(|row| {
        Ok(LeaseRecord {
            refresh_token_encrypted: row.try_get(0)?,
            external_install_id: row.try_get(1)?,
            credential_version: row.try_get(2)?,
        })
    })
    .transpose()
}

/// How a credential stands; none when it is gone.
pub async fn find_standing(
    db: &impl Executor,
    tenant: &Tenant,
    key: CredentialKey<'_>,
    due_within_seconds: Option<f64>,
) -> Result<Option<StandingRecord>, StoreError> {
    let is_due = is_due();
    let sql = format!(
        "SELECT {is_due} AS is_due, coalesce(c.lease_until > now(), false) AS is_leased, \
                c.refused_reason IS NOT NULL AS is_refused, \
                CASE WHEN c.next_attempt_at > now() \
                     THEN extract(epoch FROM c.next_attempt_at - now())::float8 END AS pause_seconds \
         FROM installation_credentials c JOIN oauth_installations i ON i.id = c.installation_id \
         WHERE c.org_id = $1 AND c.installation_id = $2 AND c.kind = $3 AND i.revoked_at IS NULL"
    );
    let parameters: [&(dyn ToSql + Sync); 4] =
        [&tenant.org_id(), &key.installation_id, &key.kind, &due_within_seconds];
    let row = query_opt(db, &sql, &parameters).await?;
    row.map(|row| {
        Ok(StandingRecord {
            is_due: row.try_get("is_due")?,
            is_leased: row.try_get("is_leased")?,
            is_refused: row.try_get("is_refused")?,
            pause_seconds: row.try_get("pause_seconds")?,
        })
    })
    .transpose()
}

/// Credentials of all organizations to renew ahead of need: those in use whose token ends within so many seconds, and those that
/// are owed a renewal; what fails again and again comes last.
pub async fn list_due(
    db: &impl Executor,
    within_seconds: f64,
    most: i64,
) -> Result<Vec<DueRecord>, StoreError> {
    let sql = format!(
        "SELECT * FROM ( \
           SELECT c.installation_id, c.org_id, i.platform, c.kind, c.failures, {IS_OWED} AS is_owed, \
                  c.token_expires_at < now() + make_interval(secs => $1) AND EXISTS ( \
                    SELECT FROM token_hand_outs h WHERE h.installation_id = c.installation_id \
                      AND h.kind = c.kind AND h.at > now() - interval '1 day') AS is_wanted \
           FROM installation_credentials c JOIN oauth_installations i ON i.id = c.installation_id \
           WHERE i.status = 'active' AND c.refused_reason IS NULL AND c.access_token_encrypted IS NOT NULL \
             AND (c.refresh_token_encrypted IS NOT NULL OR c.kind = 'installation') \
             AND (c.lease_until IS NULL OR c.lease_until <= now()) \
             AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now()) \
         ) due WHERE is_owed OR is_wanted ORDER BY failures LIMIT $2"
    );
    query(db, &sql, &[&within_seconds, &most]).await?.iter().map(due_from_row).collect()
}

fn due_from_row(row: &Row) -> Result<DueRecord, StoreError> {
    Ok(DueRecord {
        installation_id: row.try_get("installation_id")?,
        org_id: row.try_get("org_id")?,
        platform: row.try_get("platform")?,
        kind: row.try_get("kind")?,
        is_owed: row.try_get("is_owed")?,
    })
}
