//! Notices to the runtime that are under way.

use serde_json::Value;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query};

/// A notice to deliver.
#[derive(Clone, Debug)]
pub struct NoticeRecord {
    pub id: Uuid,
    pub payload: Value,
    pub attempts: i32,
}

/// Adds a notice.
pub async fn insert(db: &impl Executor, id: Uuid, payload: &Value) -> Result<(), StoreError> {
    execute(db, "INSERT INTO notices (id, payload) VALUES ($1, $2)", &[&id, payload]).await.map(drop)
}

/// Notices that are due, for one deliverer at a time: each is due again after a while that doubles up to a quarter of an hour.
pub async fn claim_due(db: &impl Executor, jitter: f64, most: i64) -> Result<Vec<NoticeRecord>, StoreError> {
    let sql = "UPDATE notices SET attempts = attempts + 1, \
                 next_attempt_at = now() + make_interval(secs => 5 + least(900, power(2, least(attempts, 10))) * $1) \
               WHERE id IN (SELECT id FROM notices WHERE delivered_at IS NULL AND next_attempt_at <= now() \
                            ORDER BY next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
               RETURNING id, payload, attempts";
    let rows = query(db, sql, &[&jitter, &most]).await?;
    rows.iter()
        .map(|row| {
            Ok(NoticeRecord { id: row.try_get(0)?, payload: row.try_get(1)?, attempts: row.try_get(2)? })
        })
        .collect()
}

/// Writes down that a notice was taken.
pub async fn mark_delivered(db: &impl Executor, id: Uuid) -> Result<(), StoreError> {
    let sql = "UPDATE notices SET delivered_at = now(), last_error = NULL WHERE id = $1";
    execute(db, sql, &[&id]).await.map(drop)
}

/// Writes down why a notice was not taken; one that is given up is never due again.
pub async fn mark_failed(
    db: &impl Executor,
    id: Uuid,
    error: &str,
    is_given_up: bool,
) -> Result<(), StoreError> {
    let sql = "UPDATE notices SET last_error = $2, \
                 next_attempt_at = CASE WHEN $3 THEN 'infinity'::timestamptz ELSE next_attempt_at END WHERE id = $1";
    execute(db, sql, &[&id, &error, &is_given_up]).await.map(drop)
}

/// Deletes notices of so many days ago, whatever became of them; the number of rows.
pub async fn delete_old(db: &impl Executor, older_than_days: f64, most: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM notices WHERE id IN (SELECT id FROM notices \
                 WHERE created_at < now() - make_interval(secs => $1::float8 * 86400) LIMIT $2)";
    execute(db, sql, &[&older_than_days, &most]).await
}
