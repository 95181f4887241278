//! Prepares the database as soon as it is there, mends what a crash left, and keeps an eye on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{domain::group::Heads, store::Store};

/// Time between two signs of life, and between two tries.
const INTERVAL: Duration = Duration::from_secs(1);
/// A database that was silent for longer counts as down.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// When the database last answered.
pub struct DatabaseHealth {
    started: Instant,
    /// Milliseconds from `started`; 0 for never.
    answered_at: AtomicU64,
}

impl Default for DatabaseHealth {
    fn default() -> Self {
        Self { started: Instant::now(), answered_at: AtomicU64::new(0) }
    }
}

impl DatabaseHealth {
    /// Whether the database is prepared and answered within the last few seconds.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let answered_at = self.answered_at.load(Ordering::Relaxed);
        answered_at > 0 && self.started.elapsed() < Duration::from_millis(answered_at) + SILENCE_LIMIT
    }

    fn note_answer(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered_at.store(elapsed.max(1), Ordering::Relaxed);
    }
}

/// Watches the database until the task is dropped.
pub async fn run(store: Store, heads: Arc<Heads>, health: Arc<DatabaseHealth>) {
    prepare(&store).await;
    health.note_answer();
    futures_util::future::join(heal(&heads), watch(&store, &health)).await;
}

async fn prepare(store: &Store) {
    while let Err(error) = store.prepare().await {
        tracing::warn!(%error, "the database is not ready");
        tokio::time::sleep(INTERVAL).await;
    }
    tracing::info!("the database is ready");
}

/// What a crash left behind: heads behind their timelines.
async fn heal(heads: &Heads) {
    loop {
        match heads.heal_all().await {
            Ok(healed) => return tracing::info!(healed, "the heads agree with their timelines"),
            Err(error) => tracing::warn!(%error, "healing heads failed"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn watch(store: &Store, health: &DatabaseHealth) {
    let mut is_back = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        // One that was away may have come back empty, and without its indexes two rows could have one number.
        let outcome = if is_back { store.prepare().await } else { store.ping().await };
        match outcome {
            Ok(()) => health.note_answer(),
            Err(ref error) => tracing::warn!(%error, "the database does not answer"),
        }
        is_back = outcome.is_err();
    }
}
