//! Passwords: argon2id on a bounded number of threads, with the same work for every outcome.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{self, Output, ParamsString, PasswordHash, Salt},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// OWASP's floor: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// However many cores there are: what these work in is within the memory that the chart grants.
pub const MOST_THREADS: usize = 8;
/// Logins that may wait for their turn, per thread that hashes; with more, the wait would pass a second.
const WAITING_PER_THREAD: usize = 32;

/// Hashes and verifies. Shared by all workers.
pub struct Passwords {
    params: Params,
    /// What is verified where there is no hash, so that an unknown user costs as much as a known one.
    dummy: String,
    threads: Arc<Semaphore>,
    memory: Arc<Mutex<Vec<Memory>>>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// A thread to hash on.
pub struct Turn<'a> {
    passwords: &'a Passwords,
    permit: OwnedSemaphorePermit,
}

/// What one hash is worked out in; it grows to what the costliest hash so far took. Kept for the next one: what is given back, the allocator
/// keeps for each thread and arena that ever hashed, which adds up to many times what is in use.
type Memory = Vec<Block>;

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

// Their words could quote a hash.
impl From<argon2::Error> for PasswordError {
    fn from(_: argon2::Error) -> Self {
        Self::Failed
    }
}

impl From<argon2::password_hash::Error> for PasswordError {
    fn from(_: argon2::password_hash::Error) -> Self {
        Self::Failed
    }
}

impl From<phc::Error> for PasswordError {
    fn from(_: phc::Error) -> Self {
        Self::Failed
    }
}

impl Passwords {
    /// A pool with this many threads, each with 19 MiB to work in.
    pub fn new(threads: usize) -> Result<Self, PasswordError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
        let mut memory = Memory::new();
        let dummy = hash_now(&params, b"no password has this hash", &mut memory)?;
        Ok(Self {
            params,
            dummy,
            threads: Arc::new(Semaphore::new(threads)),
            memory: Arc::new(Mutex::new(vec![memory])),
            waiting: AtomicUsize::new(0),
            most_waiting: threads * WAITING_PER_THREAD,
        })
    }

    /// A thread of ours, as soon as one is free.
    pub async fn turn(&self) -> Result<Turn<'_>, PasswordError> {
        let place = Place::take(&self.waiting, self.most_waiting)?;
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| PasswordError::Failed)?;
        drop(place);
        Ok(Turn { passwords: self, permit })
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let params = self.params.clone();
        let turn = self.turn().await?;
        turn.run(move |memory| hash_now(&params, password.expose_secret().as_bytes(), memory)).await
    }
}

impl Turn<'_> {
    /// Checks a password against a PHC string; without one it does the same work and says [`Verdict::Wrong`].
    pub async fn verify(
        self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.passwords.dummy.clone());
        let params = self.passwords.params.clone();
        self.run(move |memory| {
            let password = password.expose_secret().as_bytes();
            let parsed = PasswordHash::new(&hash)?;
            let is_right = is_of(&parsed, password, memory)? && is_known;
            Ok(match (is_right, is_current(&parsed)) {
                (false, _) => Verdict::Wrong,
                (true, true) => Verdict::Right,
                (true, false) => Verdict::RightButOld(hash_now(&params, password, memory)?),
            })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Memory) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        // The permit goes along: a caller who hangs up does not free the thread before its time.
        let (pool, permit) = (Arc::clone(&self.passwords.memory), self.permit);
        let job = tokio::task::spawn_blocking(move || {
            let pooled = || pool.lock().unwrap_or_else(PoisonError::into_inner);
            // As many come to be as there are permits.
            let mut memory = pooled().pop().unwrap_or_default();
            let outcome = work(&mut memory);
            pooled().push(memory);
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

/// A PHC string with a salt of its own.
fn hash_now(params: &Params, password: &[u8], memory: &mut Memory) -> Result<String, PasswordError> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let salt: [u8; 16] = rand::random();
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    derive(&argon2, password, &salt, &mut out, memory)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params)?,
        salt: Some(Salt::new(&salt)?),
        hash: Some(Output::new(&out)?),
    };
    Ok(hash.to_string())
}

