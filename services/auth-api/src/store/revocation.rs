//! The feed of revocations.

use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query, query_one};

/// A row of `revocations`.
#[derive(Clone, Debug)]
pub struct RevocationRecord {
    pub cursor: i64,
    pub at: OffsetDateTime,
    pub kind: String,
    pub value: String,
    pub org_id: Option<Uuid>,
    pub issued_before: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

/// What is known of a token that may be revoked.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    pub jti: &'a str,
    pub subject: &'a str,
    pub client_id: &'a str,
    pub family: Option<&'a str>,
    pub org_id: Option<Uuid>,
    pub kid: &'a str,
    pub issued_at: OffsetDateTime,
}

/// Appends an entry. Only under [`super::feed::lock`].
pub async fn insert(
    db: &impl Executor,
    entry: &RevocationRecord,
    owner: Option<&str>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO revocations (cursor, at, kind, value, org_id, issued_before, expires_at, owner) \
               VALUES (nextval('feed_cursors'), $1, $2, $3, $4, $5, $6, $7)";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
        &entry.at,
        &entry.kind,
        &entry.value,
        &entry.org_id,
        &entry.issued_before,
        &entry.expires_at,
        &owner,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Entries in force after a cursor, in order.
pub async fn list(
    db: &impl Executor,
    after: i64,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<RevocationRecord>, StoreError> {
    let sql = "SELECT cursor, at, kind, value, org_id, issued_before, expires_at FROM revocations \
               WHERE cursor > $1 AND expires_at > $2 ORDER BY cursor LIMIT $3";
    query(db, sql, &[&after, &now, &limit]).await?.iter().map(from_row).collect()
}

/// Tokens of this subject (a user in an organization, or a client) issued earlier than this are revoked.
pub async fn find_issued_before(
    db: &impl Executor,
    subject: &str,
    org_id: Option<Uuid>,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let sql = "SELECT max(issued_before) FROM revocations WHERE kind IN ('subject', 'client') AND value = $1 \
               AND (org_id IS NULL OR org_id = $2)";
    Ok(query_one(db, sql, &[&subject, &org_id]).await?.try_get(0)?)
}

/// Whether an entry in force is about this token.
pub async fn is_revoked(
    db: &impl Executor,
    token: TokenFacts<'_>,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM revocations WHERE expires_at > $1 AND ( \
               (kind = 'jti' AND value = $2) OR (kind = 'key' AND value = $3) \
               OR (kind = 'family' AND value = $4) \
               OR (kind = 'client' AND value = $5 AND issued_before > $6) \
               OR (kind = 'subject' AND value = $7 AND issued_before > $6 AND (org_id IS NULL OR org_id = $8))))";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
        &now,
        &token.jti,
        &token.kid,
        &token.family,
        &token.client_id,
        &token.issued_at,
        &token.subject,
        &token.org_id,
    ];
    Ok(query_one(db, sql, &parameters).await?.try_get(0)?)
}

/// How many entries in force there are, of one owner and of all.
pub async fn count(db: &impl Executor, owner: &str, now: OffsetDateTime) -> Result<(i64, i64), StoreError> {
    let sql = "SELECT count(*) FILTER (WHERE owner = $1), count(*) FROM revocations WHERE expires_at > $2";
    let row = query_one(db, sql, &[&owner, &now]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Deletes the single entries of an owner, which one entry about the owner replaces.
pub async fn delete_of_owner(db: &impl Executor, owner: &str) -> Result<u64, StoreError> {
    execute(db, "DELETE FROM revocations WHERE owner = $1", &[&owner]).await
}

fn from_row(row: &Row) -> Result<RevocationRecord, StoreError> {
    Ok(RevocationRecord {
        cursor: row.try_get(0)?,
        at: row.try_get(1)?,
        kind: row.try_get(2)?,
        value: row.try_get(3)?,
        org_id: row.try_get(4)?,
        issued_before: row.try_get(5)?,
        expires_at: row.try_get(6)?,
    })
}
