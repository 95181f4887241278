//! Finding the last row of a timeline by looking into few of its buckets.

use super::Tip;
use crate::store::bucket;

/// Which bucket to look into next. Numbers have no holes, so that before the last bucket none is empty, and none but the first starts
/// in the middle.
pub(super) struct TipSearch {
    hint: Tip,
    tip: Tip,
    /// The first bucket that was not seen and may have rows.
    low: i64,
    /// A bucket that has none.
    high: Option<i64>,
    /// How far the next look goes ahead, while nothing is known to be empty.
    step: i64,
    next: Option<i64>,
}

impl TipSearch {
    /// A search from `hint` on, which is where the timeline ends nearly always.
    pub(super) fn new(hint: Tip) -> Self {
        let number = bucket(hint.change);
        Self { hint, tip: Tip::default(), low: number, high: None, step: 1, next: Some(number) }
    }

    /// The bucket to look into; none once the tip is found.
    pub(super) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Where the timeline ends.
    pub(super) fn tip(&self) -> Tip {
        self.tip
    }

    /// Notes the last row of the bucket that was looked into.
    pub(super) fn note(&mut self, number: i64, last: Option<Tip>) {
        if let Some(tip) = last {
            self.tip = tip;
            if bucket(tip.change + 1) == number {
                self.next = None;
                return;
            }
            self.low = number + 1;
        } else {
            // A hint that is ahead says nothing about what lies below it.
            if number == bucket(self.hint.change) {
                self.low = 0;
            }
            self.high = Some(number);
        }
        self.next = match self.high {
            Some(high) if self.low >= high => None,
            Some(high) => Some(self.low + (high - self.low) / 2),
            None => {
                let ahead = self.low + self.step - 1;
                self.step *= 2;
                Some(ahead)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::BUCKET_SIZE;

    const fn tip(number: i64) -> Tip {
        Tip { change: number, seq: number }
    }

    /// The tip that is found in a timeline of `last` rows, and how many looks it took.
    fn search(hint: i64, last: i64) -> (Tip, usize) {
        let (mut search, mut looks) = (TipSearch::new(tip(hint)), 0);
        while let Some(number) = search.next() {
            let end = ((number + 1) * BUCKET_SIZE - 1).min(last);
            let has_rows = end >= (number * BUCKET_SIZE).max(1);
            search.note(number, has_rows.then(|| tip(end)));
            looks += 1;
        }
        (search.tip(), looks)
    }

    #[test]
    fn a_hint_that_is_right_or_nearly_so_costs_one_look_or_two() {
        assert_eq!(search(0, 0), (tip(0), 1));
        assert_eq!(search(1000, 1000), (tip(1000), 1));
        assert_eq!(search(1000, 1005), (tip(1005), 1));
        assert_eq!(search(127, 127), (tip(127), 2));
        assert_eq!(search(127, 128), (tip(128), 2));
    }

    #[test]
    fn a_hint_far_off_costs_few_looks() {
        for (hint, last) in [(0, 1_000_000), (1_000_000, 5), (1_000_000, 0), (0, 127 * 1000)] {
            let (found, looks) = search(hint, last);
            assert_eq!(found, tip(last));
            assert!(looks <= 30, "{looks} looks from {hint} to {last}");
        }
    }

    proptest! {
        #[test]
        fn the_tip_is_found_from_any_hint(hint in 0_i64..5000, last in 0_i64..5000) {
            prop_assert_eq!(search(hint, last).0, tip(last));
        }
    }
}
