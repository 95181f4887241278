//! The keys of one JWK Set that may verify an access token.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use josekit::{
    jwk::Jwk,
    jws::{JwsVerifier, RS256, alg::rsassa::RsassaJwsVerifier},
};

use super::{JsonWebKeySet, SourceError};

/// More keys than any rotation needs; the rest is ignored.
const MAX_KEYS: usize = 64;

/// One RSA public key, parsed once: building the verifier costs six times a verification.
pub struct VerificationKey {
    kid: Box<str>,
    modulus: Box<str>,
    exponent: Box<str>,
    verifier: RsassaJwsVerifier,
    withdrawn: AtomicBool,
}

/// The usable keys of a JWK Set by `kid`.
#[derive(Default)]
pub struct KeySet {
    keys: HashMap<Box<str>, Arc<VerificationKey>>,
    left_out: usize,
}

impl VerificationKey {
    /// Parses a JWK that may verify RS256: RSA of 2048 bits or more, `use`, `key_ops` and `alg` absent or fitting.
    fn parse(jwk: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(serde_json::Value::as_str);
        let (kid, modulus, exponent) = (text("kid")?, text("n")?, text("e")?);
        if kid.is_empty() {
            return None;
        }
        let mut verifier = RS256.verifier_from_jwk(&Jwk::from_map(jwk.clone()).ok()?).ok()?;
        // The set is looked up by kid, so the verifier need not compare it again.
        verifier.remove_key_id();
        Some(Self {
            kid: kid.into(),
            modulus: modulus.into(),
            exponent: exponent.into(),
            verifier,
            withdrawn: AtomicBool::new(false),
        })
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Whether a later fetch no longer brought this key: what it signed counts no more, cached or not.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }

    /// Whether `signature` is this key's RS256 signature of `message`.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify(message, signature).is_ok()
    }

    fn is_same_key(&self, other: &Self) -> bool {
        self.modulus == other.modulus && self.exponent == other.exponent
    }
}

impl KeySet {
    /// The key with this id.
    pub fn get(&self, kid: &str) -> Option<&Arc<VerificationKey>> {
        self.keys.get(kid)
    }

    /// Whether there is no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the set do not count: not fit for RS256, a second one with an id, or too many.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether any key of `fetched` counts.
    pub(super) fn is_any_usable(fetched: &JsonWebKeySet) -> bool {
        fetched.keys.iter().take(MAX_KEYS).any(|jwk| VerificationKey::parse(jwk).is_some())
    }

    /// The usable keys of `fetched`. Keys that `self` already has keep their identity, so that cached tokens stay good.
    ///
    /// The first of two keys with one id wins. A set without one usable key is an error: it counts as a failed fetch.
    pub(super) fn succeeded_by(&self, fetched: &JsonWebKeySet) -> Result<Self, SourceError> {
        let mut keys: HashMap<Box<str>, Arc<VerificationKey>> = HashMap::new();
        for jwk in fetched.keys.iter().take(MAX_KEYS) {
            let Some(key) = VerificationKey::parse(jwk) else {
                tracing::debug!("a key of the JWKS is not usable for RS256");
                continue;
            };
            if keys.contains_key(&key.kid) {
                tracing::warn!("the JWKS has two keys with one id; the first counts");
                continue;
            }
            let key = match self.get(&key.kid) {
                Some(known) if known.is_same_key(&key) => Arc::clone(known),
                _ => Arc::new(key),
            };
            keys.insert(key.kid.clone(), key);
        }
        if keys.is_empty() {
            return Err(SourceError::Unusable("no usable key".to_owned()));
        }
        let left_out = fetched.keys.len() - keys.len();
        Ok(Self { keys, left_out })
    }

    /// Marks every key that `successor` does not have: entries that it verified die with it.
    pub(super) fn withdraw_all_but(&self, successor: &Self) {
        for (kid, key) in &self.keys {
            if !successor.get(kid).is_some_and(|kept| Arc::ptr_eq(kept, key)) {
                key.withdrawn.store(true, Ordering::Relaxed);
            }
        }
    }
}
