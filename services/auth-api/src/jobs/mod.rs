//! What runs in the background. Each job may be stopped at any moment and started anew.

pub mod flush_client_usage;
pub mod follow_notifications;
pub mod rotate_keys;
pub mod sweep_ended;

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{domain::Identity, routes::health::Health};

/// The jobs of a running service.
pub struct Jobs {
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Jobs {
    /// Starts all of them.
    pub fn start(identity: &Arc<Identity>, health: &Arc<Health>) -> Self {
        let mut jobs = Self { stop: CancellationToken::new(), running: JoinSet::new() };
        jobs.spawn(rotate_keys::run(Arc::clone(identity), Arc::clone(health)));
        jobs.spawn(follow_notifications::run(Arc::clone(identity)));
        jobs.spawn(flush_client_usage::run(Arc::clone(identity)));
        jobs.spawn(sweep_ended::run(Arc::clone(identity)));
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
