//! The record of who connected and disconnected what. Rows are only ever added.

use common_auth::Tenant;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{Executor, StoreError, execute};

/// A row of `audit`.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    pub event: &'static str,
    pub outcome: &'static str,
    pub actor: Option<String>,
    pub client_id: Option<String>,
    pub platform: &'static str,
    pub installation_id: Option<Uuid>,
    pub reason: Option<String>,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

pub async fn insert(db: &impl Executor, tenant: &Tenant, event: &AuditRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO audit (id, event, outcome, org_id, actor, client_id, platform, installation_id, reason, ip, user_agent, request_id) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let parameters: [&(dyn ToSql + Sync); 12] = [
        &Uuid::now_v7(),
        &event.event,
        &event.outcome,
        &tenant.org_id(),
        &event.actor,
        &event.client_id,
        &event.platform,
        &event.installation_id,
        &event.reason,
        &event.ip,
        &event.user_agent,
        &event.request_id,
    ];
    execute(db, sql, &parameters).await.map(drop)
}
