//! What an organization has connected.

use common_auth::Tenant;
use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Executor, StoreError, execute, query, query_opt};

/// Refuses a second living installation of one external account.
pub const EXTERNAL_CONSTRAINT: &str = "oauth_installations_external";

/// A row of `oauth_installations`, and when the first of its tokens ends.
#[derive(Clone, Debug)]
pub struct InstallationRecord {
    pub id: Uuid,
    pub org_id: Uuid,
    pub platform: String,
    pub status: String,
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
    pub last_probed_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
    pub token_expires_at: Option<OffsetDateTime>,
}

/// What a consent says about an installation.
#[derive(Clone, Debug)]
pub struct GrantRecord {
    pub status: &'static str,
    pub external_org_id: Option<String>,
    pub external_org_name: Option<String>,
    pub external_install_id: Option<String>,
    pub scopes: Vec<String>,
    pub permissions: Value,
    pub metadata: Value,
    pub installed_by: String,
}

/// Each column by name: a statement that is kept prepared must not change its result when a newer version adds a column.
const SELECT: &str = "SELECT i.id, i.org_id, i.platform, i.status, i.status_reason, i.external_org_id, i.external_org_name, \
                      i.external_install_id, i.scopes, i.permissions, i.metadata, i.installed_by, i.created_at, i.updated_at, \
                      i.connected_at, i.last_probed_at, i.revoked_at, (SELECT min(c.token_expires_at) \
                      FROM installation_credentials c WHERE c.installation_id = i.id) AS token_expires_at \
                      FROM oauth_installations i";

/// The living ones of an organization after an id, oldest first.
pub async fn list(
    db: &impl Executor,
    tenant: &Tenant,
    platform: Option<&str>,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<InstallationRecord>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE i.org_id = $1 AND ($2::text IS NULL OR i.platform = $2) AND i.id > $3 AND i.revoked_at IS NULL \
         ORDER BY i.id LIMIT $4"
    );
    let after = after.unwrap_or_default();
    query(db, &sql, &[&tenant.org_id(), &platform, &after, &most]).await?.iter().map(from_row).collect()
}

/// One of an organization, whatever its status.
pub async fn find(
    db: &impl Executor,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<InstallationRecord>, StoreError> {
    let sql = format!("{SELECT} WHERE i.org_id = $1 AND i.id = $2");
    query_opt(db, &sql, &[&tenant.org_id(), &id]).await?.map(|row| from_row(&row)).transpose()
}

/// The living one of an organization with any of these external ids, locked until the transaction ends.
pub async fn find_by_external(
    db: &impl Executor,
    tenant: &Tenant,
    platform: &str,
    external_ids: &[String],
) -> Result<Option<InstallationRecord>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE i.org_id = $1 AND i.platform = $2 AND i.external_org_id = ANY($3) AND i.revoked_at IS NULL \
         ORDER BY i.id LIMIT 1 FOR UPDATE OF i"
    );
    let row = query_opt(db, &sql, &[&tenant.org_id(), &platform, &external_ids]).await?;
    row.map(|row| from_row(&row)).transpose()
}

/// Whether another organization has a living one with any of these external ids. It is not said which.
pub async fn is_elsewhere(
    db: &impl Executor,
    tenant: &Tenant,
    platform: &str,
    external_ids: &[String],
) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT FROM oauth_installations WHERE org_id <> $1 AND platform = $2 \
               AND external_org_id = ANY($3) AND revoked_at IS NULL)";
    let row = query_opt(db, sql, &[&tenant.org_id(), &platform, &external_ids]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// Adds one, about which the provider has spoken just now.
pub async fn insert(
    db: &impl Executor,
    tenant: &Tenant,
    id: Uuid,
    platform: &str,
    grant: &GrantRecord,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO oauth_installations (id, org_id, platform, status, external_org_id, external_org_name, \
               external_install_id, scopes, permissions, metadata, installed_by, connected_at, last_probed_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now(), now())";
    let parameters: [&(dyn ToSql + Sync); 11] = [
        &id,
        &tenant.org_id(),
        &platform,
        &grant.status,
        &grant.external_org_id,
        &grant.external_org_name,
        &grant.external_install_id,
        &grant.scopes,
        &grant.permissions,
        &grant.metadata,
        &grant.installed_by,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Replaces what an earlier consent said; whether there was a living row for it.
pub async fn update_grant(
    db: &impl Executor,
    tenant: &Tenant,
    id: Uuid,
    grant: &GrantRecord,
) -> Result<bool, StoreError> {
    let sql = "UPDATE oauth_installations SET status = $3, status_reason = NULL, external_org_id = $4, \
               external_org_name = $5, external_install_id = $6, scopes = $7, permissions = $8, metadata = $9, \
               connected_at = now(), last_probed_at = now(), updated_at = now() \
               WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL";
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &tenant.org_id(),
        &id,
        &grant.status,
        &grant.external_org_id,
        &grant.external_org_name,
        &grant.external_install_id,
        &grant.scopes,
        &grant.permissions,
        &grant.metadata,
    ];
    Ok(execute(db, sql, &parameters).await? == 1)
}

/// Ends one; whether it was alive.
pub async fn revoke(db: &impl Executor, tenant: &Tenant, id: Uuid) -> Result<bool, StoreError> {
    let sql = "UPDATE oauth_installations SET status = 'revoked', status_reason = 'disconnected', revoked_at = now(), \
               updated_at = now() WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL";
    Ok(execute(db, sql, &[&tenant.org_id(), &id]).await? == 1)
}

/// The request of one person that waits for approval, which a second request takes the place of.
pub async fn find_pending(
    db: &impl Executor,
    tenant: &Tenant,
    platform: &str,
    installed_by: &str,
) -> Result<Option<InstallationRecord>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE i.org_id = $1 AND i.platform = $2 AND i.installed_by = $3 AND i.status = 'pending_approval' \
         ORDER BY i.id LIMIT 1 FOR UPDATE OF i"
    );
    let row = query_opt(db, &sql, &[&tenant.org_id(), &platform, &installed_by]).await?;
    row.map(|row| from_row(&row)).transpose()
}

fn from_row(row: &Row) -> Result<InstallationRecord, StoreError> {
    Ok(InstallationRecord {
        id: row.try_get("id")?,
        org_id: row.try_get("org_id")?,
        platform: row.try_get("platform")?,
        status: row.try_get("status")?,
        status_reason: row.try_get("status_reason")?,
        external_org_id: row.try_get("external_org_id")?,
        external_org_name: row.try_get("external_org_name")?,
        external_install_id: row.try_get("external_install_id")?,
        scopes: row.try_get("scopes")?,
        permissions: row.try_get("permissions")?,
        metadata: row.try_get("metadata")?,
        installed_by: row.try_get("installed_by")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        connected_at: row.try_get("connected_at")?,
        last_probed_at: row.try_get("last_probed_at")?,
        revoked_at: row.try_get("revoked_at")?,
        token_expires_at: row.try_get("token_expires_at")?,
    })
}
