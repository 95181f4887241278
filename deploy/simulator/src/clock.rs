//! The providers' time, which a test may put forward.

use std::sync::atomic::{AtomicI64, Ordering};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The wall clock and what was added to it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead: AtomicI64,
}

impl Clock {
    /// Seconds since 1970, as the providers see it.
    pub(crate) fn now(&self) -> i64 {
        wall() + self.ahead.load(Ordering::SeqCst)
    }

    /// Puts the clock forward, or back.
    pub(crate) fn advance(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Back to the wall clock.
    pub(crate) fn reset(&self) {
        self.ahead.store(0, Ordering::SeqCst);
    }
}

/// The wall clock: what signatures of other machines are held against.
pub(crate) fn wall() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Seconds since 1970 as RFC 3339 in UTC.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}
