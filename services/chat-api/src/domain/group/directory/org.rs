//! One organization's place in the directory, from the start of its load to its end.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::Roster;
use crate::clients::auth_api::Change;

/// An organization that could not be loaded is not tried again for this long.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// One organization.
pub(super) struct Org {
    roster: ArcSwapOption<Roster>,
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    /// Seconds of the directory's clock.
    used_at: AtomicU64,
}

enum State {
    /// Changes that come meanwhile are kept for afterwards.
    Loading(Vec<Change>),
    Loaded,
    /// May be tried again from then on.
    Failed(Instant),
    /// No longer in the directory.
    Dropped,
}

/// What those who wait for an organization need to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Loading,
    Loaded,
    Failed,
    /// No longer in the directory; whoever waits looks it up again.
    Dropped,
}

/// What a load finds when it has a picture of the organization.
pub(super) enum Pending {
    /// More changes came.
    Changes(Vec<Change>),
    /// The picture is in place, or nobody wants it any more.
    None,
}

/// Ends a load when it is dropped, as failed unless it succeeded: one that panics must keep nobody waiting for good.
pub(super) struct LoadGuard(pub(super) Arc<Org>);

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.fail(Instant::now() + RETRY_AFTER);
    }
}

impl Org {
    /// An organization whose load begins.
    pub(super) fn loading(now: Duration) -> Self {
        Self {
            roster: ArcSwapOption::empty(),
            state: Mutex::new(State::Loading(Vec::new())),
            phase: watch::Sender::new(Phase::Loading),
            used_at: AtomicU64::new(now.as_secs()),
        }
    }

    /// The groups, once they are loaded.
    pub(super) fn roster(&self) -> Option<Arc<Roster>> {
        self.roster.load_full()
    }

    /// Notes a use. Written once a second: a line that every request writes would slow all of them.
    pub(super) fn touch(&self, now: Duration) {
        if self.used_at() != now.as_secs() {
            self.used_at.store(now.as_secs(), Ordering::Relaxed);
        }
    }

    pub(super) fn used_at(&self) -> u64 {
        self.used_at.load(Ordering::Relaxed)
    }

    /// Waits until the load ended, one way or another.
    pub(super) async fn ended(&self) -> Phase {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(|phase| *phase != Phase::Loading).await {
            Ok(phase) => *phase,
            Err(_) => Phase::Dropped,
        }
    }

    /// Puts the picture in place if no more changes came since it was made.
    pub(super) fn publish(&self, roster: &Roster) -> Pending {
        let mut state = self.lock();
        match &mut *state {
            State::Loading(pending) if pending.is_empty() => {
                self.roster.store(Some(Arc::new(roster.clone())));
                *state = State::Loaded;
                self.phase.send_replace(Phase::Loaded);
                Pending::None
            }
            State::Loading(pending) => Pending::Changes(std::mem::take(pending)),
            State::Loaded | State::Failed(_) | State::Dropped => Pending::None,
        }
    }

    /// The picture that these changes are to be applied to; none where they were kept for a load, or are of no interest.
    pub(super) fn current(&self, changes: &[Change]) -> Option<Arc<Roster>> {
        match &mut *self.lock() {
            State::Loading(pending) => {
                pending.extend_from_slice(changes);
                None
            }
            State::Loaded => self.roster(),
            State::Failed(_) | State::Dropped => None,
        }
    }

    /// Puts a newer picture in place of the current one.
    pub(super) fn replace(&self, roster: Roster) {
        self.roster.store(Some(Arc::new(roster)));
    }

    fn fail(&self, retry_at: Instant) {
        let mut state = self.lock();
        if matches!(*state, State::Loading(_)) {
            *state = State::Failed(retry_at);
            self.phase.send_replace(Phase::Failed);
        }
    }

    /// Says that it is no longer in the directory.
    pub(super) fn drop_out(&self) {
        *self.lock() = State::Dropped;
        self.phase.send_replace(Phase::Dropped);
    }

    /// Whether a load failed long enough ago.
    pub(super) fn may_be_tried_again(&self, now: Instant) -> bool {
        matches!(*self.lock(), State::Failed(retry_at) if now >= retry_at)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_panics_has_failed() {
        let org = Arc::new(Org::loading(Duration::ZERO));
        let load = tokio::spawn({
            let org = Arc::clone(&org);
            async move {
                let _ends = LoadGuard(org);
                panic!("as a defect would");
            }
        });
        assert!(load.await.is_err());

        assert!(org.ended().await == Phase::Failed);
        assert!(org.may_be_tried_again(Instant::now() + RETRY_AFTER));
    }

    #[tokio::test]
    async fn a_load_that_succeeded_stays_so() {
        let org = Arc::new(Org::loading(Duration::ZERO));
        let ends = LoadGuard(Arc::clone(&org));
        assert!(matches!(org.publish(&Roster::default()), Pending::None));
        drop(ends);
        assert!(org.ended().await == Phase::Loaded && org.roster().is_some());
    }
}
