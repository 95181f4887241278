//! OAuth clients and their secrets.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query, query_opt};

/// A row of `clients`.
#[derive(Clone, Debug)]
pub struct ClientRecord {
    pub client_id: String,
    pub name: String,
    pub is_public: bool,
    pub grant_types: Vec<String>,
    pub scopes: Vec<String>,
    pub audiences: Vec<String>,
    pub all_orgs: bool,
    pub org_ids: Vec<Uuid>,
    pub is_disabled: bool,
}

/// A row of `client_secrets`.
#[derive(Clone, Debug)]
pub struct ClientSecretRecord {
    pub id: Uuid,
    pub digest: Vec<u8>,
    pub expires_at: Option<OffsetDateTime>,
}

pub async fn find(db: &impl Executor, client_id: &str) -> Result<Option<ClientRecord>, StoreError> {
    let sql = "SELECT client_id, name, is_public, grant_types, scopes, audiences, all_orgs, org_ids, disabled_at IS NOT NULL \
               FROM clients WHERE client_id = $1";
    let row = query_opt(db, sql, &[&client_id]).await?;
    row.map(|row| {
        Ok(ClientRecord {
            client_id: row.try_get(0)?,
            name: row.try_get(1)?,
            is_public: row.try_get(2)?,
            grant_types: row.try_get(3)?,
            scopes: row.try_get(4)?,
            audiences: row.try_get(5)?,
            all_orgs: row.try_get(6)?,
            org_ids: row.try_get(7)?,
            is_disabled: row.try_get(8)?,
        })
    })
    .transpose()
}

pub async fn list_secrets(
    db: &impl Executor,
    client_id: &str,
) -> Result<Vec<ClientSecretRecord>, StoreError> {
    let sql =
        "SELECT id, digest, expires_at FROM client_secrets WHERE client_id = $1 ORDER BY created_at DESC";
    let rows = query(db, sql, &[&client_id]).await?;
    rows.iter()
        .map(|row| {
            Ok(ClientSecretRecord {
                id: row.try_get(0)?,
                digest: row.try_get(1)?,
                expires_at: row.try_get(2)?,
            })
        })
        .collect()
}

/// Adds a client, or brings one with the same id up to date.
pub async fn upsert(
    db: &impl Executor,
    client: &ClientRecord,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO clients (client_id, name, is_public, grant_types, scopes, audiences, all_orgs, org_ids, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, \
               is_public = excluded.is_public, grant_types = excluded.grant_types, scopes = excluded.scopes, \
               audiences = excluded.audiences, all_orgs = excluded.all_orgs, org_ids = excluded.org_ids";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 9] = [
        &client.client_id,
        &client.name,
        &client.is_public,
        &client.grant_types,
        &client.scopes,
        &client.audiences,
        &client.all_orgs,
        &client.org_ids,
        &now,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

pub async fn insert_secret(
    db: &impl Executor,
    client_id: &str,
    id: Uuid,
    digest: &[u8],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO client_secrets (id, client_id, digest, created_at) VALUES ($1, $2, $3, $4)";
    execute(db, sql, &[&id, &client_id, &digest, &now]).await.map(drop)
}

/// Adds a secret unless the client has it, live or ended; whether it was added.
pub async fn insert_absent_secret(
    db: &impl Executor,
    client_id: &str,
    id: Uuid,
    digest: &[u8],
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO client_secrets (id, client_id, digest, created_at) SELECT $1, $2, $3, $4 \
               WHERE NOT EXISTS (SELECT 1 FROM client_secrets WHERE client_id = $2 AND digest = $3)";
    Ok(execute(db, sql, &[&id, &client_id, &digest, &now]).await? > 0)
}

/// Keeps others from changing the client until the transaction ends; whether there is such a client.
pub async fn lock(db: &impl Executor, client_id: &str) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM clients WHERE client_id = $1 FOR UPDATE";
    Ok(query_opt(db, sql, &[&client_id]).await?.is_some())
}

/// Keeps the newest `keep` secrets of a client.
pub async fn delete_old_secrets(db: &impl Executor, client_id: &str, keep: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM client_secrets WHERE client_id = $1 AND id NOT IN \
               (SELECT id FROM client_secrets WHERE client_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2)";
    execute(db, sql, &[&client_id, &keep]).await.map(drop)
}

/// Notes when clients were last used.
pub async fn update_last_used(
    db: &impl Executor,
    client_ids: &[String],
    times: &[OffsetDateTime],
) -> Result<(), StoreError> {
    let sql = "UPDATE clients c SET last_used_at = greatest(c.last_used_at, used.at) \
               FROM unnest($1::text[], $2::timestamptz[]) AS used (client_id, at) WHERE c.client_id = used.client_id";
    execute(db, sql, &[&client_ids, &times]).await.map(drop)
}
