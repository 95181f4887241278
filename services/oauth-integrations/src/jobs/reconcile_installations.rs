//! Asks providers, at a slow pace, how the connections are: webhooks get lost, and Atlassian has none.

use std::{sync::Arc, time::Duration};

use crate::domain::{Integrations, credential};

/// Half to one and a half times this.
const PERIOD: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
pub async fn run(integrations: Arc<Integrations>) {
    loop {
        tokio::time::sleep(PERIOD.mul_f64(0.5 + rand::random::<f64>())).await;
        match credential::reconcile(&integrations).await {
            Ok(0) => {}
            Ok(asked) => tracing::debug!(asked, "providers were asked about connections"),
            Err(error) => tracing::warn!(%error, "reconciling failed"),
        }
    }
}
