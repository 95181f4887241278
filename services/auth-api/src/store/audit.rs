//! The record of what was done by whom. Rows are added, and deleted when they are old; none is ever changed.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Executor, StoreError, execute};

/// A row of `audit`.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    pub id: Uuid,
    pub at: OffsetDateTime,
    pub event: &'static str,
    pub outcome: &'static str,
    pub actor: Option<String>,
    pub client_id: Option<String>,
    pub org_id: Option<Uuid>,
    pub target: Option<String>,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

pub async fn insert(db: &impl Executor, event: &AuditRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO audit (id, at, event, outcome, actor, client_id, org_id, target, ip, user_agent, request_id) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
        &event.id,
        &event.at,
        &event.event,
        &event.outcome,
        &event.actor,
        &event.client_id,
        &event.org_id,
        &event.target,
        &event.ip,
        &event.user_agent,
        &event.request_id,
    ];
    execute(db, sql, &parameters).await.map(drop)
}

/// Deletes up to `limit` events older than `before`.
pub async fn delete_old(db: &impl Executor, before: OffsetDateTime, limit: i64) -> Result<u64, StoreError> {
    let sql =
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
    execute(db, sql, &[&before, &limit]).await
}
