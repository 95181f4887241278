//! An attempt to log in: it waits where too many failed before it, and what comes of it is counted.

use std::time::{Duration, Instant};

use super::{
    Identity,
    failure::{ACCOUNT_WINDOW, IDLE_LIFE, Kind, Limited, Subject, wait_everywhere},
    network::Network,
};
use crate::store::{self, StoreError};

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
        let here = Kind::Login.wait(record.here);
        // Whoever guesses from everywhere does not keep the owner out of where it has been before.
        let wait = if is_known { here } else { here.max(wait_everywhere(record.everywhere)) };
        identity.failures.logins.check(wait)?;
        Ok(Self { identity, subject, began, is_known, is_noted })
    }

    /// Refuses it after all, if others that were under way have failed in the meantime.
    pub fn check(&self) -> Result<(), Limited> {
        let memory = &self.identity.failures.logins;
        let left = |subject| memory.get(&subject).map(|wait| wait.left_if_after(self.began));
        let here = left(self.subject).unwrap_or_default();
        let everywhere = left(self.subject.everywhere()).unwrap_or_default();
        memory.check(if self.is_known { here } else { here.max(everywhere) })
    }

    /// Counts it as a failure; whether the next one has to wait.
    pub async fn fail(self) -> Result<bool, StoreError> {
        let connection = self.identity.db.connection().await?;
        let key = self.subject.key(Kind::Login);
        let record = store::failure::upsert_account(&connection, &key, IDLE_LIFE, ACCOUNT_WINDOW).await?;
        let (here, everywhere) = (Kind::Login.wait(record.here), wait_everywhere(record.everywhere));
        for (subject, wait) in [(self.subject, here), (self.subject.everywhere(), everywhere)] {
            if !wait.is_zero() {
                self.identity.failures.logins.learn(subject, wait);
            }
        }
        Ok(!here.is_zero() || !everywhere.is_zero())
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
}
