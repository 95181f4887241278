//! Tells the runtime which consents are over, again and again until it has heard.

use std::{sync::Arc, time::Duration};

use crate::domain::{Integrations, notice};

/// Somebody looks at a chat and waits for it.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(integrations: Arc<Integrations>) {
    loop {
        tokio::time::sleep(PERIOD.mul_f64(0.5 + rand::random::<f64>())).await;
        if let Err(error) = notice::deliver_due(&integrations).await {
            tracing::warn!(%error, "notices could not be delivered");
        }
    }
}
