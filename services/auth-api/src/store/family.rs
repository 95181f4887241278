//! Families of refresh tokens: one row per login.

use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query_opt};

/// A row of `families`.
#[derive(Clone, Debug)]
pub struct FamilyRecord {
    pub id: Uuid,
    pub user_id: Uuid,
    pub org_id: Uuid,
    pub app_id: Option<Uuid>,
    pub client_id: String,
    pub scope: String,
    pub key_id: String,
    pub nonce: Vec<u8>,
    pub generation: i64,
    pub rotated_at: Option<OffsetDateTime>,
    pub auth_time: OffsetDateTime,
    pub idle_expires_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub created_at: OffsetDateTime,
    pub is_revoked: bool,
}

const COLUMNS: &str = "id, user_id, org_id, app_id, client_id, scope, key_id, nonce, generation, rotated_at, auth_time, \
                       idle_expires_at, expires_at, created_at, revoked_at IS NOT NULL";

pub async fn find(db: &impl Executor, id: Uuid) -> Result<Option<FamilyRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM families WHERE id = $1");
    query_opt(db, &sql, &[&id]).await?.as_ref().map(from_row).transpose()
}

pub async fn insert(db: &impl Executor, family: &FamilyRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO families (id, user_id, org_id, app_id, client_id, scope, key_id, nonce, generation, auth_time, \
               idle_expires_at, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 13] = [
        &family.id,
        &family.user_id,
        &family.org_id,
        &family.app_id,
        &family.client_id,
        &family.scope,
        &family.key_id,
        &family.nonce,
        &family.generation,
        &family.auth_time,
        &family.idle_expires_at,
        &family.expires_at,
        &family.created_at,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Goes from `generation` to the next, if that is still the one that counts. Of several at once, one succeeds.
pub async fn update_generation(
    db: &impl Executor,
    id: Uuid,
    generation: i64,
    now: OffsetDateTime,
    idle_expires_at: OffsetDateTime,
) -> Result<bool, StoreError> {
    let sql = "UPDATE families SET generation = generation + 1, rotated_at = $3, idle_expires_at = least($4, expires_at) \
               WHERE id = $1 AND generation = $2 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3";
    Ok(execute(db, sql, &[&id, &generation, &now, &idle_expires_at]).await? > 0)
}

/// Revokes a family; false where it was revoked already.
pub async fn update_revoked(
    db: &impl Executor,
    id: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let sql = "UPDATE families SET revoked_at = $3, revoked_reason = $2 WHERE id = $1 AND revoked_at IS NULL";
    Ok(execute(db, sql, &[&id, &reason, &now]).await? > 0)
}

/// Revokes every family of a user, in one organization or in all.
pub async fn update_revoked_of_user(
    db: &impl Executor,
    user_id: Uuid,
    org_id: Option<Uuid>,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let sql = "UPDATE families SET revoked_at = $4, revoked_reason = $3 \
               WHERE user_id = $1 AND ($2::uuid IS NULL OR org_id = $2) AND revoked_at IS NULL";
    execute(db, sql, &[&user_id, &org_id, &reason, &now]).await.map(drop)
}

/// Deletes up to `limit` families that ended; their sessions go with them.
pub async fn delete_ended(db: &impl Executor, now: OffsetDateTime, limit: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM families WHERE id IN (SELECT id FROM families WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
    execute(db, sql, &[&now, &limit]).await
}

fn from_row(row: &Row) -> Result<FamilyRecord, StoreError> {
    Ok(FamilyRecord {
        id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        org_id: row.try_get(2)?,
        app_id: row.try_get(3)?,
        client_id: row.try_get(4)?,
        scope: row.try_get(5)?,
        key_id: row.try_get(6)?,
        nonce: row.try_get(7)?,
        generation: row.try_get(8)?,
        rotated_at: row.try_get(9)?,
        auth_time: row.try_get(10)?,
        idle_expires_at: row.try_get(11)?,
        expires_at: row.try_get(12)?,
        created_at: row.try_get(13)?,
        is_revoked: row.try_get(14)?,
    })
}
