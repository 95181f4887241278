//! Consents that are under way, found by the digest of the state that the provider carries.

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Executor, StoreError, execute, query_opt};

/// A row of `oauth_states`; the organization in it is the one that began.
#[derive(Clone, Debug)]
pub struct StateRecord {
    pub platform: String,
    pub org_id: Uuid,
    pub user_id: Uuid,
    pub user_name: Option<String>,
    pub app_id: Option<Uuid>,
    pub origin: serde_json::Value,
    pub browser_digest: String,
    pub code_verifier: Option<String>,
    pub redirect_uri: String,
    pub return_to: Option<String>,
    pub scopes: Vec<String>,
    pub step: String,
    pub claimed_install_id: Option<String>,
    pub is_request: bool,
    pub installation_id: Option<Uuid>,
    pub chat_session_id: Option<String>,
    pub correlation_id: Option<String>,
}

const COLUMNS: &str = "platform, org_id, user_id, user_name, app_id, origin, browser_digest, code_verifier, redirect_uri, return_to, \
                       scopes, step, claimed_install_id, is_request, installation_id, chat_session_id, correlation_id";

/// Adds a state unless its organization has `most` of them under way; whether it did.
pub async fn insert(
    db: &impl Executor,
    digest: &str,
    state: &StateRecord,
    life_seconds: f64,
    most: i64,
) -> Result<bool, StoreError> {
    let sql = format!(
        "INSERT INTO oauth_states (state, {COLUMNS}, expires_at) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, now() + make_interval(secs => $19) \
         WHERE (SELECT count(*) FROM oauth_states WHERE org_id = $3 AND expires_at > now()) < $20"
    );
    let parameters: [&(dyn ToSql + Sync); 20] = [
        &digest,
        &state.platform,
        &state.org_id,
        &state.user_id,
        &state.user_name,
        &state.app_id,
        &state.origin,
        &state.browser_digest,
        &state.code_verifier,
        &state.redirect_uri,
        &state.return_to,
        &state.scopes,
        &state.step,
        &state.claimed_install_id,
        &state.is_request,
        &state.installation_id,
        &state.chat_session_id,
        &state.correlation_id,
        &life_seconds,
        &most,
    ];
    Ok(execute(db, &sql, &parameters).await? == 1)
}

/// Takes a state away, whoever shows it: of several callbacks with one state only one gets it. None where it has ended.
pub async fn take(db: &impl Executor, digest: &str) -> Result<Option<StateRecord>, StoreError> {
    let sql = format!(
        "DELETE FROM oauth_states WHERE state = $1 RETURNING {COLUMNS}, expires_at > clock_timestamp() AS is_live"
    );
    let Some(row) = query_opt(db, &sql, &[&digest]).await? else { return Ok(None) };
    if row.try_get("is_live")? { from_row(&row).map(Some) } else { Ok(None) }
}

/// Deletes what ended; the number of rows.
pub async fn delete_ended(db: &impl Executor, most: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM oauth_states WHERE state IN (SELECT state FROM oauth_states WHERE expires_at < now() LIMIT $1)";
    execute(db, sql, &[&most]).await
}

fn from_row(row: &Row) -> Result<StateRecord, StoreError> {
    Ok(StateRecord {
        platform: row.try_get("platform")?,
        org_id: row.try_get("org_id")?,
        user_id: row.try_get("user_id")?,
        user_name: row.try_get("user_name")?,
        app_id: row.try_get("app_id")?,
        origin: row.try_get("origin")?,
        browser_digest: row.try_get("browser_digest")?,
        code_verifier: row.try_get("code_verifier")?,
        redirect_uri: row.try_get("redirect_uri")?,
        return_to: row.try_get("return_to")?,
        scopes: row.try_get("scopes")?,
        step: row.try_get("step")?,
        claimed_install_id: row.try_get("claimed_install_id")?,
        is_request: row.try_get("is_request")?,
        installation_id: row.try_get("installation_id")?,
        chat_session_id: row.try_get("chat_session_id")?,
        correlation_id: row.try_get("correlation_id")?,
    })
}
