//! Tokens that were verified in full and need not be again.

use std::sync::Arc;

use prometheus::IntCounter;
use quick_cache::{Lifecycle, UnitWeighter, sync::Cache};

use crate::{token_hash::TokenHash, verifier::VerifiedToken};

/// The longest that an entry is used without verifying the signature again, in seconds.
const MAX_AGE: i64 = 300;

/// A bounded cache of one verifier. Another verifier, with another issuer or audience, has one of its own.
pub(crate) struct TokenCache {
    entries: Cache<TokenHash, Entry, UnitWeighter, std::hash::RandomState, CountEvictions>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) token: Arc<VerifiedToken>,
    /// Seconds since the epoch.
    pub(crate) usable_until: i64,
}

#[derive(Clone)]
struct CountEvictions(IntCounter);

impl Lifecycle<TokenHash, Entry> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: TokenHash, _: Entry) {
        self.0.inc();
    }
}

impl TokenCache {
    /// Room for `capacity` tokens; evictions are counted.
    pub(crate) fn new(capacity: usize, evictions: IntCounter) -> Self {
        let entries = Cache::with(
            capacity,
            capacity as u64,
            UnitWeighter,
            std::hash::RandomState::new(),
            CountEvictions(evictions),
        );
        Self { entries }
    }

    pub(crate) fn get(&self, hash: &TokenHash) -> Option<Entry> {
        self.entries.get(hash)
    }

    /// Keeps a token that passed every check at `now`. Its expiry is checked at every use; here counts that the signature is
    /// verified again now and then.
    pub(crate) fn insert(&self, hash: TokenHash, token: Arc<VerifiedToken>, now: i64) {
        // Brought by several at once, the first to be verified stays: to replace it would look like an eviction.
        if self.entries.contains_key(&hash) {
            return;
        }
        let usable_until = now.saturating_add(MAX_AGE);
        self.entries.insert(hash, Entry { token, usable_until });
    }

    pub(crate) fn remove(&self, hash: &TokenHash) {
        self.entries.remove(hash);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
