//! What providers say about installations: events and probes, which come without an organization.

use common_auth::Tenant;
use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Executor, StoreError, execute, query};

/// An installation that an event reaches. The organization in it is the row's own.
#[derive(Clone, Debug)]
pub struct ReachedRecord {
    pub id: Uuid,
    pub org_id: Uuid,
    pub status: String,
    pub external_install_id: Option<String>,
    pub installed_by: String,
    pub connected_at: Option<OffsetDateTime>,
    pub metadata: Value,
}

/// What a probe or event found out; none stays as it was.
#[derive(Clone, Debug, Default)]
pub struct FindingRecord<'a> {
    pub status: Option<&'a str>,
    /// Goes with the status.
    pub status_reason: Option<&'a str>,
    pub external_org_name: Option<String>,
    pub permissions: Option<Value>,
    pub scopes: Option<Vec<String>>,
    /// The kind and version of the credential that it was found out with; none where it was none of the installation's.
    pub asked_with: Option<(&'a str, i64)>,
}

/// What an approved request was approved for.
#[derive(Clone, Debug)]
pub struct ApprovalRecord {
    pub external_org_id: String,
    pub external_org_name: Option<String>,
    pub external_install_id: String,
    pub permissions: Value,
    pub metadata: Value,
}

const COLUMNS: &str = "id, org_id, status, external_install_id, installed_by, connected_at, metadata";

/// The living installations of an external account, locked until the transaction ends.
pub async fn find_by_account(
    db: &impl Executor,
    platform: &str,
    external_org_id: &str,
) -> Result<Vec<ReachedRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM oauth_installations \
         WHERE platform = $1 AND external_org_id = $2 AND revoked_at IS NULL ORDER BY id FOR UPDATE"
    );
    query(db, &sql, &[&platform, &external_org_id]).await?.iter().map(from_row).collect()
}

/// The living installations with the provider's own number, locked until the transaction ends.
pub async fn find_by_number(
    db: &impl Executor,
    platform: &str,
    external_install_id: &str,
) -> Result<Vec<ReachedRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM oauth_installations \
         WHERE platform = $1 AND external_install_id = $2 AND revoked_at IS NULL ORDER BY id FOR UPDATE"
    );
    query(db, &sql, &[&platform, &external_install_id]).await?.iter().map(from_row).collect()
}

/// The living installations with this in their metadata, locked until the transaction ends.
pub async fn find_by_metadata(
    db: &impl Executor,
    platform: &str,
    member: &str,
    value: &str,
) -> Result<Vec<ReachedRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM oauth_installations \
         WHERE platform = $1 AND metadata ->> $2 = $3 AND revoked_at IS NULL ORDER BY id FOR UPDATE"
    );
    query(db, &sql, &[&platform, &member, &value]).await?.iter().map(from_row).collect()
}

/// Writes a finding down unless somebody connected the installation anew meanwhile, or renewed the credential that it was found out
/// with; whether it was written.
pub async fn apply(
    db: &impl Executor,
    tenant: &Tenant,
    id: Uuid,
    connected_at: Option<OffsetDateTime>,
    finding: &FindingRecord<'_>,
) -> Result<bool, StoreError> {
    let sql = "UPDATE oauth_installations SET status = coalesce($4, status), \
                 status_reason = CASE WHEN $4::text IS NULL THEN status_reason ELSE $5 END, \
                 external_org_name = coalesce($6, external_org_name), permissions = coalesce($7, permissions), \
                 scopes = coalesce($8, scopes), updated_at = now() \
               WHERE org_id = $1 AND id = $2 AND connected_at IS NOT DISTINCT FROM $3 AND revoked_at IS NULL \
                 AND ($9::text IS NULL OR EXISTS (SELECT FROM installation_credentials c \
                      WHERE c.installation_id = $2 AND c.kind = $9 AND c.credential_version = $10))";
    let (kind, version) = finding.asked_with.unzip();
    let parameters: [&(dyn ToSql + Sync); 10] = [
        &tenant.org_id(),
        &id,
        &connected_at,
        &finding.status,
        &finding.status_reason,
        &finding.external_org_name,
        &finding.permissions,
        &finding.scopes,
        &kind,
        &version,
    ];
    Ok(execute(db, sql, &parameters).await? == 1)
}

/// Makes an approved request an installation; whether it still waited.
pub async fn approve(
    db: &impl Executor,
    tenant: &Tenant,
    id: Uuid,
    approval: &ApprovalRecord,
) -> Result<bool, StoreError> {
    let sql = "UPDATE oauth_installations SET status = 'active', status_reason = NULL, external_org_id = $3, \
                 external_org_name = $4, external_install_id = $5, permissions = $6, metadata = $7, connected_at = now(), updated_at = now() \
               WHERE org_id = $1 AND id = $2 AND status = 'pending_approval'";
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &tenant.org_id(),
        &id,
        &approval.external_org_id,
        &approval.external_org_name,
        &approval.external_install_id,
        &approval.permissions,
        &approval.metadata,
    ];
    Ok(execute(db, sql, &parameters).await? == 1)
}

