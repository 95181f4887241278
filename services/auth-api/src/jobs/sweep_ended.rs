//! Deletes what ended, in small batches: sessions, families, failures, entries of the feeds, old audit events, replicas.

use std::{sync::Arc, time::Duration};

use crate::domain::{Identity, retention};

const PERIOD: Duration = Duration::from_mins(1);

/// Runs until it is dropped.
pub async fn run(identity: Arc<Identity>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        match retention::sweep(&identity).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "swept"),
            Err(error) => tracing::warn!(%error, "sweeping failed"),
        }
    }
}
