//! The replicas of this service that run, and which keys each of them serves and can use.

use uuid::Uuid;

use super::{Executor, StoreError, execute, query};

/// Notes that a replica runs and serves these keys. The database's clock counts, which all replicas share.
pub async fn upsert(db: &impl Executor, id: Uuid, kids: &[String]) -> Result<(), StoreError> {
    let sql = "INSERT INTO replicas (id, kids, seen_at) VALUES ($1, $2, now()) \
               ON CONFLICT (id) DO UPDATE SET kids = excluded.kids, seen_at = excluded.seen_at";
    execute(db, sql, &[&id, &kids]).await.map(drop)
}

/// The key sets of the replicas seen within the last `seconds`.
pub async fn list_served_kids(db: &impl Executor, seconds: i64) -> Result<Vec<Vec<String>>, StoreError> {
    let sql = "SELECT kids FROM replicas WHERE seen_at > now() - make_interval(secs => $1::bigint)";
    query(db, sql, &[&seconds]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub async fn delete(db: &impl Executor, id: Uuid) -> Result<(), StoreError> {
    execute(db, "DELETE FROM replicas WHERE id = $1", &[&id]).await.map(drop)
}

/// Deletes replicas that have not been seen for an hour.
pub async fn delete_gone(db: &impl Executor) -> Result<u64, StoreError> {
    execute(db, "DELETE FROM replicas WHERE seen_at < now() - interval '1 hour'", &[]).await
}
