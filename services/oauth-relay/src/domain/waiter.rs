//! Who waits for which state, and how a callback finds its waiter.
//!
//! A waiter holds a seat, one for each state. A callback takes the seat before it is handed over, so that of any number of callbacks
//! exactly one is; whoever hands it over learns whether it arrived.

mod held;
mod metrics;
mod quiet_log;
mod seat;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::Instrument;

use self::{
    held::HeldGuard,
    quiet_log::QuietLog,
    seat::{Room, Taken},
};
pub use self::{held::MAX_HELD, metrics::WaiterMetrics, seat::Seat};
use super::{
    callback::{Callback, CallbackError},
    frame::Dismissal,
    state::{MAX_STATE_BYTES, MIN_STATE_CHARS, StateKey, is_weak},
};

/// The way to one waiter.
pub trait Line: Send + Sync {
    /// Tells the waiter that the seat is held. Returns whether anybody is there; it must not wait.
    fn announce(&self) -> bool;
    /// Hands over the callback. Resolves to whether it arrived; either way the waiter has waited long enough.
    fn deliver(self: Arc<Self>, callback: Arc<Callback>) -> BoxFuture<'static, bool>;
    /// Sends the waiter away. It must not wait.
    fn dismiss(&self, reason: Dismissal);
}

/// Who holds a seat. Nobody takes the seat of another owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process that may open the socket.
    Local,
    /// A client of auth-api.
    Client(Arc<str>),
}

/// What a second waiter for a state does to the first (`OAUTH_DUPLICATE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Duplicate {
    /// It takes the seat.
    Replace,
    /// It is refused.
    Reject,
}

/// The rules of waiting.
#[derive(Clone, Debug)]
pub struct WaiterSettings {
    pub capacity: usize,
    pub duplicate: Duplicate,
    pub allow_stateless: bool,
    pub strict_state: bool,
    /// How long a callback waits for a waiter that comes late.
    pub hold: Duration,
    pub log_unmatched: bool,
    pub default_timeout: Duration,
    pub max_timeout: Duration,
}

/// Why nobody may wait so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("another waiter holds the state")]
    Taken,
    #[error("there are too many waiters")]
    Capacity,
    #[error("the relay stops")]
    Shutdown,
    #[error("a state is required")]
    Stateless,
    #[error("the state has fewer than {MIN_STATE_CHARS} characters")]
    Weak,
    #[error("the state has more than {MAX_STATE_BYTES} bytes")]
    Long,
    #[error("the waiter has gone")]
    Gone,
}

/// What became of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A waiter has it.
    Delivered,
    /// A waiter has it, and it holds an error.
    Denied,
    /// Nobody has it.
    Unmatched,
}

/// All who wait.
pub struct Waiters {
    room: Mutex<Room>,
    settings: WaiterSettings,
    metrics: WaiterMetrics,
    quiet_log: QuietLog,
    callbacks: AtomicUsize,
}

/// A callback being handled, from its first byte on; see [`Waiters::open_callbacks`].
pub struct OpenCallback<'a>(&'a AtomicUsize);

impl Waiters {
    #[must_use]
    pub fn new(settings: WaiterSettings, metrics: WaiterMetrics) -> Self {
        Self {
            room: Mutex::default(),
            settings,
            metrics,
            quiet_log: QuietLog::default(),
            callbacks: AtomicUsize::new(0),
        }
    }

    /// How long a waiter is let wait who asked for this. The default holds though it may be above the maximum.
    #[must_use]
    pub fn timeout(&self, asked: Option<Duration>) -> Duration {
        let WaiterSettings { default_timeout, max_timeout, .. } = self.settings;
        asked.map_or(default_timeout, |asked| asked.min(max_timeout.max(default_timeout)))
    }

