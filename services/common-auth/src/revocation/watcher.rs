//! Follows the revocation feed and keeps the deny-list.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{DenyList, PAGE_LIMIT, RevocationKind, RevocationPage, RevocationSource};
use crate::{
    keys::{JwksManager, SourceError},
    metrics::AuthMetrics,
    verifier::{VerifiedToken, unix_now},
};

/// How long one poll waits for news. The longer, the fewer polls; the age metric rises up to it.
const WAIT_SECONDS: u64 = 10;
/// A feed that does not answer within its wait and this is down.
const ANSWER_MARGIN: Duration = Duration::from_secs(3);
/// A service does not stay unready for ever because auth-api is down.
const READY_AFTER: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short, so that a revocation made during an outage bites soon after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The deny-list, and how fresh it is.
pub struct RevocationWatcher {
    source: Box<dyn RevocationSource>,
    list: RwLock<DenyList>,
    /// Spares the usual request the lock: mostly nothing is revoked.
    any: AtomicBool,
    loaded: AtomicBool,
    started: Instant,
    metrics: Arc<AuthMetrics>,
}

impl RevocationWatcher {
    /// A watcher that knows nothing yet; [`RevocationWatcher::run`] loads the list.
    pub fn new(source: impl RevocationSource, metrics: Arc<AuthMetrics>) -> Self {
        Self {
            source: Box::new(source),
            list: RwLock::default(),
            any: AtomicBool::new(false),
            loaded: AtomicBool::new(false),
            started: Instant::now(),
            metrics,
        }
    }

    /// Whether the whole list was loaded once, or has been tried for five seconds.
    pub fn is_ready(&self) -> bool {
        self.loaded.load(Ordering::Acquire) || self.started.elapsed() >= READY_AFTER
    }

    /// Whether a token is on the list.
    pub fn is_revoked(&self, token: &VerifiedToken) -> bool {
        self.any.load(Ordering::Acquire)
            && self.list.read().unwrap_or_else(PoisonError::into_inner).contains(token)
    }

    /// Follows the feed until the task is dropped. A notice that keys changed makes `keys` fetch them.
    pub async fn run(self: Arc<Self>, keys: Arc<JwksManager>) {
        let mut cursor = None;
        let mut pause = FIRST_PAUSE;
        let mut answered = Instant::now();
        loop {
            match self.follow(&mut cursor, &keys, answered).await {
                Ok(()) => {
                    answered = Instant::now();
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(SourceError::CursorTooOld) => cursor = None,
                Err(error) => tracing::warn!(%error, "revocation feed failed"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.metrics.revocation_feed_age.set(answered.elapsed().as_secs_f64());
        }
    }

    /// One step: the whole list where there is no cursor, else the next page.
    async fn follow(
        &self,
        cursor: &mut Option<String>,
        keys: &JwksManager,
        answered: Instant,
    ) -> Result<(), SourceError> {
        let Some(after) = cursor.take() else {
            *cursor = Some(self.load_all(keys, answered).await?);
            return Ok(());
        };
        // The cursor goes back whatever happens, but for one that is too old: a failed poll is repeated.
        let page = self.page(Some(after.clone()), WAIT_SECONDS, answered).await;
        if !matches!(page, Err(SourceError::CursorTooOld)) {
            *cursor = Some(after);
        }
        let page = page?;
        notice_key_changes(&page, keys);
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        page.items.iter().for_each(|entry| list.insert(entry));
        self.tidy(&mut list);
        *cursor = Some(page.next);
        Ok(())
    }

    /// Loads every entry in force and puts the list in place of the old one; returns where the feed goes on.
    async fn load_all(&self, keys: &JwksManager, answered: Instant) -> Result<String, SourceError> {
        let mut fresh = DenyList::default();
        let mut after = None;
        loop {
            let page = self.page(after, 0, answered).await?;
            notice_key_changes(&page, keys);
            page.items.iter().for_each(|entry| fresh.insert(entry));
            if page.items.len() < PAGE_LIMIT {
                let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
                self.tidy(&mut fresh);
                *list = fresh;
                self.loaded.store(true, Ordering::Release);
                return Ok(page.next);
            }
            after = Some(page.next);
        }
    }

    /// A page of the feed; meanwhile the age metric goes on.
    async fn page(
        &self,
        after: Option<String>,
        wait_seconds: u64,
        answered: Instant,
    ) -> Result<RevocationPage, SourceError> {
        let limit = Duration::from_secs(wait_seconds) + ANSWER_MARGIN;
        let mut page = std::pin::pin!(tokio::time::timeout(limit, self.source.page(after, wait_seconds)));
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                page = &mut page => {
                    return page.map_err(|_| SourceError::Unavailable("no answer in time".to_owned()))?;
                }
                _ = second.tick() => self.metrics.revocation_feed_age.set(answered.elapsed().as_secs_f64()),
            }
        }
    }

    fn tidy(&self, list: &mut DenyList) {
        list.drop_expired(unix_now());
        self.any.store(!list.is_empty(), Ordering::Release);
        self.metrics.revocations.set(i64::try_from(list.len()).unwrap_or(i64::MAX));
        self.metrics.revocation_feed_age.set(0.0);
    }
}

fn notice_key_changes(page: &RevocationPage, keys: &JwksManager) {
    let changed = |entry: &super::RevocationEntry| {
        matches!(entry.kind, RevocationKind::KeysChanged | RevocationKind::Key)
    };
    if page.items.iter().any(changed) {
        keys.fetch_soon();
    }
}
