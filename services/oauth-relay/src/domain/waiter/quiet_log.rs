//! A limit for log lines that anybody may cause.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The most lines about callbacks that lead nowhere, in each [`WINDOW`].
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

/// Lets through so many lines in each window, and counts the others.
#[derive(Default)]
pub(super) struct QuietLog(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    window: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl QuietLog {
    /// Whether a line may be written now. Says itself how many were not since the last one.
    pub(super) fn admits_line(&self) -> bool {
        let admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        if let Some(unsaid @ 1..) = admitted {
            tracing::info!(unsaid, "callbacks that led nowhere were not logged one by one");
        }
        admitted.is_some()
    }
}

impl Lines {
    /// How many lines were not written since the last one, where one may be written now.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.window.is_none_or(|start| now.duration_since(start) >= WINDOW) {
            (self.window, self.said) = (Some(now), 0);
        }
        if self.said == LINES {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_room_for_so_many_lines() {
        let mut lines = Lines::default();
        let start = Instant::now();
        let said = (0..100).filter(|_| lines.admit(start).is_some()).count();
        assert_eq!(said, 20);
        assert_eq!(lines.admit(start + Duration::from_secs(1)), Some(80));
    }
}
