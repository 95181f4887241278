//! Deletes what ended: states, tickets, remembered deliveries, notices.

use std::{sync::Arc, time::Duration};

use crate::domain::{Integrations, retention};

/// Half to one and a half times this.
const PERIOD: Duration = Duration::from_mins(1);

/// Runs until it is dropped.
pub async fn run(integrations: Arc<Integrations>) {
    loop {
        tokio::time::sleep(PERIOD.mul_f64(0.5 + rand::random::<f64>())).await;
        match retention::purge(&integrations).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "purged"),
            Err(error) => tracing::warn!(%error, "purging failed"),
        }
    }
}
