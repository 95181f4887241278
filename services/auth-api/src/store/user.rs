//! Users.

use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query_opt};

/// A row of `users`.
#[derive(Clone)]
pub struct UserRecord {
    pub id: Uuid,
    pub email: String,
    pub username: String,
    pub password_hash: Option<String>,
    pub is_disabled: bool,
}

const COLUMNS: &str = "id, email, username, password_hash, disabled_at IS NOT NULL";

pub async fn find(db: &impl Executor, id: Uuid) -> Result<Option<UserRecord>, StoreError> {
    let row = query_opt(db, &format!("SELECT {COLUMNS} FROM users WHERE id = $1"), &[&id]).await?;
    row.as_ref().map(from_row).transpose()
}

/// Looks a user up by the lower-case address.
pub async fn find_by_email(db: &impl Executor, email: &str) -> Result<Option<UserRecord>, StoreError> {
    let row = query_opt(db, &format!("SELECT {COLUMNS} FROM users WHERE email = $1"), &[&email]).await?;
    row.as_ref().map(from_row).transpose()
}

/// The user's row, kept from being disabled until the transaction ends: whoever disables waits for tokens in the making.
pub async fn find_shared(db: &impl Executor, id: Uuid) -> Result<Option<UserRecord>, StoreError> {
    let row = query_opt(db, &format!("SELECT {COLUMNS} FROM users WHERE id = $1 FOR SHARE"), &[&id]).await?;
    row.as_ref().map(from_row).transpose()
}

pub async fn insert(db: &impl Executor, user: &UserRecord, now: OffsetDateTime) -> Result<(), StoreError> {
    let sql = "INSERT INTO users (id, email, username, password_hash, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)";
    execute(db, sql, &[&user.id, &user.email, &user.username, &user.password_hash, &now]).await.map(drop)
}

/// Replaces the hash, unless it was changed meanwhile.
pub async fn update_password_hash(
    db: &impl Executor,
    id: Uuid,
    old: &str,
    new: &str,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let sql = "UPDATE users SET password_hash = $3, updated_at = $4 WHERE id = $1 AND password_hash = $2";
    execute(db, sql, &[&id, &old, &new, &now]).await.map(drop)
}

/// Disables a user; false where it is disabled already.
pub async fn update_disabled(db: &impl Executor, id: Uuid, now: OffsetDateTime) -> Result<bool, StoreError> {
    let sql = "UPDATE users SET disabled_at = $2, updated_at = $2 WHERE id = $1 AND disabled_at IS NULL";
    Ok(execute(db, sql, &[&id, &now]).await? > 0)
}

fn from_row(row: &Row) -> Result<UserRecord, StoreError> {
    Ok(UserRecord {
        id: row.try_get(0)?,
        email: row.try_get(1)?,
        username: row.try_get(2)?,
        password_hash: row.try_get(3)?,
        is_disabled: row.try_get(4)?,
    })
}