/// Whether a hash is this password's, by the parameters that it was made with.
fn is_of(hash: &PasswordHash, password: &[u8], memory: &mut Memory) -> Result<bool, PasswordError> {
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Err(PasswordError::Failed) };
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
    let argon2 = Argon2::new(Algorithm::try_from(hash.algorithm.as_str())?, version, Params::try_from(hash)?);
    let mut buffer = [0; Output::MAX_LENGTH];
    let out = buffer.get_mut(..expected.len()).ok_or(PasswordError::Failed)?;
    derive(&argon2, password, salt, out, memory)?;
    // Compared in constant time.
    Ok(Output::new(out)? == *expected)
}

fn derive(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
    out: &mut [u8],
    memory: &mut Memory,
) -> Result<(), PasswordError> {
    let blocks = argon2.params().block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let memory = memory.get_mut(..blocks).ok_or(PasswordError::Failed)?;
    Ok(argon2.hash_password_into_with_memory(password, salt, out, memory)?)
}

fn is_current(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn verify(
        passwords: &Passwords,
        password: &str,
        hash: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        passwords.turn().await?.verify(secret(password), hash).await
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn only_the_password_itself_is_right() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash(secret("SecurePass123!")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(verify(&passwords, "SecurePass123!", Some(hash.clone())).await.unwrap(), Verdict::Right);
        assert_eq!(verify(&passwords, "SecurePass123", Some(hash.clone())).await.unwrap(), Verdict::Wrong);
        assert_eq!(verify(&passwords, "", Some(hash)).await.unwrap(), Verdict::Wrong);
        assert_eq!(verify(&passwords, "no password has this hash", None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_with_old_parameters_is_made_anew() {
        let old = Params::new(8192, 1, 1, None).unwrap();
        let hash = hash_now(&old, b"p", &mut Memory::new()).unwrap();
        let passwords = Passwords::new(1).unwrap();
        let Verdict::RightButOld(new) = verify(&passwords, "p", Some(hash)).await.unwrap() else {
            panic!("the hash should be made anew");
        };
        assert_eq!(verify(&passwords, "p", Some(new)).await.unwrap(), Verdict::Right);
    }

    #[tokio::test]
    async fn hashes_of_the_library_are_understood() {
        use argon2::{PasswordHasher, PasswordVerifier};
        let passwords = Passwords::new(2).unwrap();
        for (algorithm, memory) in
            [(Algorithm::Argon2id, 8192), (Algorithm::Argon2i, 19_456), (Algorithm::Argon2id, 30_000)]
        {
            let params = Params::new(memory, 1, 1, None).unwrap();
            let library = Argon2::new(algorithm, Version::V0x13, params);
            let hash = library.hash_password_with_salt(b"p", b"0123456789abcdef").unwrap().to_string();
            assert_eq!(verify(&passwords, "q", Some(hash.clone())).await.unwrap(), Verdict::Wrong);
            let right = verify(&passwords, "p", Some(hash)).await.unwrap();
            assert!(matches!(right, Verdict::RightButOld(_)), "{right:?}");
        }
        let ours = passwords.hash(secret("p")).await.unwrap();
        assert!(Argon2::default().verify_password(b"p", ours.as_str()).is_ok());
        assert!(Argon2::default().verify_password(b"q", ours.as_str()).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_logins_work_in_the_memory_of_a_few() {
        let passwords = Arc::new(Passwords::new(2).unwrap());
        let attempts = (0..24).map(|_| {
            let passwords = Arc::clone(&passwords);
            async move { verify(&passwords, "p", None).await }
        });
        let outcomes = futures_util::future::join_all(attempts).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(Verdict::Wrong)), "{outcomes:?}");
        let memory = passwords.memory.lock().unwrap();
        let blocks: Vec<usize> = memory.iter().map(Vec::len).collect();
        assert!(blocks.len() <= 2, "{blocks:?}");
        assert!(blocks.iter().all(|count| *count == passwords.params.block_count()), "{blocks:?}");
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let passwords = Arc::new(Passwords::new(1).unwrap());
        let attempts = (0..WAITING_PER_THREAD + 8).map(|_| {
            let passwords = Arc::clone(&passwords);
            async move { verify(&passwords, "p", None).await }
        });
        let outcomes = futures_util::future::join_all(attempts).await;
        let refused = outcomes.iter().filter(|outcome| **outcome == Err(PasswordError::Busy)).count();
        assert!((1..=8).contains(&refused), "{refused} refused");
    }
}
