//! Migrates and adds mounted client secrets, then keeps the signing keys loaded and moving on; each success says that the database is there.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{
    domain::{Identity, StoreError, client_secrets, key_rotation},
    routes::health::Health,
};

const PERIOD: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(identity: Arc<Identity>, health: Arc<Health>) {
    let mut second = tokio::time::interval(PERIOD);
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        match prepare(&identity).await {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "the database is not there yet"),
        }
    }
    loop {
        match key_rotation::tick(&identity).await {
            Ok(()) => health.database_answered(),
            Err(error) => tracing::warn!(%error, "the signing keys could not be looked after"),
        }
        second.tick().await;
    }
}

async fn prepare(identity: &Identity) -> Result<(), StoreError> {
    identity.db.migrate().await?;
    client_secrets::reconcile(identity).await
}
