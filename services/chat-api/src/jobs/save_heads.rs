//! Stores how far timelines reach, after the messages themselves.

use std::{sync::Arc, time::Duration};

use crate::domain::group::Heads;

/// The pause after a failure; what was not stored stays noted.
const PAUSE: Duration = Duration::from_secs(1);

/// Stores heads until the task is dropped. What a crash leaves unsaved is found again from the timelines.
pub async fn run(heads: Arc<Heads>) {
    loop {
        if let Err(error) = heads.save_next().await {
            tracing::warn!(%error, "storing heads failed");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
