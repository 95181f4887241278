//! Fetches the keys ahead of need, and keeps the last good ones.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};

use super::{Fetched, JwksSource, KeySet, SourceError, VerificationKey, unpublished::UnpublishedKids};
use crate::{error::AuthError, metrics::AuthMetrics};

/// Requests that wait for an unknown key at one time; the next ones are refused at once.
const MAX_WAITERS: usize = 128;
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Without any key nothing works, so the pause between tries stays short.
const MAX_KEYLESS_BACKOFF: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// When keys are fetched.
#[derive(Clone, Copy, Debug)]
pub struct JwksSettings {
    /// Time between two fetches in the background (`JWKS_REFRESH_SECONDS`).
    pub refresh: Duration,
    /// Shortest time between two fetches for unknown key ids, whatever their number and outcome.
    pub cooldown: Duration,
    /// The longest that one fetch, and a request that waits for it, may take.
    pub fetch_timeout: Duration,
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_mins(30),
            cooldown: Duration::from_secs(30),
            fetch_timeout: Duration::from_millis(1500),
        }
    }
}

/// The current keys, and the rules of fetching them.
pub struct JwksManager {
    source: Box<dyn JwksSource>,
    settings: JwksSettings,
    metrics: Arc<AuthMetrics>,
    keys: ArcSwap<KeySet>,
    unknown: Mutex<UnknownKeyFetch>,
    one_at_a_time: tokio::sync::Mutex<()>,
    waiters: Semaphore,
    due: Notify,
}

/// The single flight for unknown key ids.
struct UnknownKeyFetch {
    allowed_from: Instant,
    /// Closes when the fetch has ended, in whichever way: whoever looks later than that does not wait.
    running: Option<watch::Receiver<()>>,
    failures: u32,
    unpublished: UnpublishedKids,
}

impl JwksManager {
    /// A manager without keys yet; [`JwksManager::run`] fetches them.
    pub fn new(source: impl JwksSource, settings: JwksSettings, metrics: Arc<AuthMetrics>) -> Self {
        Self {
            source: Box::new(source),
            settings,
            metrics,
            keys: ArcSwap::default(),
            unknown: Mutex::new(UnknownKeyFetch {
                allowed_from: Instant::now(),
                running: None,
                failures: 0,
                unpublished: UnpublishedKids::default(),
            }),
            one_at_a_time: tokio::sync::Mutex::default(),
            waiters: Semaphore::new(MAX_WAITERS),
            due: Notify::new(),
        }
    }

    /// Whether there is any key: until then nobody's token can be judged.
    pub fn has_keys(&self) -> bool {
        !self.keys.load().is_empty()
    }

    /// The key with this id, from memory.
    pub fn key(&self, kid: &str) -> Option<Arc<VerificationKey>> {
        let found = self.keys.load().get(kid).map(Arc::clone);
        match found {
            Some(_) => self.metrics.key_cache_hits.inc(),
            None => self.metrics.key_cache_misses.inc(),
        }
        found
    }

    /// The key with this id, fetched if it is unknown and the cooldown allows it.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] while no key is known at all, else [`AuthError::InvalidToken`].
    pub async fn key_or_fetch(self: &Arc<Self>, kid: &str) -> Result<Arc<VerificationKey>, AuthError> {
        if let Some(key) = self.key(kid) {
            return Ok(key);
        }
        if let Some(mut running) = self.join_unknown_key_fetch(kid)
            && let Ok(_place) = self.waiters.try_acquire()
        {
            let _ = tokio::time::timeout(self.settings.fetch_timeout, running.changed()).await;
        }
        match self.keys.load().get(kid) {
            Some(key) => Ok(Arc::clone(key)),
            None if self.has_keys() => Err(AuthError::InvalidToken("unknown_kid")),
            None => Err(AuthError::Unavailable),
        }
    }

    /// Has the keys fetched now, outside the cooldown: auth-api said that they changed.
    pub fn fetch_soon(&self) {
        self.due.notify_one();
    }

