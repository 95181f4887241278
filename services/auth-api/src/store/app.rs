//! Apps of organizations.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query_opt};

/// The app to log in to: the one asked for if it is the organization's, else the organization's first.
pub async fn find(
    db: &impl Executor,
    org_id: Uuid,
    app_id: Option<Uuid>,
) -> Result<Option<Uuid>, StoreError> {
    let sql = "SELECT id FROM apps WHERE org_id = $1 AND ($2::uuid IS NULL OR id = $2) ORDER BY id LIMIT 1";
    let row = query_opt(db, sql, &[&org_id, &app_id]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

pub async fn insert(
    db: &impl Executor,
    id: Uuid,
    org_id: Uuid,
    name: &str,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO apps (id, org_id, name, created_at) VALUES ($1, $2, $3, $4)";
    execute(db, sql, &[&id, &org_id, &name, &now]).await.map(drop)
}
