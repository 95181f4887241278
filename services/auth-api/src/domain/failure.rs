//! Failures to prove who one is: how long the next attempt waits, and what this replica has learned of it.

use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::network::Network;
use crate::store::failure::{FailureKey, FailureRecord};

/// Failures from one network are forgotten when the last one is so long ago.
pub const IDLE_LIFE: Duration = Duration::from_hours(1);
/// The failures of an account from everywhere, and those of every account from one network, count from the first one on for so long.
pub const WINDOW: Duration = Duration::from_hours(1);
/// A human being mistypes that often; from this one on each failure makes the next attempt wait, twice as long each time.
const FIRST_TO_WAIT: u32 = 5;
/// The longest wait after failed logins from one network.
const LONGEST_LOGIN_WAIT: Duration = Duration::from_mins(15);
/// The longest wait after wrong secrets. Nobody guesses 256 bits; a service that was given the right one is not to wait for long.
const LONGEST_CLIENT_WAIT: Duration = Duration::from_mins(1);
/// OWASP ASVS 4.0.3, V2.2.1, allows 100 failures of an account within any hour; two windows may touch one.
const MOST_IN_WINDOW: u32 = 50;
/// The people of a network mistype that often in a window; from then on each failure makes those wait who have not logged in from there.
const MOST_OF_NETWORK: u32 = 100;
/// The longest wait after failures of other accounts: whoever tries one password on many hardly gets on, and a newcomer gets in.
const LONGEST_NETWORK_WAIT: Duration = Duration::from_mins(1);
/// A failure that could not be counted makes wait so long.
pub const UNCOUNTED_WAIT: Duration = Duration::from_secs(1);
/// Identifiers and networks kept in memory, of each kind.
const REMEMBERED: usize = 10_000;
/// Wrong secrets counted at once: a flood of them leaves connections to everybody else.
const COUNTED_AT_ONCE: usize = 2;

/// Too many failures came before: the time until the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failures came before")]
pub struct Limited(pub Duration);

/// Who is guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Login,
    Client,
}

/// Who is guessed at, known or not, and from where. What was submitted is not kept: it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `None` is everybody.
    identifier: Option<[u8; 32]>,
    /// `None` is everywhere.
    network: Option<Network>,
}

/// What this replica has learned of failures.
pub struct Failures {
    pub logins: Memory,
    pub clients: Memory,
    /// Places for those that count a wrong secret.
    pub counting: Semaphore,
    /// Where clients have proven here who they are.
    proven: Cache<Subject, ()>,
}

/// The waits of one kind that this replica has heard of.
pub struct Memory {
    waits: Cache<Subject, Wait>,
    limited: IntCounter,
}

/// A wait, which may be over.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    learned_at: Instant,
    until: Instant,
}

impl Failures {
    /// Remembers none yet; registers its counter.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new(
            "authentications_limited_total",
            "Logins and client authentications refused because too many had failed before, by kind.",
        );
        let limited = IntCounterVec::new(options, &["kind"])?;
        registry.register(Box::new(limited.clone()))?;
        let memory = |kind: Kind| Memory {
            waits: Cache::new(REMEMBERED),
            limited: limited.with_label_values(&[kind.name()]),
        };
        Ok(Self {
            logins: memory(Kind::Login),
            clients: memory(Kind::Client),
            counting: Semaphore::new(COUNTED_AT_ONCE),
            proven: Cache::new(REMEMBERED),
        })
    }

    /// Remembers that a client has proven who it is.
    pub fn note_proven(&self, subject: Subject) {
        if !self.is_proven(&subject) {
            self.proven.insert(subject, ());
        }
    }

    /// Whether a client has proven from there who it is.
    pub fn is_proven(&self, subject: &Subject) -> bool {
        self.proven.get(subject).is_some()
    }
}

impl Memory {
    /// What is remembered, be it over or not.
    pub fn get(&self, subject: &Subject) -> Option<Wait> {
        self.waits.get(subject)
    }

    /// Remembers a wait that begins now, be it none. It does not shorten one that was learned before: of several failures at once the
    /// first may be heard of last.
    pub fn learn(&self, subject: Subject, wait: Duration) {
        let now = Instant::now();
        let before = self.get(&subject).map_or(now, |wait| wait.until);
        self.waits.insert(subject, Wait { learned_at: now, until: before.max(now + wait) });
    }

    /// Forgets a wait.
    pub fn forget(&self, subject: &Subject) {
        self.waits.remove(subject);
    }

    /// Refuses where there is something to wait for.
    pub fn check(&self, wait: Duration) -> Result<(), Limited> {
        if wait.is_zero() { Ok(()) } else { Err(self.refuse(wait)) }
    }

    /// Counts a refusal.
    pub fn refuse(&self, wait: Duration) -> Limited {
        self.limited.inc();
        Limited(wait)
    }
}

