//! Renews tokens before anybody has to wait for it, and says which grants end soon.

use std::{sync::Arc, time::Duration};

use crate::domain::{Integrations, credential};

/// Half to one and a half times this, so that replicas and restarts do not beat in time.
const PERIOD: Duration = Duration::from_mins(1);

/// Runs until it is dropped.
pub async fn run(integrations: Arc<Integrations>) {
    loop {
        tokio::time::sleep(PERIOD.mul_f64(0.5 + rand::random::<f64>())).await;
        match credential::renew_due(&integrations).await {
            Ok(0) => {}
            Ok(renewed) => tracing::info!(renewed, "tokens were renewed ahead"),
            Err(error) => tracing::warn!(%error, "renewing ahead failed"),
        }
    }
}
