//! Follows the revocation feed and keeps the deny-list.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{DenyList, LONGEST_MARGIN, PAGE_LIMIT, RevocationKind, RevocationPage, RevocationSource};
use crate::{
    keys::{JwksManager, SourceError},
    metrics::AuthMetrics,
    verifier::{TokenOrigin, VerifiedToken, unix_now},
};

/// How long one poll waits for news. Short, since so long nobody notices that a connection was lost: a revoked token would go on.
const WAIT_SECONDS: u64 = 1;
/// What an answer may take beyond its wait, after one that came; doubled after each that did not.
const FIRST_MARGIN: Duration = Duration::from_secs(1);
/// A service does not stay unready for ever because auth-api is down.
const READY_AFTER: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short, so that a revocation made during an outage bites soon after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Going over the list for what has expired holds up the requests: not at every entry that comes.
const TIDY_EVERY_SECONDS: i64 = 30;

/// The deny-list, and how fresh it is.
pub struct RevocationWatcher {
    source: Box<dyn RevocationSource>,
    list: RwLock<DenyList>,
    /// Names what the list says now: a token that passed it need not be held against it again until more is revoked.
    state: AtomicU64,
    loaded: AtomicBool,
    /// When the first try began: what a service does before counts for nothing.
    started: OnceLock<Instant>,
    answered: Mutex<Instant>,
    /// When what had expired was dropped last; seconds since the epoch.
    tidied_at: AtomicI64,
    metrics: Arc<AuthMetrics>,
}

impl RevocationWatcher {
    /// A watcher that knows nothing yet; [`RevocationWatcher::run`] loads the list.
    pub fn new(source: impl RevocationSource, metrics: Arc<AuthMetrics>) -> Self {
        Self {
            source: Box::new(source),
            list: RwLock::default(),
            state: AtomicU64::new(new_state()),
            loaded: AtomicBool::new(false),
            started: OnceLock::new(),
            answered: Mutex::new(Instant::now()),
            tidied_at: AtomicI64::new(0),
            metrics,
        }
    }

    /// Whether the whole list was loaded once, or has been tried for five seconds.
    pub fn is_ready(&self) -> bool {
        self.is_ready_at(Instant::now())
    }

    fn is_ready_at(&self, now: Instant) -> bool {
        let has_tried = || self.started.get().is_some_and(|from| now.duration_since(*from) >= READY_AFTER);
        self.loaded.load(Ordering::Acquire) || has_tried()
    }

    /// Whether a token is on the list.
    pub fn is_revoked(&self, token: &VerifiedToken) -> bool {
        if token.passed.load(Ordering::Relaxed) == self.state.load(Ordering::Acquire) {
            return false;
        }
        let list = self.read();
        let is_revoked = list.contains(token);
        if !is_revoked {
            // Under the lock, the list and the name of its state belong together.
            token.passed.store(self.state.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        is_revoked
    }

    /// Whether the token that something was made from is on the list.
    pub fn is_origin_revoked(&self, origin: &TokenOrigin) -> bool {
        self.read().contains_origin(origin)
    }

    /// Follows the feed until the task is dropped. A notice that keys changed makes `keys` fetch them.
    pub async fn run(self: Arc<Self>, keys: Arc<JwksManager>) {
        let mut cursor = None;
        let mut failures = 0;
        self.started.get_or_init(Instant::now);
        self.show_age();
        loop {
            let margin = doubled(FIRST_MARGIN, failures).min(LONGEST_MARGIN);
            match self.follow(&mut cursor, margin, &keys).await {
                Ok(()) => {
                    failures = 0;
                    continue;
                }
                Err(SourceError::CursorTooOld) => cursor = None,
                Err(error) => tracing::warn!(%error, "revocation feed failed"),
            }
            tokio::time::sleep(doubled(FIRST_PAUSE, failures).min(LONGEST_PAUSE)).await;
            failures += 1;
            self.show_age();
        }
    }

    /// One step: the whole list where there is no cursor, else the next page.
    async fn follow(
        &self,
        cursor: &mut Option<String>,
        margin: Duration,
        keys: &JwksManager,
    ) -> Result<(), SourceError> {
        let Some(after) = self.read_on_from(cursor, unix_now()) else {
            *cursor = Some(self.load_all(margin, keys).await?);
            return Ok(());
        };
        let asked = Instant::now();
        // The cursor goes back whatever happens, but for one that is too old: a failed poll is repeated.
        let page = self.page(Some(after.clone()), WAIT_SECONDS, margin).await;
        if !matches!(page, Err(SourceError::CursorTooOld)) {
            *cursor = Some(after);
        }
        let page = page?;
        self.apply(&page, keys);
        if page.items.is_empty() {
            // A source that does not wait, such as one that is shutting down, must not be asked in a tight circle.
            tokio::time::sleep(FIRST_PAUSE.saturating_sub(asked.elapsed())).await;
        } else if *cursor == Some(page.next.clone()) {
            return Err(SourceError::Unusable("the cursor stands still".to_owned()));
        }
        *cursor = Some(page.next);
        Ok(())
    }

    /// Where to read on. Nowhere when the clock went back: what was dropped as expired may count again.
    fn read_on_from(&self, cursor: &mut Option<String>, now: i64) -> Option<String> {
        cursor.take().filter(|_| now >= self.tidied_at.load(Ordering::Relaxed))
    }

    /// Loads every entry in force and puts the list in place of the old one; returns where the feed goes on.
    ///
    /// Each page counts as soon as it is there, on top of the old list: a later page may fail.
    async fn load_all(&self, margin: Duration, keys: &JwksManager) -> Result<String, SourceError> {
        let mut fresh = DenyList::default();
        let mut after = None;
        loop {
            let page = self.page(after.clone(), 0, margin).await?;
            self.apply(&page, keys);
            page.items.iter().for_each(|entry| fresh.insert(entry));
            if page.items.len() < PAGE_LIMIT {
                let now = unix_now();
                fresh.drop_expired(now);
                self.tidied_at.store(now, Ordering::Relaxed);
                let old = {
                    let mut list = self.write();
                    self.show_size(&fresh);
                    self.state.store(new_state(), Ordering::Release);
                    std::mem::replace(&mut *list, fresh)
                };
                // Freed where no request waits for it.
                drop(old);
                if self.loaded.swap(true, Ordering::AcqRel) {
                    // Loaded anew: news was missed, that of changed keys too.
                    keys.fetch_soon();
                }
                return Ok(page.next);
            }
            if after.as_ref() == Some(&page.next) {
                return Err(SourceError::Unusable("the cursor stands still".to_owned()));
            }
            after = Some(page.next);
        }
    }

    fn apply(&self, page: &RevocationPage, keys: &JwksManager) {
        notice_key_changes(page, keys);
        *self.answered() = Instant::now();
        self.show_age();
        let mut list = self.write();
        if !page.items.is_empty() {
            page.items.iter().for_each(|entry| list.insert(entry));
            self.state.store(new_state(), Ordering::Release);
        }
        let now = unix_now();
        if now >= self.tidied_at.load(Ordering::Relaxed).saturating_add(TIDY_EVERY_SECONDS) {
            list.drop_expired(now);
            self.tidied_at.store(now, Ordering::Relaxed);
        }
        self.show_size(&list);
    }

    /// A page of the feed; meanwhile the age metric goes on.
    async fn page(
        &self,
        after: Option<String>,
        wait_seconds: u64,
        margin: Duration,
    ) -> Result<RevocationPage, SourceError> {
        let limit = Duration::from_secs(wait_seconds) + margin;
        let mut page = std::pin::pin!(tokio::time::timeout(limit, self.source.page(after, wait_seconds)));
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                page = &mut page => {
                    return page.map_err(|_| SourceError::Unavailable("no answer in time".to_owned()))?;
                }
                _ = second.tick() => self.show_age(),
            }
        }
    }

