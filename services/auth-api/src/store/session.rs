//! Browser sessions: the cookie's digest, and the family that it belongs to.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query_opt};

/// A session in force, with what it says about its user now.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    pub family_id: Uuid,
    pub user_id: Uuid,
    pub org_id: Uuid,
    pub app_id: Option<Uuid>,
    pub client_id: String,
    pub auth_time: OffsetDateTime,
    pub username: String,
    pub email: String,
    pub role: String,
}

/// The session with this digest, if it, its family, its user and the membership are all in force.
pub async fn find(
    db: &impl Executor,
    digest: &[u8],
    now: OffsetDateTime,
) -> Result<Option<SessionRecord>, StoreError> {
    let sql = "SELECT f.id, f.user_id, f.org_id, f.app_id, f.client_id, f.auth_time, u.username, u.email, m.role \
               FROM sessions s JOIN families f ON f.id = s.family_id JOIN users u ON u.id = f.user_id \
               JOIN org_members m ON m.org_id = f.org_id AND m.user_id = f.user_id \
               WHERE s.digest = $1 AND s.expires_at > $2 AND f.revoked_at IS NULL AND f.expires_at > $2 \
               AND u.disabled_at IS NULL";
    let row = query_opt(db, sql, &[&digest, &now]).await?;
    row.map(|row| {
        Ok(SessionRecord {
            family_id: row.try_get(0)?,
            user_id: row.try_get(1)?,
            org_id: row.try_get(2)?,
            app_id: row.try_get(3)?,
            client_id: row.try_get(4)?,
            auth_time: row.try_get(5)?,
            username: row.try_get(6)?,
            email: row.try_get(7)?,
            role: row.try_get(8)?,
        })
    })
    .transpose()
}

pub async fn insert(
    db: &impl Executor,
    digest: &[u8],
    family_id: Uuid,
    now: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO sessions (digest, family_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    execute(db, sql, &[&digest, &family_id, &now, &expires_at]).await.map(drop)
}

/// Deletes up to `limit` sessions that ended.
pub async fn delete_ended(db: &impl Executor, now: OffsetDateTime, limit: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
    execute(db, sql, &[&now, &limit]).await
}
