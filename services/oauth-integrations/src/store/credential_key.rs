//! Which key each credential is encrypted with. The one place that reads the credentials of all organizations: keys are the platform's.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{Executor, StoreError, execute, query};

/// The ciphertexts of a row of `installation_credentials`.
pub struct SealedRecord {
    pub installation_id: Uuid,
    pub kind: String,
    pub org_id: Uuid,
    pub access_token_encrypted: Option<String>,
    pub refresh_token_encrypted: Option<String>,
}

/// The rows after one that are under another key than this.
pub async fn list_under_others(
    db: &impl Executor,
    key_id: &str,
    after: Option<&(Uuid, String)>,
    most: i64,
) -> Result<Vec<SealedRecord>, StoreError> {
    let sql = "SELECT installation_id, kind, org_id, access_token_encrypted, refresh_token_encrypted \
               FROM installation_credentials WHERE key_id <> $1 AND (installation_id, kind) > ($2, $3) \
               ORDER BY installation_id, kind LIMIT $4";
    let (id, kind) = after.map_or((Uuid::nil(), ""), |(id, kind)| (*id, kind.as_str()));
    let rows = query(db, sql, &[&key_id, &id, &kind, &most]).await?;
    let from_row = |row: &tokio_postgres::Row| {
        Ok(SealedRecord {
            installation_id: row.try_get(0)?,
            kind: row.try_get(1)?,
            org_id: row.try_get(2)?,
            access_token_encrypted: row.try_get(3)?,
            refresh_token_encrypted: row.try_get(4)?,
        })
    };
    rows.iter().map(from_row).collect()
}

/// Puts the same tokens under another key, unless somebody wrote others in the meantime; whether it did.
pub async fn replace(
    db: &impl Executor,
    row: &SealedRecord,
    key_id: &str,
    (access, refresh): &(Option<String>, Option<String>),
) -> Result<bool, StoreError> {
    let sql = "UPDATE installation_credentials SET key_id = $3, access_token_encrypted = $4, refresh_token_encrypted = $5 \
               WHERE installation_id = $1 AND kind = $2 AND access_token_encrypted IS NOT DISTINCT FROM $6 \
               AND refresh_token_encrypted IS NOT DISTINCT FROM $7";
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &row.installation_id,
        &row.kind,
        &key_id,
        access,
        refresh,
        &row.access_token_encrypted,
        &row.refresh_token_encrypted,
    ];
    Ok(execute(db, sql, &parameters).await? == 1)
}