/// Has the provider asked about an installation soon.
pub async fn forget_probe(db: &impl Executor, tenant: &Tenant, id: Uuid) -> Result<(), StoreError> {
    let sql = "UPDATE oauth_installations SET last_probed_at = NULL WHERE org_id = $1 AND id = $2";
    execute(db, sql, &[&tenant.org_id(), &id]).await.map(drop)
}

/// Writes down that the provider is asked now.
pub async fn touch_probe(db: &impl Executor, tenant: &Tenant, id: Uuid) -> Result<(), StoreError> {
    let sql = "UPDATE oauth_installations SET last_probed_at = now() WHERE org_id = $1 AND id = $2";
    execute(db, sql, &[&tenant.org_id(), &id]).await.map(drop)
}

/// Installations of all organizations that nobody asked the provider about for so many seconds; whoever gets them asks.
pub async fn claim_unprobed(
    db: &impl Executor,
    older_than_seconds: f64,
    most: i64,
) -> Result<Vec<ReachedRecord>, StoreError> {
    let sql = format!(
        "UPDATE oauth_installations SET last_probed_at = now() WHERE id IN ( \
           SELECT id FROM oauth_installations WHERE revoked_at IS NULL AND status <> 'pending_approval' \
             AND (last_probed_at IS NULL OR last_probed_at < now() - make_interval(secs => $1)) \
           ORDER BY last_probed_at NULLS FIRST LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING {COLUMNS}"
    );
    query(db, &sql, &[&older_than_seconds, &most]).await?.iter().map(from_row).collect()
}

/// Says of installations whose grant ends within so many days, or whose refresh token does, that it ends soon; of those that have
/// ended that somebody has to act; and takes back what is true no more. A person's token beside a GitHub App's own ends nothing.
pub async fn mark_ends(db: &impl Executor, grant_days: f64, refresh_days: f64) -> Result<u64, StoreError> {
    let sql = "WITH ends AS ( \
                 SELECT c.installation_id, \
                        bool_or(least(c.absolute_expires_at, c.refresh_expires_at) <= now() \
                                AND NOT (c.kind = 'user' AND i.external_install_id IS NOT NULL)) AS is_over \
                 FROM installation_credentials c JOIN oauth_installations i ON i.id = c.installation_id \
                 WHERE i.status = 'active' AND c.access_token_encrypted IS NOT NULL AND c.refused_reason IS NULL \
                   AND (c.absolute_expires_at < now() + make_interval(secs => $1::float8 * 86400) \
                        OR c.refresh_expires_at < now() + make_interval(secs => $2::float8 * 86400)) \
                 GROUP BY c.installation_id \
               ), relieved AS ( \
                 UPDATE oauth_installations SET status_reason = NULL, updated_at = now() \
                 WHERE status = 'active' AND status_reason = 'grant_ends_soon' AND id NOT IN (SELECT installation_id FROM ends) \
               ) UPDATE oauth_installations i \
                 SET status = CASE WHEN is_over THEN 'needs_reconnect' ELSE status END, \
                     status_reason = CASE WHEN is_over THEN 'grant_expired' ELSE 'grant_ends_soon' END, updated_at = now() \
                 FROM ends WHERE i.id = ends.installation_id AND i.status = 'active' AND (is_over OR i.status_reason IS NULL)";
    execute(db, sql, &[&grant_days, &refresh_days]).await
}

/// Says of installations whose token has ended and could not be renewed so many times in a row that it fails, though nobody refuses;
/// and takes it back. What an end of the grant says is said already.
pub async fn mark_failing(db: &impl Executor, failures: i32) -> Result<u64, StoreError> {
    let sql = "UPDATE oauth_installations SET status_reason = CASE WHEN seen.is_failing THEN 'renewal_fails' END, updated_at = now() \
               FROM (SELECT i.id, EXISTS ( \
                       SELECT FROM installation_credentials c WHERE c.installation_id = i.id AND c.failures >= $1 \
                         AND c.refused_reason IS NULL AND (c.access_token_encrypted IS NULL OR c.token_expires_at < now()) \
                         AND NOT (c.kind = 'user' AND i.external_install_id IS NOT NULL)) AS is_failing \
                     FROM oauth_installations i \
                     WHERE i.status = 'active' AND (i.status_reason IS NULL OR i.status_reason = 'renewal_fails')) seen \
               WHERE oauth_installations.id = seen.id AND status = 'active' \
                 AND is_failing <> (status_reason IS NOT NULL)";
    execute(db, sql, &[&failures]).await
}

fn from_row(row: &Row) -> Result<ReachedRecord, StoreError> {
    Ok(ReachedRecord {
        id: row.try_get("id")?,
        org_id: row.try_get("org_id")?,
        status: row.try_get("status")?,
        external_install_id: row.try_get("external_install_id")?,
        installed_by: row.try_get("installed_by")?,
        connected_at: row.try_get("connected_at")?,
        metadata: row.try_get("metadata")?,
    })
}
