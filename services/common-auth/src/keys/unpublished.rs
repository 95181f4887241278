//! Key ids that auth-api was asked about and does not publish.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// More than the cooldown lets in within the time that they are remembered.
const MAX_KIDS: usize = 128;
/// The tokens of a key that is gone come again and again; the turn to fetch is for others meanwhile.
const MEMORY: Duration = Duration::from_mins(2);

/// A bounded, short memory of key ids that a fetch did not bring.
#[derive(Default)]
pub(super) struct UnpublishedKids(VecDeque<(Box<str>, Instant)>);

impl UnpublishedKids {
    /// Whether a fetch shortly before `now` did not bring this id.
    pub(super) fn contains(&self, kid: &str, now: Instant) -> bool {
        self.0.iter().any(|(known, at)| **known == *kid && now < *at + MEMORY)
    }

    /// Remembers that a fetch at `now` did not bring this id.
    pub(super) fn insert(&mut self, kid: &str, now: Instant) {
        self.0.retain(|(known, at)| **known != *kid && now < *at + MEMORY);
        if self.0.len() >= MAX_KIDS {
            self.0.pop_front();
        }
        self.0.push_back((kid.into(), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forgotten_after_two_minutes() {
        let (mut kids, start) = (UnpublishedKids::default(), Instant::now());
        let second = |second| start + Duration::from_secs(second);
        kids.insert("gone", start);
        assert!(kids.contains("gone", second(119)) && !kids.contains("other", second(119)));
        assert!(!kids.contains("gone", second(120)));
        kids.insert("gone", second(60));
        assert!(kids.contains("gone", second(179)) && !kids.contains("gone", second(180)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let (mut kids, now) = (UnpublishedKids::default(), Instant::now());
        for n in 0..=MAX_KIDS {
            kids.insert(&n.to_string(), now);
        }
        assert_eq!(kids.0.len(), MAX_KIDS);
        assert!(!kids.contains("0", now) && kids.contains("1", now));
    }
}
