//! The seats: one for each state that somebody waits for.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Duplicate, Line, Owner, Refusal, WaiterSettings, Waiters, held::MAX_HELD};
use crate::domain::state::StateKey;

/// A waiter's hold on its seat; dropping it leaves the seat.
pub struct Seat {
    waiters: Arc<Waiters>,
    key: StateKey,
    id: u64,
    grace: Duration,
    is_awaited: bool,
}

/// All seats, and the callbacks that wait for somebody to sit down.
#[derive(Default)]
pub(super) struct Room {
    seats: HashMap<StateKey, Entry>,
    /// What wakes the callbacks that wait at a state, with their ids.
    held: HashMap<StateKey, (u64, oneshot::Sender<()>)>,
    last_id: u64,
    is_closed: bool,
}

/// Whether the waiter can be reached.
enum Presence {
    Here(Arc<dyn Line>),
    Away { until: Instant },
}

/// How a seat was taken.
pub(super) struct Taken {
    pub(super) id: u64,
    pub(super) replaced: Option<Arc<dyn Line>>,
    /// False for the owner who comes back.
    pub(super) is_new: bool,
    /// Whether a callback has waited for it.
    pub(super) is_awaited: bool,
}

struct Entry {
    id: u64,
    owner: Owner,
    presence: Presence,
}

impl Seat {
    pub(super) fn new(
        waiters: Arc<Waiters>,
        key: StateKey,
        id: u64,
        grace: Duration,
        is_awaited: bool,
    ) -> Self {
        Self { waiters, key, id, grace, is_awaited }
    }

    /// Whether a callback has waited for somebody to sit here, and is on its way.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Gives up the seat because the time is over. Returns false when a callback, or another waiter, already has it.
    #[must_use]
    pub fn expire(&self) -> bool {
        self.waiters.expire(self.key, self.id)
    }

    /// Leaves the seat for a while. Returns false when a callback, or another waiter, already has it.
    #[must_use]
    pub fn step_away(&self) -> bool {
        self.waiters.step_away(self.key, self.id, self.grace)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.grace.is_zero() || tokio::runtime::Handle::try_current().is_err() {
            self.waiters.leave(self.key, self.id);
        } else {
            // Where it stepped away before, this has no effect.
            let _ = self.step_away();
        }
    }
}

impl Waiters {
    fn leave(&self, key: StateKey, id: u64) -> bool {
        let mut room = self.room();
        let is_left = room.is_held_by(&key, id) && room.seats.remove(&key).is_some();
        if is_left {
            self.metrics.show_waiters(room.len());
        }
        is_left
    }

    fn expire(&self, key: StateKey, id: u64) -> bool {
        let is_expired = self.leave(key, id);
        if is_expired {
            self.metrics.timed_out.inc();
            tracing::info!("OAuth callback timeout for state: '{key}'");
        }
        is_expired
    }

    fn step_away(self: &Arc<Self>, key: StateKey, id: u64, grace: Duration) -> bool {
        let Some(id) = self.room().step_away(&key, id, Instant::now() + grace) else { return false };
        let waiters = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            waiters.expire(key, id);
        });
        true
    }
}

impl Room {
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// How long the waiter at a state may still stay away, if it is away.
    pub(super) fn absence(&self, key: &StateKey) -> Option<Duration> {
        match self.seats.get(key)?.presence {
            Presence::Here(_) => None,
            Presence::Away { until } => Some(until.saturating_duration_since(Instant::now())),
        }
    }

    /// Takes the seat at a state, and wakes the callback that waits there.
    pub(super) fn take_seat(
        &mut self,
        key: StateKey,
        owner: Owner,
        line: &Arc<dyn Line>,
        settings: &WaiterSettings,
    ) -> Result<Taken, Refusal> {
        if self.is_closed {
            return Err(Refusal::Shutdown);
        }
        let is_new = match self.seats.get(&key) {
            Some(entry) if entry.owner != owner => return Err(Refusal::Taken),
            Some(Entry { presence: Presence::Here(_), .. }) if settings.duplicate == Duplicate::Reject => {
                return Err(Refusal::Taken);
            }
            Some(entry) => matches!(entry.presence, Presence::Here(_)),
            None if self.seats.len() >= settings.capacity => return Err(Refusal::Capacity),
            None => true,
        };
        if !line.announce() {
            return Err(Refusal::Gone);
        }
        self.last_id += 1;
        let id = self.last_id;
        let replaced =
            self.seats.insert(key, Entry { id, owner, presence: Presence::Here(Arc::clone(line)) });
        let replaced = replaced.and_then(Entry::into_line);
        // Where its browser has gone, nobody hears it.
        let is_awaited = self.held.remove(&key).is_some_and(|(_, waker)| waker.send(()).is_ok());
        Ok(Taken { id, replaced, is_new, is_awaited })
    }

    /// Takes the seat of a waiter who is there, for a callback.
    pub(super) fn take_line(&mut self, key: &StateKey) -> Option<Arc<dyn Line>> {
        if matches!(self.seats.get(key)?.presence, Presence::Away { .. }) {
            return None;
        }
        self.seats.remove(key).and_then(Entry::into_line)
    }

    /// Lets a callback wait for somebody to sit down; one at each state, since it could be a replay.
    pub(super) fn hold(&mut self, key: StateKey, limit: Duration) -> Option<(u64, oneshot::Receiver<()>)> {
        let most = if self.seats.contains_key(&key) { 2 * MAX_HELD } else { MAX_HELD };
        let is_possible =
            !limit.is_zero() && !self.is_closed && self.held.len() < most && !self.held.contains_key(&key);
        is_possible.then(|| {
            let (waker, arrival) = oneshot::channel();
            self.last_id += 1;
            self.held.insert(key, (self.last_id, waker));
            (self.last_id, arrival)
        })
    }

    pub(super) fn release(&mut self, key: &StateKey, id: u64) {
        if self.held.get(key).is_some_and(|(held, _)| *held == id) {
            self.held.remove(key);
        }
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.held.clear();
    }

    pub(super) fn clear(&mut self) -> Vec<Arc<dyn Line>> {
        self.close();
        std::mem::take(&mut self.seats).into_values().filter_map(Entry::into_line).collect()
    }

    fn is_held_by(&self, key: &StateKey, id: u64) -> bool {
        self.seats.get(key).is_some_and(|entry| entry.id == id)
    }

    /// A new id, so that the waiter who leaves again does not count twice.
    fn step_away(&mut self, key: &StateKey, id: u64, until: Instant) -> Option<u64> {
        let entry = self.seats.get_mut(key).filter(|entry| entry.id == id)?;
        self.last_id += 1;
        (entry.id, entry.presence) = (self.last_id, Presence::Away { until });
        Some(self.last_id)
    }
}

impl Entry {
    fn into_line(self) -> Option<Arc<dyn Line>> {
        match self.presence {
            Presence::Here(line) => Some(line),
            Presence::Away { .. } => None,
        }
    }
}
