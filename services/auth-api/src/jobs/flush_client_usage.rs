//! Writes down, once a minute for all of them, which clients were used.

use std::{sync::Arc, time::Duration};

use crate::domain::Identity;

const PERIOD: Duration = Duration::from_mins(1);

/// Runs until it is dropped.
pub async fn run(identity: Arc<Identity>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        flush(&identity).await;
    }
}

/// Writes down what is not yet.
pub async fn flush(identity: &Identity) {
    if let Err(error) = identity.clients.flush_last_used(&identity.db).await {
        tracing::warn!(%error, "the use of clients was not written down");
    }
}
