//! What runs in the background. Each job may be stopped at any moment and started anew.

pub mod follow_changes;
pub mod save_heads;
pub mod watch_database;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use self::watch_database::DatabaseHealth;
use crate::{
    domain::group::{Directory, Heads},
    store::Store,
};

const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

/// The jobs of a running service.
#[derive(Default)]
pub struct Jobs {
    running: JoinSet<()>,
}

impl Jobs {
    /// Starts all of them.
    pub fn start(
        directory: &Arc<Directory>,
        heads: &Arc<Heads>,
        store: &Store,
        health: &Arc<DatabaseHealth>,
    ) -> Self {
        let mut jobs = Self::default();
        jobs.spawn(directory, follow_changes::run);
        jobs.spawn(heads, save_heads::run);
        let database = (store.clone(), Arc::clone(heads), Arc::clone(health));
        jobs.spawn(&database, |(store, heads, health)| watch_database::run(store, heads, health));
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
