//! The time by the database's clock, which all replicas share, without asking for it each time.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwapOption;
use time::OffsetDateTime;

/// Goes on from what the database said last. It is never ahead of the database's clock: a token that was issued before a revocation
/// does not say that it was issued after it.
#[derive(Default)]
pub struct SharedClock {
    heard: ArcSwapOption<Heard>,
}

struct Heard {
    time: OffsetDateTime,
    at: Instant,
}

impl SharedClock {
    /// What the database has just answered.
    pub fn learn(&self, time: OffsetDateTime) {
        self.heard.store(Some(Arc::new(Heard { time, at: Instant::now() })));
    }

    /// The time; this machine's own until the database has been heard.
    pub fn now(&self) -> OffsetDateTime {
        self.heard
            .load()
            .as_ref()
            .map_or_else(OffsetDateTime::now_utc, |heard| heard.time + heard.at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_on_from_what_was_heard_last() {
        let clock = SharedClock::default();
        assert!((clock.now() - OffsetDateTime::now_utc()).abs() < Duration::from_secs(1));
        for heard in [1_000_000, 500_000].map(|seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap())
        {
            clock.learn(heard);
            let first = clock.now();
            assert!(heard <= first && first < heard + Duration::from_secs(5));
            assert!(clock.now() >= first);
        }
    }
}
