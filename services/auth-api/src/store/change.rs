//! The feed of changes to groups and members.

use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query};

/// A row of `changes`.
#[derive(Clone, Debug)]
pub struct ChangeRecord {
    pub cursor: i64,
    pub at: OffsetDateTime,
    pub kind: String,
    pub org_id: Uuid,
    pub group_id: Option<Uuid>,
    pub user_id: Option<Uuid>,
    pub role: Option<String>,
}

/// Appends an entry. Only under [`super::feed::lock`].
pub async fn insert(db: &impl Executor, change: &ChangeRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO changes (cursor, at, type, org_id, group_id, user_id, role) \
               VALUES (nextval('feed_cursors'), $1, $2, $3, $4, $5, $6)";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&change.at, &change.kind, &change.org_id, &change.group_id, &change.user_id, &change.role];
    execute(db, sql, &parameters).await.map(drop)
}

/// Changes after a cursor, in order; of these organizations only, if they are given.
pub async fn list(
    db: &impl Executor,
    after: i64,
    limit: i64,
    orgs: Option<&[Uuid]>,
) -> Result<Vec<ChangeRecord>, StoreError> {
    let sql = "SELECT cursor, at, type, org_id, group_id, user_id, role FROM changes \
               WHERE cursor > $1 AND ($3::uuid[] IS NULL OR org_id = ANY($3)) ORDER BY cursor LIMIT $2";
    query(db, sql, &[&after, &limit, &orgs]).await?.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<ChangeRecord, StoreError> {
    Ok(ChangeRecord {
        cursor: row.try_get(0)?,
        at: row.try_get(1)?,
        kind: row.try_get(2)?,
        org_id: row.try_get(3)?,
        group_id: row.try_get(4)?,
        user_id: row.try_get(5)?,
        role: row.try_get(6)?,
    })
}