    /// Fetches the keys at once and then again and again, until the task is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut failures: u32 = 0;
        let mut forced = false;
        loop {
            let pause = if self.fetch(forced).await.is_ok() {
                failures = 0;
                self.settings.refresh
            } else {
                failures = failures.saturating_add(1);
                backoff(failures, if self.has_keys() { MAX_BACKOFF } else { MAX_KEYLESS_BACKOFF })
            };
            // After a notice, a cache on the way must not answer with what it had before.
            forced = tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => forced && failures > 0,
                () = self.due.notified() => true,
            };
        }
    }

    /// Fetches the keys once. The old ones stay where that fails.
    ///
    /// # Errors
    /// What the source says, or that none of the keys is usable.
    pub async fn fetch(&self, forced: bool) -> Result<(), SourceError> {
        let _turn = self.one_at_a_time.lock().await;
        self.metrics.jwks_refreshes.inc();
        let answer = tokio::time::timeout(self.settings.fetch_timeout, self.source.fetch(forced)).await;
        let outcome = match answer {
            Ok(Ok(Fetched::Keys(set))) => self.keys.load().succeeded_by(&set).map(|keys| self.replace(keys)),
            Ok(Ok(Fetched::Unchanged)) if self.has_keys() => Ok(()),
            Ok(Ok(Fetched::Unchanged)) => Err(SourceError::Unusable("unchanged, but never seen".to_owned())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(SourceError::Unavailable("no answer in time".to_owned())),
        };
        if let Err(error) = &outcome {
            self.metrics.jwks_refresh_failures.inc();
            tracing::warn!(%error, "JWKS fetch failed");
        }
        outcome
    }

    fn replace(&self, keys: KeySet) {
        self.metrics.jwks_keys_left_out.set(i64::try_from(keys.left_out()).unwrap_or(i64::MAX));
        let old = self.keys.swap(Arc::new(keys));
        old.withdraw_all_but(&self.keys.load());
        if old.is_empty() {
            tracing::info!("jwks_manager_ready");
        }
    }

    /// The running fetch for unknown keys, or a new one where the cooldown allows it. The cooldown starts before the fetch, so that
    /// a storm of made-up key ids costs auth-api one request per cooldown, however the fetch ends.
    fn join_unknown_key_fetch(self: &Arc<Self>, kid: &str) -> Option<watch::Receiver<()>> {
        let now = Instant::now();
        let mut unknown = self.unknown();
        if let Some(running) = unknown.running.as_ref().filter(|fetch| fetch.has_changed().is_ok()) {
            return Some(running.clone());
        }
        // A fetch may have brought the key since the caller looked.
        let is_known = self.keys.load().get(kid).is_some();
        if now < unknown.allowed_from || is_known || unknown.unpublished.contains(kid, now) {
            return None;
        }
        unknown.allowed_from = now + self.settings.cooldown;
        let (ends, running) = watch::channel(());
        unknown.running = Some(running.clone());
        tracing::info!("Key ID '{}' not found, fetching the keys", printable(kid));
        // A task of its own: the caller may hang up, the fetch goes on for the others.
        let (manager, kid) = (Arc::clone(self), Box::<str>::from(kid));
        tokio::spawn(async move {
            manager.fetch_for_unknown_key(&kid).await;
            drop(ends);
        });
        Some(running)
    }

    async fn fetch_for_unknown_key(&self, kid: &str) {
        let outcome = self.fetch(true).await;
        let mut unknown = self.unknown();
        if outcome.is_ok() && self.keys.load().get(kid).is_none() {
            unknown.unpublished.insert(kid, Instant::now());
        }
        // Only a source that was not reached gives the turn back early: nothing was learnt about the key.
        if let Err(SourceError::Unavailable(_)) = outcome {
            unknown.failures = unknown.failures.saturating_add(1);
            unknown.allowed_from = Instant::now() + backoff(unknown.failures, self.settings.cooldown);
        } else {
            unknown.failures = 0;
        }
    }

    fn unknown(&self) -> MutexGuard<'_, UnknownKeyFetch> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One second after the first failure, doubling from there.
pub(crate) fn backoff(failures: u32, longest: Duration) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}

/// Up to a fifth shorter, so that replicas started together do not call together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.8..=1.0))
}

/// A caller's text for a log line: short, and without line breaks or escapes.
fn printable(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        let seconds: Vec<_> = (0..9).map(|failures| backoff(failures, MAX_BACKOFF).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX, MAX_KEYLESS_BACKOFF), MAX_KEYLESS_BACKOFF);
        assert_eq!(backoff(1, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn the_pause_is_up_to_a_fifth_shorter() {
        for _ in 0..1000 {
            let pause = jittered(Duration::from_secs(100)).as_secs_f64();
            assert!((80.0..=100.0).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_key_id_cannot_forge_a_log_line() {
        assert_eq!(printable("key-2026/01"), "key-2026/01");
        assert_eq!(printable("a\nb\u{1b}[31m c\u{202e}"), "a?b?[31m?c?");
        assert_eq!(printable(&"x".repeat(5000)).len(), 64);
    }
}
