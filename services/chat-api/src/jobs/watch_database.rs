//! Prepares the database as soon as it is there, mends what a crash left, and keeps an eye on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    domain::group::Heads,
    store::{Store, StoreError},
};

/// Time between two signs of life, and between two tries to heal.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between two tries to prepare a database that was away: messages wait for it.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
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
    let is_new = Notify::new();
    let watch = async {
        prepare(&store, &heads, &health).await;
        loop {
            is_new.notify_one();
            watch(&store, &health).await;
            store.doubt();
            prepare(&store, &heads, &health).await;
        }
    };
    let heal = async {
        loop {
            is_new.notified().await;
            heal(&heads).await;
        }
    };
    futures_util::future::join(watch, heal).await;
}

/// Makes the database ready for messages. Until then none is stored, so that what is forgotten here cannot be remembered again from
/// before.
async fn prepare(store: &Store, heads: &Heads, health: &DatabaseHealth) {
    loop {
        heads.forget();
        let outcome = tokio::select! {
            outcome = store.prepare() => outcome,
            // An index of many rows takes its time; a connection that was lost meanwhile would never say that it is made.
            error = silence(store) => Err(error),
        };
        match outcome {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "the database is not ready"),
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    health.note_answer();
    tracing::info!("the database is ready");
}

/// Resolves when the database stops answering.
async fn silence(store: &Store) -> StoreError {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = store.ping().await {
            return error;
        }
    }
}

/// What a crash left behind: heads behind their timelines; or ahead of them, what a restored backup did.
async fn heal(heads: &Heads) {
    loop {
        match heads.heal_all().await {
            Ok(healed) => return tracing::info!(healed, "the heads agree with their timelines"),
            Err(error) => tracing::warn!(%error, "healing heads failed"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Looks for signs of life until the database was away. One that is only slow has kept what it had.
async fn watch(store: &Store, health: &DatabaseHealth) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        match store.ping().await {
            Ok(()) => health.note_answer(),
            Err(error) => {
                tracing::warn!(%error, "the database does not answer");
                if !matches!(error, StoreError::TimedOut) {
                    return;
                }
            }
        }
    }
}
