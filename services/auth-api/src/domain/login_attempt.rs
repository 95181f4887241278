//! An attempt to log in: it waits where too many failed before it, and what comes of it is counted.

use std::time::{Duration, Instant};

use super::{
    Identity,
    failure::{IDLE_LIFE, Kind, Limited, Subject, WINDOW, wait_everywhere, wait_of_network},
    network::Network,
};
use crate::store::{self, StoreError, failure::AccountRecord};

/// A network is an account's own for so long after a login from there.
pub const KNOWN_LIFE: Duration = Duration::from_hours(30 * 24);
/// A login from a network is noted once in so long.
const NOTED_LIFE: Duration = Duration::from_hours(24);

/// An attempt that may go on.
pub struct LoginAttempt<'a> {
    identity: &'a Identity,
    subject: Subject,
    began: Instant,
    /// Whether its account has logged in from there lately.
    is_known: bool,
    /// Whether a success would say nothing new.
    is_noted: bool,
}

/// Why an attempt may not begin.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    #[error(transparent)]
    Limited(#[from] Limited),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<'a> LoginAttempt<'a> {
    /// Begins one with what was submitted as the address, whether there is such a user or not.
    pub async fn begin(
        identity: &'a Identity,
        submitted: &str,
        network: Network,
    ) -> Result<Self, AttemptError> {
        let subject = Subject::new(&submitted.trim().to_lowercase(), network);
        let began = Instant::now();
        let connection = identity.db.connection().await?;
        let record = store::failure::find_account(&connection, &subject.key(Kind::Login)).await?;
        let is_known = record.known_for.is_some_and(|ago| ago < KNOWN_LIFE);
        let is_noted = record.known_for.is_some_and(|ago| ago < NOTED_LIFE) && record.here.count == 0;
        identity.failures.logins.check(binding(waits(&record), is_known))?;
        Ok(Self { identity, subject, began, is_known, is_noted })
    }

    /// Refuses it after all, if others that were under way have failed in the meantime.
    pub fn check(&self) -> Result<(), Limited> {
        let memory = &self.identity.failures.logins;
        let left =
            |subject| memory.get(&subject).map(|wait| wait.left_if_after(self.began)).unwrap_or_default();
        memory.check(binding(self.subjects().map(left), self.is_known))
    }

    /// Counts it as a failure; whether the next one has to wait.
    pub async fn fail(self) -> Result<bool, StoreError> {
        let connection = self.identity.db.connection().await?;
        let key = self.subject.key(Kind::Login);
        let record = store::failure::upsert_account(&connection, &key, IDLE_LIFE, WINDOW).await?;
        let waits = waits(&record);
        for (subject, wait) in self.subjects().into_iter().zip(waits) {
            if !wait.is_zero() {
                self.identity.failures.logins.learn(subject, wait);
            }
        }
        Ok(waits.iter().any(|wait| !wait.is_zero()))
    }

    /// Forgets the failures from there, and knows the place from now on.
    pub async fn succeed(self) -> Result<(), StoreError> {
        self.identity.failures.logins.forget(&self.subject);
        if self.is_noted {
            return Ok(());
        }
        let connection = self.identity.db.connection().await?;
        store::failure::delete_and_note_known(&connection, &self.subject.key(Kind::Login)).await
    }

    /// Whose failures count: the account's from there, the account's from everywhere, everybody's from there.
    fn subjects(&self) -> [Subject; 3] {
        [self.subject, self.subject.everywhere(), self.subject.everybody()]
    }
}

/// What each of the three makes wait.
fn waits(record: &AccountRecord) -> [Duration; 3] {
    [Kind::Login.wait(record.here), wait_everywhere(record.everywhere), wait_of_network(record.network)]
}

/// The one that counts. Whoever guesses from everywhere, or at everybody's, does not keep the owner out of where it has been before.
fn binding([here, everywhere, network]: [Duration; 3], is_known: bool) -> Duration {
    if is_known { here } else { here.max(everywhere).max(network) }
}
