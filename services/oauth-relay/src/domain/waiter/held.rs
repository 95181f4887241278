//! Callbacks that wait for a waiter, a bounded number and for a bounded time.

use super::Waiters;
use crate::domain::state::StateKey;

/// The most callbacks that wait at once for a waiter that nobody knows of. As many more may wait for one that was here and comes back,
/// so that no flood is in their way. With a request's limit of 64 KiB all of them stay under 32 MiB.
pub const MAX_HELD: usize = 256;

/// Ends the waiting of a callback, whatever becomes of its request.
pub(super) struct HeldGuard<'a> {
    waiters: &'a Waiters,
    key: StateKey,
    id: u64,
}

impl<'a> HeldGuard<'a> {
    pub(super) fn new(waiters: &'a Waiters, key: StateKey, id: u64) -> Self {
        Self { waiters, key, id }
    }
}

impl Drop for HeldGuard<'_> {
    fn drop(&mut self) {
        self.waiters.room().release(&self.key, self.id);
    }
}
