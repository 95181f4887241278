//! Deliveries of webhooks that were taken.

use super::{Executor, StoreError, execute};

/// Remembers a delivery; whether it is the first time.
pub async fn insert(db: &impl Executor, platform: &str, delivery_id: &str) -> Result<bool, StoreError> {
    let sql = "INSERT INTO webhook_deliveries (platform, delivery_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(execute(db, sql, &[&platform, &delivery_id]).await? == 1)
}

/// Forgets what no provider delivers again; the number of rows.
pub async fn delete_old(db: &impl Executor, older_than_days: f64, most: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM webhook_deliveries WHERE (platform, delivery_id) IN ( \
                 SELECT platform, delivery_id FROM webhook_deliveries \
                 WHERE received_at < now() - make_interval(secs => $1::float8 * 86400) LIMIT $2)";
    execute(db, sql, &[&older_than_days, &most]).await
}
