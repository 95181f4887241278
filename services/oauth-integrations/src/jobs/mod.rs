//! What runs in the background. Each job may be stopped at any moment and started anew.

pub mod deliver_notices;
pub mod purge_ended;
pub mod reconcile_installations;
pub mod refresh_ahead;
pub mod watch_database;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use crate::{domain::Integrations, routes::health::Health};

const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

/// The jobs of a running service.
#[derive(Default)]
pub struct Jobs {
    running: JoinSet<()>,
}

impl Jobs {
    /// Starts all of them.
    pub fn start(integrations: &Arc<Integrations>, health: &Arc<Health>) -> Self {
        let mut jobs = Self::default();
        let database = (Arc::clone(integrations), Arc::clone(health));
        jobs.spawn(&database, |(integrations, health)| watch_database::run(integrations, health));
        jobs.spawn(integrations, refresh_ahead::run);
        jobs.spawn(integrations, purge_ended::run);
        jobs.spawn(integrations, reconcile_installations::run);
        jobs.spawn(integrations, deliver_notices::run);
        jobs
    }

    /// A job that panics starts over: one that silently stands still would be worse.
    fn spawn<S, F>(&mut self, state: &S, job: impl Fn(S) -> F + Send + 'static)
    where
        S: Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let state = state.clone();
        self.running.spawn(async move {
            while AssertUnwindSafe(job(state.clone())).catch_unwind().await.is_err() {
                tracing::error!("a background job panicked and starts over");
                tokio::time::sleep(PAUSE_AFTER_PANIC).await;
            }
        });
    }

    /// Stops all of them and waits until they are gone.
    pub async fn stop(mut self) {
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_starts_over() {
        let starts = Arc::new(AtomicUsize::new(0));
        let mut jobs = Jobs::default();

        jobs.spawn(&starts, async |starts| {
            assert!(starts.fetch_add(1, Ordering::Relaxed) > 0, "it fails once");
        });

        assert!(jobs.running.join_next().await.unwrap().is_ok());
        assert_eq!(starts.load(Ordering::Relaxed), 2);
    }
}
