//! Callbacks that wait for a waiter, a bounded number and for a bounded time.

use std::time::{Duration, Instant};

use super::Waiters;
use crate::domain::state::StateKey;

/// The most callbacks that wait at once; with a request's limit of 64 KiB they stay under 16 MiB.
pub const MAX_HELD: usize = 256;

/// The most log lines about callbacks without a client, in each [`LOG_WINDOW`].
const LOG_LINES: u32 = 20;
const LOG_WINDOW: Duration = Duration::from_secs(1);

/// Ends the waiting of a callback, whatever becomes of its request.
pub(super) struct HeldGuard<'a> {
    waiters: &'a Waiters,
    key: StateKey,
    id: u64,
}

/// Lets through so many lines in each window, and counts the others.
#[derive(Default)]
pub(super) struct QuietLog {
    window: Option<Instant>,
    said: u32,
    unsaid: u64,
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

impl QuietLog {
    /// Whether a line may be written now, and how many were not since the last one.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.window.is_none_or(|start| now.duration_since(start) >= LOG_WINDOW) {
            (self.window, self.said) = (Some(now), 0);
        }
        if self.said == LOG_LINES {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}