    /// Whether a state may be waited for.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit(&self, state: Option<&str>) -> Result<StateKey, Refusal> {
        let key = StateKey::of(state);
        match state {
            None | Some("") if !self.settings.allow_stateless => return Err(Refusal::Stateless),
            Some(state) if state.len() > MAX_STATE_BYTES => return Err(Refusal::Long),
            Some(state) if !state.is_empty() && is_weak(state) => {
                if self.settings.strict_state {
                    return Err(Refusal::Weak);
                }
                tracing::warn!(
                    "State '{key}' has fewer than {MIN_STATE_CHARS} characters, and may be guessed"
                );
            }
            _ => {}
        }
        Ok(key)
    }

    /// Gives a waiter its seat, for as long as the returned value lives, and `grace` longer: callbacks of that time wait for the
    /// same owner to come back.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn register(
        self: &Arc<Self>,
        key: StateKey,
        owner: Owner,
        line: &Arc<dyn Line>,
        grace: Duration,
    ) -> Result<Seat, Refusal> {
        let taken = {
            let mut room = self.room();
            let taken = room.take_seat(key, owner, line, &self.settings);
            self.metrics.show_waiters(room.len());
            taken
        };
        if taken.as_ref().is_err_and(|refusal| *refusal == Refusal::Capacity) {
            self.count_refusal();
        }
        let Taken { id, replaced, is_new, is_awaited } = taken?;
        if is_new {
            self.metrics.registered.inc();
            tracing::info!("Client registered for state: '{key}'");
        }
        if let Some(replaced) = replaced {
            self.metrics.replaced.inc();
            tracing::info!("Client replaced for state: '{key}'");
            replaced.dismiss(Dismissal::Replaced);
        }
        Ok(Seat::new(Arc::clone(self), key, id, grace, is_awaited))
    }

    /// Counts a waiter that was refused because there are too many.
    pub fn count_refusal(&self) {
        self.metrics.capacity.inc();
    }

    /// Hands a callback to its waiter.
    pub async fn deliver(self: &Arc<Self>, callback: Callback) -> Outcome {
        let key = callback.key();
        let line = match self.claim(key) {
            Claim::Line(line) => Some(line),
            Claim::Wait(arrival, limit, guard) => {
                // However it ends, what counts is whether somebody sits there then.
                let _ = tokio::time::timeout(limit, arrival).await;
                drop(guard);
                self.take_line(key)
            }
            Claim::Nobody => None,
        };
        let Some(line) = line else {
            self.report_unmatched(key);
            return Outcome::Unmatched;
        };
        // A task of its own: what has begun ends well, and counts, though the browser may hang up.
        let delivery = tokio::spawn(Arc::clone(self).hand_over(line, callback).in_current_span());
        delivery.await.unwrap_or(Outcome::Unmatched)
    }

    /// Logs that a request is no callback.
    pub fn report_unreadable(&self, error: CallbackError) {
        if self.quiet_log.admits_line() {
            tracing::info!(%error, "a callback was refused");
        }
    }

    /// Counts a callback as being handled, until the returned value is dropped.
    pub fn open_callback(&self) -> OpenCallback<'_> {
        self.callbacks.fetch_add(1, Ordering::SeqCst);
        OpenCallback(&self.callbacks)
    }

    /// How many callbacks are being handled.
    #[must_use]
    pub fn open_callbacks(&self) -> usize {
        self.callbacks.load(Ordering::SeqCst)
    }

    /// Refuses everybody who comes now; those who wait go on waiting, callbacks that wait for a waiter do not.
    pub fn close(&self) {
        self.room().close();
    }

    /// Sends everybody away.
    pub fn dismiss_all(&self) {
        let lines = self.room().clear();
        self.metrics.show_waiters(0);
        for line in lines {
            line.dismiss(Dismissal::Shutdown);
        }
    }

    async fn hand_over(self: Arc<Self>, line: Arc<dyn Line>, callback: Callback) -> Outcome {
        let (key, is_denied) = (callback.key(), callback.is_denied);
        if !line.deliver(Arc::new(callback)).await {
            self.report_unmatched(key);
            return Outcome::Unmatched;
        }
        tracing::info!("OAuth callback delivered to client for state: '{key}'");
        if is_denied {
            self.metrics.denied.inc();
            return Outcome::Denied;
        }
        self.metrics.delivered.inc();
        Outcome::Delivered
    }

    /// Looks and holds under one lock, or a waiter could come between the two.
    fn claim(&self, key: StateKey) -> Claim<'_> {
        let mut room = self.room();
        if let Some(line) = room.take_line(&key) {
            self.metrics.show_waiters(room.len());
            return Claim::Line(line);
        }
        let limit = room.absence(&key).unwrap_or(self.settings.hold);
        match room.hold(key, limit) {
            Some((id, arrival)) => Claim::Wait(arrival, limit, HeldGuard::new(self, key, id)),
            None => Claim::Nobody,
        }
    }

    fn take_line(&self, key: StateKey) -> Option<Arc<dyn Line>> {
        let mut room = self.room();
        let line = room.take_line(&key)?;
        self.metrics.show_waiters(room.len());
        Some(line)
    }

    /// Every callback that nobody took counts, logged or not.
    fn report_unmatched(&self, key: StateKey) {
        self.metrics.unmatched.inc();
        if self.settings.log_unmatched && self.quiet_log.admits_line() {
            tracing::info!("No client waiting for state '{key}' - dropping callback");
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenCallback<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a callback finds at its state.
enum Claim<'a> {
    Line(Arc<dyn Line>),
    /// Somebody may come within the limit.
    Wait(oneshot::Receiver<()>, Duration, HeldGuard<'a>),
    Nobody,
}

#[cfg(test)]
mod tests;
