//! Stores how far timelines reach, after the messages themselves.

use std::{sync::Arc, time::Duration};

use crate::domain::group::Heads;

/// The pause after a failure; what was not stored stays noted.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after heads were stored. A busy group's head is stored once for many messages then, where every write of it would
/// take as much of the database as a message does.
const GATHER: Duration = Duration::from_millis(100);

/// Stores heads until the task is dropped. What a crash leaves unsaved is found again from the timelines.
pub async fn run(heads: Arc<Heads>) {
    loop {
        let outcome = heads.save_next().await;
        if let Err(ref error) = outcome {
            tracing::warn!(%error, "storing heads failed");
        }
        tokio::time::sleep(if outcome.is_ok() { GATHER } else { PAUSE }).await;
    }
}