impl Wait {
    /// What is left of it.
    pub fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// What is left of it, if it was learned after that moment.
    pub fn left_if_after(self, moment: Instant) -> Duration {
        if self.learned_at > moment { self.left() } else { Duration::ZERO }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Client => "client",
        }
    }

    fn longest_wait(self) -> Duration {
        match self {
            Self::Login => LONGEST_LOGIN_WAIT,
            Self::Client => LONGEST_CLIENT_WAIT,
        }
    }

    /// How long the next attempt from a network still waits after its failures.
    pub fn wait(self, record: FailureRecord) -> Duration {
        doubled_from(FIRST_TO_WAIT, record, self.longest_wait())
    }
}

/// How long an account's next attempt from an unknown network still waits after failures from everywhere.
pub fn wait_everywhere(record: FailureRecord) -> Duration {
    if record.count < MOST_IN_WINDOW { Duration::ZERO } else { record.left }
}

/// How long a network's next attempt on an account that is not at home there still waits after failures of whatever accounts.
pub fn wait_of_network(record: FailureRecord) -> Duration {
    doubled_from(MOST_OF_NETWORK, record, LONGEST_NETWORK_WAIT)
}

/// What is left of a wait of a second from this failure on, twice as long after each further one.
fn doubled_from(first: u32, record: FailureRecord, longest: Duration) -> Duration {
    let Some(doublings) = record.count.checked_sub(first) else { return Duration::ZERO };
    let wait = Duration::from_secs(1_u64.checked_shl(doublings).unwrap_or(u64::MAX));
    wait.min(longest).saturating_sub(record.age)
}

impl Subject {
    /// What was submitted as identifier, by somebody in this network.
    pub fn new(identifier: &str, network: Network) -> Self {
        Self { identifier: Some(Sha256::digest(identifier).into()), network: Some(network) }
    }

    /// The same, from everywhere.
    #[must_use]
    pub fn everywhere(self) -> Self {
        Self { network: None, ..self }
    }

    /// Everybody, from there.
    #[must_use]
    pub fn everybody(self) -> Self {
        Self { identifier: None, ..self }
    }

    /// How the store knows it.
    pub fn key(self, kind: Kind) -> FailureKey {
        let network = self.network.map(|network| network.to_string()).unwrap_or_default();
        let identifier = self.identifier.map(Vec::from).unwrap_or_default();
        FailureKey { kind: kind.name(), identifier, network }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(kind: Kind, count: u32, age: u64) -> u64 {
        kind.wait(FailureRecord { count, age: Duration::from_secs(age), left: IDLE_LIFE }).as_secs()
    }

    #[test]
    fn p8_each_failure_from_the_fifth_on_doubles_the_wait() {
        let waits: Vec<u64> = (0..=16).map(|count| wait(Kind::Login, count, 0)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(wait(Kind::Login, u32::MAX, 0), 900, "nothing is locked for good");
        assert_eq!(wait(Kind::Client, u32::MAX, 0), 60);
        assert_eq!((wait(Kind::Login, 10, 30), wait(Kind::Login, 10, 33)), (2, 0));
    }

    #[test]
    fn p8_no_hour_has_more_than_a_hundred_failures_of_an_account() {
        let record = |count| FailureRecord { count, age: Duration::ZERO, left: Duration::from_secs(7) };
        assert!(wait_everywhere(record(MOST_IN_WINDOW - 1)).is_zero());
        assert_eq!(wait_everywhere(record(MOST_IN_WINDOW)), Duration::from_secs(7));
        assert!(2 * MOST_IN_WINDOW <= 100 && WINDOW >= Duration::from_hours(1));
        assert!(LONGEST_LOGIN_WAIT < IDLE_LIFE, "a count lives longer than its wait");
    }

    #[test]
    fn a_network_of_many_failures_is_slowed_and_never_shut() {
        let wait = |count, age| {
            wait_of_network(FailureRecord { count, age: Duration::from_secs(age), left: WINDOW }).as_secs()
        };
        let waits: Vec<u64> = (99..=108).map(|count| wait(count, 0)).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!((wait(u32::MAX, 0), wait(u32::MAX, 60)), (60, 0));
    }

    #[test]
    fn only_what_was_learned_since_counts_for_one_who_asked_before() {
        let failures = Failures::register(&Registry::new()).unwrap();
        let subject = Subject::new("somebody", Network::of(None));
        let before = Instant::now();
        failures.logins.learn(subject, LONGEST_LOGIN_WAIT);
        let wait = failures.logins.get(&subject).unwrap();
        assert!(!wait.left_if_after(before).is_zero());
        assert!(wait.left_if_after(Instant::now()).is_zero());
        failures.logins.learn(subject, UNCOUNTED_WAIT);
        assert!(failures.logins.get(&subject).unwrap().left() > UNCOUNTED_WAIT, "it is not shortened");
        assert!(failures.logins.get(&subject.everywhere()).is_none());
        assert!(failures.logins.get(&subject.everybody()).is_none());
        assert!(failures.clients.get(&subject).is_none());
        failures.logins.forget(&subject);
        assert!(failures.logins.get(&subject).is_none());
    }
}
