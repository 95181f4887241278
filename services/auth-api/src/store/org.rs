//! Organizations.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query_opt};

const NAMES_LOCK: i64 = 0x6175_7468_0004;

/// A row of `orgs`.
#[derive(Clone, Debug)]
pub struct OrgRecord {
    pub id: Uuid,
    pub name: String,
}

/// The organization with this name; names are unique by seeding only, so the oldest counts.
pub async fn find_by_name(db: &impl Executor, name: &str) -> Result<Option<OrgRecord>, StoreError> {
    let row =
        query_opt(db, "SELECT id, name FROM orgs WHERE name = $1 ORDER BY id LIMIT 1", &[&name]).await?;
    row.map(|row| Ok(OrgRecord { id: row.try_get(0)?, name: row.try_get(1)? })).transpose()
}

pub async fn insert(db: &impl Executor, org: &OrgRecord, now: OffsetDateTime) -> Result<(), StoreError> {
    let sql = "INSERT INTO orgs (id, name, created_at) VALUES ($1, $2, $3)";
    execute(db, sql, &[&org.id, &org.name, &now]).await.map(drop)
}

/// Lets nobody else look for a name and insert it, until the transaction ends.
pub async fn lock_names(db: &impl Executor) -> Result<(), StoreError> {
    execute(db, "SELECT pg_advisory_xact_lock($1)", &[&NAMES_LOCK]).await.map(drop)
}