    fn show_size(&self, list: &DenyList) {
        self.metrics.revocations.set(i64::try_from(list.len()).unwrap_or(i64::MAX));
    }

    fn show_age(&self) {
        let age = self.answered().elapsed();
        self.metrics.revocation_feed_age.set(age.as_secs_f64());
    }

    fn answered(&self) -> MutexGuard<'_, Instant> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, DenyList> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, DenyList> {
        self.list.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times))
}

/// A name that no state of any list had before.
fn new_state() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

fn notice_key_changes(page: &RevocationPage, keys: &JwksManager) {
    let changed = |entry: &super::RevocationEntry| {
        matches!(entry.kind, RevocationKind::KeysChanged | RevocationKind::Key)
    };
    if page.items.iter().any(changed) {
        keys.fetch_soon();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use prometheus::Registry;

    use super::*;

    /// A feed that is down.
    struct Down;

    impl RevocationSource for Down {
        fn page(&self, _: Option<String>, _: u64) -> BoxFuture<'_, Result<RevocationPage, SourceError>> {
            Box::pin(async { Err(SourceError::Unavailable("unplugged".to_owned())) })
        }
    }

    #[test]
    fn a_feed_that_is_down_holds_a_service_up_for_five_seconds() {
        let watcher = RevocationWatcher::new(Down, AuthMetrics::register(&Registry::new()).unwrap());
        let started = *watcher.started.get_or_init(Instant::now);
        let after = |milliseconds| started + Duration::from_millis(milliseconds);
        assert!(!watcher.is_ready_at(after(0)));
        assert!(!watcher.is_ready_at(after(4_999)));
        assert!(watcher.is_ready_at(after(5_000)));
        watcher.loaded.store(true, Ordering::Release);
        assert!(watcher.is_ready_at(after(0)));
    }

    #[test]
    fn the_time_before_the_first_try_does_not_count() {
        let watcher = RevocationWatcher::new(Down, AuthMetrics::register(&Registry::new()).unwrap());
        assert!(!watcher.is_ready_at(Instant::now() + Duration::from_hours(1)));
    }

    #[test]
    fn a_clock_that_went_back_has_the_list_loaded_anew() {
        let watcher = RevocationWatcher::new(Down, AuthMetrics::register(&Registry::new()).unwrap());
        watcher.tidied_at.store(1_000, Ordering::Relaxed);
        let read_on = |now| watcher.read_on_from(&mut Some("7".to_owned()), now);
        assert_eq!(read_on(1_000).as_deref(), Some("7"));
        assert_eq!(read_on(999), None);
    }
}
