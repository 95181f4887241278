//! What opens pages, found by the digest of what the browser shows.

use time::OffsetDateTime;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Executor, StoreError, execute, query_opt};

/// A row of `tickets`; the organization in it is its holder's.
#[derive(Clone, Debug)]
pub struct TicketRecord {
    pub kind: &'static str,
    pub org_id: Uuid,
    pub user_id: Uuid,
    pub user_name: Option<String>,
    pub app_id: Option<Uuid>,
    pub origin: serde_json::Value,
    pub can_manage: bool,
    pub platform: Option<String>,
    pub installation_id: Option<Uuid>,
    pub return_to: Option<String>,
    pub chat_session_id: Option<String>,
    pub correlation_id: Option<String>,
    pub details: serde_json::Value,
}

const COLUMNS: &str = "org_id, user_id, user_name, app_id, origin, can_manage, platform, installation_id, return_to, \
                       chat_session_id, correlation_id, details";

/// Adds a ticket unless its holder has `most` of them; its end, by the database's clock.
pub async fn insert(
    db: &impl Executor,
    digest: &str,
    ticket: &TicketRecord,
    life_seconds: f64,
    most: i64,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let sql = format!(
        "INSERT INTO tickets (digest, kind, {COLUMNS}, expires_at) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, now() + make_interval(secs => $15) \
         WHERE (SELECT count(*) FROM tickets WHERE user_id = $4 AND expires_at > now()) < $16 RETURNING expires_at"
    );
    let parameters: [&(dyn ToSql + Sync); 16] = [
        &digest,
        &ticket.kind,
        &ticket.org_id,
        &ticket.user_id,
        &ticket.user_name,
        &ticket.app_id,
        &ticket.origin,
        &ticket.can_manage,
        &ticket.platform,
        &ticket.installation_id,
        &ticket.return_to,
        &ticket.chat_session_id,
        &ticket.correlation_id,
        &ticket.details,
        &life_seconds,
        &most,
    ];
    query_opt(db, &sql, &parameters).await?.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// A ticket that has not ended.
pub async fn find(
    db: &impl Executor,
    digest: &str,
    kind: &'static str,
) -> Result<Option<TicketRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tickets WHERE digest = $1 AND kind = $2 AND expires_at > clock_timestamp()"
    );
    query_opt(db, &sql, &[&digest, &kind]).await?.map(|row| from_row(&row, kind)).transpose()
}

/// The same, used up by it.
pub async fn take(
    db: &impl Executor,
    digest: &str,
    kind: &'static str,
) -> Result<Option<TicketRecord>, StoreError> {
    let sql = format!(
        "DELETE FROM tickets WHERE digest = $1 AND kind = $2 AND expires_at > clock_timestamp() RETURNING {COLUMNS}"
    );
    query_opt(db, &sql, &[&digest, &kind]).await?.map(|row| from_row(&row, kind)).transpose()
}

/// Ends a ticket.
pub async fn delete(db: &impl Executor, digest: &str, kind: &'static str) -> Result<(), StoreError> {
    execute(db, "DELETE FROM tickets WHERE digest = $1 AND kind = $2", &[&digest, &kind]).await.map(drop)
}

/// Deletes what ended; the number of rows.
pub async fn delete_ended(db: &impl Executor, most: i64) -> Result<u64, StoreError> {
    let sql =
        "DELETE FROM tickets WHERE digest IN (SELECT digest FROM tickets WHERE expires_at < now() LIMIT $1)";
    execute(db, sql, &[&most]).await
}

fn from_row(row: &Row, kind: &'static str) -> Result<TicketRecord, StoreError> {
    Ok(TicketRecord {
        kind,
        org_id: row.try_get("org_id")?,
        user_id: row.try_get("user_id")?,
        user_name: row.try_get("user_name")?,
        app_id: row.try_get("app_id")?,
        origin: row.try_get("origin")?,
        can_manage: row.try_get("can_manage")?,
        platform: row.try_get("platform")?,
        installation_id: row.try_get("installation_id")?,
        return_to: row.try_get("return_to")?,
        chat_session_id: row.try_get("chat_session_id")?,
        correlation_id: row.try_get("correlation_id")?,
        details: row.try_get("details")?,
    })
}
