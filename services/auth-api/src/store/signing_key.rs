//! Signing keys, their private parts encrypted.

use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{Executor, StoreError, execute, query};

/// A row of `signing_keys`.
#[derive(Clone, Debug)]
pub struct SigningKeyRecord {
    pub kid: String,
    pub state: String,
    pub public_key: serde_json::Value,
    pub private_key: Option<Vec<u8>>,
    pub encryption_key_id: Option<String>,
    pub published_at: OffsetDateTime,
    pub served_at: Option<OffsetDateTime>,
    pub activated_at: Option<OffsetDateTime>,
    pub retired_at: Option<OffsetDateTime>,
    pub longest_token_seconds: i64,
}

/// Every key that is not removed, the oldest first.
pub async fn list(db: &impl Executor) -> Result<Vec<SigningKeyRecord>, StoreError> {
    let sql = "SELECT kid, state, public_key, private_key, encryption_key_id, published_at, served_at, activated_at, retired_at, \
               longest_token_seconds FROM signing_keys WHERE state <> 'removed' ORDER BY published_at, kid";
    query(db, sql, &[]).await?.iter().map(from_row).collect()
}

pub async fn insert(db: &impl Executor, key: &SigningKeyRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO signing_keys (kid, state, public_key, private_key, encryption_key_id, published_at, activated_at, \
               longest_token_seconds) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
        &key.kid,
        &key.state,
        &key.public_key,
        &key.private_key,
        &key.encryption_key_id,
        &key.published_at,
        &key.activated_at,
        &key.longest_token_seconds,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Notes that every replica serves the key.
pub async fn update_served(db: &impl Executor, kid: &str, now: OffsetDateTime) -> Result<(), StoreError> {
    execute(db, "UPDATE signing_keys SET served_at = $2 WHERE kid = $1", &[&kid, &now]).await.map(drop)
}

pub async fn update_active(db: &impl Executor, kid: &str, now: OffsetDateTime) -> Result<(), StoreError> {
    let sql = "UPDATE signing_keys SET state = 'active', activated_at = $2 WHERE kid = $1 AND state = 'next'";
    execute(db, sql, &[&kid, &now]).await.map(drop)
}

pub async fn update_retiring(db: &impl Executor, kid: &str, now: OffsetDateTime) -> Result<(), StoreError> {
    let sql =
        "UPDATE signing_keys SET state = 'retiring', retired_at = $2 WHERE kid = $1 AND state = 'active'";
    execute(db, sql, &[&kid, &now]).await.map(drop)
}

/// Removes a key and forgets its private part; false where there is no such key any more.
pub async fn update_removed(db: &impl Executor, kid: &str, now: OffsetDateTime) -> Result<bool, StoreError> {
    let sql = "UPDATE signing_keys SET state = 'removed', removed_at = $2, private_key = NULL, encryption_key_id = NULL \
               WHERE kid = $1 AND state <> 'removed'";
    Ok(execute(db, sql, &[&kid, &now]).await? > 0)
}

/// Notes that a replica signs tokens that live so long, with whichever key may sign.
pub async fn update_longest_token(db: &impl Executor, seconds: i64) -> Result<(), StoreError> {
    let sql = "UPDATE signing_keys SET longest_token_seconds = $1 \
               WHERE state IN ('next', 'active') AND longest_token_seconds < $1";
    execute(db, sql, &[&seconds]).await.map(drop)
}

/// Makes the rotation of keys one at a time among all replicas, until the transaction ends; false where another has its turn.
pub async fn try_lock(db: &impl Executor) -> Result<bool, StoreError> {
    let row = super::query_one(db, "SELECT pg_try_advisory_xact_lock($1)", &[&ROTATION_LOCK]).await?;
    Ok(row.try_get(0)?)
}

/// As [`try_lock`], but waits for its turn.
pub async fn lock(db: &impl Executor) -> Result<(), StoreError> {
    execute(db, "SELECT pg_advisory_xact_lock($1)", &[&ROTATION_LOCK]).await.map(drop)
}

const ROTATION_LOCK: i64 = 0x6175_7468_0002;

fn from_row(row: &Row) -> Result<SigningKeyRecord, StoreError> {
    Ok(SigningKeyRecord {
        kid: row.try_get(0)?,
        state: row.try_get(1)?,
        public_key: row.try_get(2)?,
        private_key: row.try_get(3)?,
        encryption_key_id: row.try_get(4)?,
        published_at: row.try_get(5)?,
        served_at: row.try_get(6)?,
        activated_at: row.try_get(7)?,
        retired_at: row.try_get(8)?,
        longest_token_seconds: row.try_get(9)?,
    })
}
