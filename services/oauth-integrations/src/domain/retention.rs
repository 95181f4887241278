//! What ended is deleted, a batch at a time.

use time::{Duration, OffsetDateTime};
use uuid::{Builder, Uuid};

use super::Integrations;
use crate::store::{self, StoreError};

/// Rows of one table deleted by one statement.
const BATCH: i64 = 500;
/// No provider delivers a webhook again after so long.
const DELIVERIES_DAYS: f64 = 7.0;
const NOTICES_DAYS: f64 = 7.0;
/// Who was handed which token is asked for a year later, and a month more.
const HAND_OUTS_KEPT: Duration = Duration::days(400);

/// Deletes what ended; how many rows.
pub async fn purge(integrations: &Integrations) -> Result<u64, StoreError> {
    let db = integrations.db.connection().await?;
    let oldest = first_id_of(OffsetDateTime::now_utc() - HAND_OUTS_KEPT);
    let mut deleted = 0;
    // Hand-outs end at the pace at which they were made, so one batch at a time might never catch up.
    loop {
        let round = store::oauth_state::delete_ended(&db, BATCH).await?
            + store::ticket::delete_ended(&db, BATCH).await?
            + store::webhook_delivery::delete_old(&db, DELIVERIES_DAYS, BATCH).await?
            + store::notice::delete_old(&db, NOTICES_DAYS, BATCH).await?
            + store::credential::delete_hand_outs_before(&db, oldest, BATCH).await?;
        deleted += round;
        if round == 0 {
            return Ok(deleted);
        }
    }
}

/// No `UUIDv7` of that moment is smaller.
fn first_id_of(at: OffsetDateTime) -> Uuid {
    let milliseconds = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_later_moments_come_after() {
        let now = OffsetDateTime::now_utc();
        assert!(first_id_of(now - Duration::seconds(1)) < Uuid::now_v7());
        assert!(first_id_of(now + Duration::seconds(10)) > Uuid::now_v7());
    }
}
