//! How many organizations one caller may have loaded: a service bound to all of them could name any.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use common_auth::Principal;

const WINDOW: Duration = Duration::from_mins(1);
/// Callers that are remembered; beyond it, those whose window is over are forgotten.
const MAX_CALLERS: usize = 10_000;

/// Counts loads by caller and minute.
pub(super) struct LoadLimit {
    per_caller: u32,
    callers: Mutex<HashMap<String, Window>>,
}

struct Window {
    since: Instant,
    loads: u32,
}

impl LoadLimit {
    pub(super) fn new(per_caller: u32) -> Self {
        Self { per_caller, callers: Mutex::default() }
    }

    /// Whose loads are counted together.
    pub(super) fn name(caller: &Principal) -> String {
        match caller {
            Principal::User(user) => user.user_id.to_string(),
            Principal::Service(service) => service.client_id.clone(),
        }
    }

    /// Counts a load, unless the caller has had its share.
    pub(super) fn take(&self, caller: &str, now: Instant) -> bool {
        let mut callers = self.lock();
        if callers.len() >= MAX_CALLERS {
            callers.retain(|_, window| now.duration_since(window.since) < WINDOW);
        }
        let window = callers.entry(caller.to_owned()).or_insert(Window { since: now, loads: 0 });
        if now.duration_since(window.since) >= WINDOW {
            *window = Window { since: now, loads: 0 };
        }
        let is_allowed = window.loads < self.per_caller;
        window.loads += u32::from(is_allowed);
        is_allowed
    }

    /// Takes back a load that failed: the caller must not be refused once auth-api is back.
    pub(super) fn give_back(&self, caller: &str) {
        if let Some(window) = self.lock().get_mut(caller) {
            window.loads = window.loads.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Window>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_share_of_every_minute() {
        let (limit, now) = (LoadLimit::new(2), Instant::now());
        assert!(limit.take("a", now) && limit.take("a", now));
        assert!(!limit.take("a", now));
        assert!(limit.take("b", now));
        limit.give_back("a");
        assert!(limit.take("a", now));
        assert!(!limit.take("a", now));
        assert!(limit.take("a", now + WINDOW));
    }

    #[test]
    fn callers_of_the_past_are_forgotten() {
        let (limit, now) = (LoadLimit::new(1), Instant::now());
        for number in 0..MAX_CALLERS {
            limit.take(&number.to_string(), now);
        }
        limit.take("next", now + WINDOW);
        assert_eq!(limit.lock().len(), 1);
    }
}
