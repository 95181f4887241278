//! Passwords: argon2id on a bounded number of threads, with the same work for every outcome.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// OWASP's floor: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Logins that may wait for their turn, per thread that hashes; with more, the wait would pass a second.
const WAITING_PER_THREAD: usize = 32;

/// Hashes and verifies. Shared by all workers.
pub struct Passwords {
    hasher: Argon2<'static>,
    /// What is verified where there is no hash, so that an unknown user costs as much as a known one.
    dummy: String,
    threads: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Wrong,
    Right,
    /// Right, and made with other parameters than today's: here is the hash to keep instead.
    RightButOld(String),
}

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many logins at once.
    #[error("too many logins at once")]
    Busy,
    #[error("hashing failed")]
    Failed,
}

impl Passwords {
    /// A pool with this many threads; each needs 19 MiB while it works.
    pub fn new(threads: usize) -> Result<Self, PasswordError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| PasswordError::Failed)?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash_now(&hasher, b"no password has this hash")?;
        Ok(Self {
            hasher,
            dummy,
            threads: Arc::new(Semaphore::new(threads)),
            waiting: AtomicUsize::new(0),
            most_waiting: threads * WAITING_PER_THREAD,
        })
    }

    /// Checks a password against a PHC string; without one it does the same work and says [`Verdict::Wrong`].
    pub async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.clone());
        let hasher = self.hasher.clone();
        self.run(move || {
            let password = password.expose_secret().as_bytes();
            let parsed = PasswordHash::new(&hash).map_err(|_| PasswordError::Failed)?;
            let is_right = hasher.verify_password(password, &parsed).is_ok() && is_known;
            Ok(match (is_right, is_current(&parsed)) {
                (false, _) => Verdict::Wrong,
                (true, true) => Verdict::Right,
                (true, false) => Verdict::RightButOld(hash_now(&hasher, password)?),
            })
        })
        .await
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let hasher = self.hasher.clone();
        self.run(move || hash_now(&hasher, password.expose_secret().as_bytes())).await
    }

    /// Runs `work` on a thread of its own, as soon as one of ours is free.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Place::take(&self.waiting, self.most_waiting)?;
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| PasswordError::Failed)?;
        drop(place);
        // The permit goes along: a caller who hangs up does not free the thread before its time.
        let job = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(permit);
            outcome
        });
        job.await.map_err(|_| PasswordError::Failed)?
    }
}

/// A place in the queue, given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Result<Self, PasswordError> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= most { Err(PasswordError::Busy) } else { Ok(place) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hash_now(hasher: &Argon2<'_>, password: &[u8]) -> Result<String, PasswordError> {
    let salt: [u8; 16] = rand::random();
    let hash = hasher.hash_password_with_salt(password, &salt).map_err(|_| PasswordError::Failed)?;
    Ok(hash.to_string())
}

fn is_current(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn only_the_password_itself_is_right() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash(secret("SecurePass123!")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(
            passwords.verify(secret("SecurePass123!"), Some(hash.clone())).await.unwrap(),
            Verdict::Right
        );
        assert_eq!(
            passwords.verify(secret("SecurePass123"), Some(hash.clone())).await.unwrap(),
            Verdict::Wrong
        );
        assert_eq!(passwords.verify(secret(""), Some(hash)).await.unwrap(), Verdict::Wrong);
        assert_eq!(
            passwords.verify(secret("no password has this hash"), None).await.unwrap(),
            Verdict::Wrong
        );
    }

    #[tokio::test]
    async fn a_hash_with_old_parameters_is_made_anew() {
        let old = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8192, 1, 1, None).unwrap());
        let hash = hash_now(&old, b"p").unwrap();
        let passwords = Passwords::new(1).unwrap();
        let Verdict::RightButOld(new) = passwords.verify(secret("p"), Some(hash)).await.unwrap() else {
            panic!("the hash should be made anew");
        };
        assert_eq!(passwords.verify(secret("p"), Some(new)).await.unwrap(), Verdict::Right);
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let passwords = Arc::new(Passwords::new(1).unwrap());
        let attempts = (0..WAITING_PER_THREAD + 8).map(|_| {
            let passwords = Arc::clone(&passwords);
            async move { passwords.verify(secret("p"), None).await }
        });
        let outcomes = futures_util::future::join_all(attempts).await;
        let refused = outcomes.iter().filter(|outcome| **outcome == Err(PasswordError::Busy)).count();
        assert!((1..=8).contains(&refused), "{refused} refused");
    }
}
