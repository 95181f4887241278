//! How long things are kept after they ended.

use std::time::Duration;

use super::{Identity, login_attempt::KNOWN_LIFE};
use crate::store::{self, StoreError, feed::Feed};

/// A cursor of a feed can be read on from for so long.
const FEED_MEMORY: Duration = Duration::from_hours(24);
/// What was done is remembered for so long: a yearly review finds the whole year, and some weeks to look into it.
const AUDIT_MEMORY: Duration = Duration::from_hours(400 * 24);
/// Rows deleted by one statement, so that none takes long.
const BATCH: i64 = 1000;

/// Deletes what is due; the number of rows.
pub async fn sweep(identity: &Identity) -> Result<u64, StoreError> {
    let mut deleted = 0;
    loop {
        let batch = sweep_batch(identity).await?;
        deleted += batch;
        if batch < BATCH.unsigned_abs() {
            return Ok(deleted);
        }
    }
}

async fn sweep_batch(identity: &Identity) -> Result<u64, StoreError> {
    let connection = identity.db.connection().await?;
    // By the clock that the ends were set by: a replica whose own is wrong deletes nothing before its time.
    let now = store::clock(&connection).await?;
    let mut most = store::session::delete_ended(&connection, now, BATCH).await?;
    most = most.max(store::family::delete_ended(&connection, now, BATCH).await?);
    most = most.max(store::failure::delete_ended(&connection, BATCH).await?);
    most = most.max(store::failure::delete_unseen(&connection, KNOWN_LIFE, BATCH).await?);
    for feed in [Feed::Revocations, Feed::Changes] {
        most = most.max(store::feed::delete_old(&connection, feed, now - FEED_MEMORY, BATCH).await?);
    }
    most = most.max(store::audit::delete_old(&connection, now - AUDIT_MEMORY, BATCH).await?);
    store::replica::delete_gone(&connection).await?;
    Ok(most)
}
