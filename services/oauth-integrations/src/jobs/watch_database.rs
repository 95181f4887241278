//! Migrates, then looks each second whether the database answers.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{domain::Integrations, routes::health::Health};

const PERIOD: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(integrations: Arc<Integrations>, health: Arc<Health>) {
    let mut second = tokio::time::interval(PERIOD);
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        match integrations.db.migrate().await {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "the database is not there yet"),
        }
    }
    loop {
        match integrations.db.ping().await {
            Ok(()) => health.database_answered(),
            Err(error) => tracing::warn!(%error, "the database does not answer"),
        }
        second.tick().await;
    }
}
