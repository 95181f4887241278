//! What runs in the background. Each job may be stopped at any moment and started anew.

pub mod deliver_notices;
pub mod purge_ended;
pub mod reconcile_installations;
pub mod refresh_ahead;
pub mod watch_database;

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{domain::Integrations, routes::health::Health};

/// The jobs of a running service.
pub struct Jobs {
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Jobs {
    /// Starts all of them.
    pub fn start(integrations: &Arc<Integrations>, health: &Arc<Health>) -> Self {
        let mut jobs = Self { stop: CancellationToken::new(), running: JoinSet::new() };
        jobs.spawn(watch_database::run(Arc::clone(integrations), Arc::clone(health)));
        jobs.spawn(refresh_ahead::run(Arc::clone(integrations)));
        jobs.spawn(purge_ended::run(Arc::clone(integrations)));
        jobs.spawn(reconcile_installations::run(Arc::clone(integrations)));
        jobs.spawn(deliver_notices::run(Arc::clone(integrations)));
        jobs
    }

    fn spawn(&mut self, job: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.running.spawn(async move { stop.run_until_cancelled(job).await.unwrap_or_default() });
    }

    /// Stops all of them and waits until they are gone.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.running.join_next().await.is_some() {}
    }
}
