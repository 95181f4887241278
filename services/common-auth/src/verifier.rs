//! Checks an access token without asking anybody: RS256 only, RFC 9068's claims, the deny-list, and a cache of verified tokens.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    claims::AccessTokenClaims,
    error::AuthError,
    keys::{JwksManager, VerificationKey},
    metrics::AuthMetrics,
    principal::Principal,
    revocation::RevocationWatcher,
    token_cache::TokenCache,
    token_hash::TokenHash,
    unverified::{MAX_TOKEN_BYTES, Unverified},
};

/// The most that `leeway_seconds` may be: clocks that are further apart want mending.
pub(crate) const MAX_LEEWAY_SECONDS: i64 = 300;
/// What is granted where nothing is said.
pub(crate) const LEEWAY_SECONDS: i64 = 30;

/// What a token must say to be accepted.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// `AUTH_API_ISSUER`, compared byte for byte.
    pub issuer: String,
    /// `JWT_AUDIENCE`: one of the token's audiences.
    pub audience: String,
    /// Clock difference granted for `exp`, `nbf` and `iat`, in seconds; what is outside of 0 to 300 counts as
    /// the nearer of the two.
    pub leeway_seconds: i64,
    /// A token that lives longer is refused, in seconds.
    pub max_lifetime_seconds: i64,
    /// Verified tokens kept in memory; 0 turns the cache off.
    pub cache_capacity: usize,
}

impl VerifierSettings {
    /// The defaults for one issuer and audience: 30 s of leeway, a day of lifetime, 100,000 cached tokens.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            leeway_seconds: LEEWAY_SECONDS,
            max_lifetime_seconds: 86_400,
            cache_capacity: 100_000,
        }
    }
}

/// A token that passed every check, and whom it speaks for.
// In this order in memory: what every request looks at is in the first cache lines, and mostly no other is fetched.
#[repr(C)]
pub struct VerifiedToken {
    /// The state of the deny-list that it passed last; 0 before it was held against any.
    pub(crate) passed: AtomicU64,
    /// Seconds since the epoch, like the others.
    pub expires_at: i64,
    /// The earliest time there is, where the token does not say.
    pub not_before: i64,
    /// The key that signed it; none where auth-api vouched for the token by introspection.
    pub(crate) key: Option<Arc<VerificationKey>>,
    /// Where checks of the caller's rights are counted. Kept here since sharing it anew for each request would have the workers
    /// fight over its reference count.
    pub(crate) metrics: Arc<AuthMetrics>,
    pub principal: Principal,
    pub issued_at: i64,
    pub jti: String,
    pub subject: String,
    pub client_id: String,
    pub session_id: Option<Uuid>,
    pub org_id: Option<Uuid>,
}

/// Which token a session or ticket was made from: enough to tell whether it was revoked since, and nothing that opens anything.
/// Revocations are remembered as long as access tokens live; what lives longer has to ask again by other means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenOrigin {
    pub jti: String,
    pub subject: String,
    pub client_id: String,
    pub session_id: Option<Uuid>,
    pub org_id: Option<Uuid>,
    /// Seconds since the epoch.
    pub issued_at: i64,
    pub key_id: Option<String>,
}

impl VerifiedToken {
    pub(crate) fn new(
        claims: &AccessTokenClaims,
        key: Option<Arc<VerificationKey>>,
        metrics: &Arc<AuthMetrics>,
    ) -> Option<Self> {
        Some(Self {
            principal: Principal::from_claims(claims)?,
            jti: claims.jti.clone(),
            subject: claims.sub.clone(),
            client_id: claims.client_id.clone(),
            session_id: claims.sid,
            org_id: claims.org_id,
            issued_at: claims.iat,
            not_before: claims.nbf.unwrap_or(i64::MIN),
            expires_at: claims.exp,
            key,
            metrics: Arc::clone(metrics),
            passed: AtomicU64::new(0),
        })
    }

    /// What a revocation can name of this token, for what is made from it and outlives the request.
    pub fn origin(&self) -> TokenOrigin {
        TokenOrigin {
            jti: self.jti.clone(),
            subject: self.subject.clone(),
            client_id: self.client_id.clone(),
            session_id: self.session_id,
            org_id: self.org_id,
            issued_at: self.issued_at,
            key_id: self.key_id().map(str::to_owned),
        }
    }

    /// The `kid` of the key that signed it.
    pub fn key_id(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.kid())
    }
}

/// Verifies the access tokens of one issuer for one audience.
pub struct Verifier {
    settings: VerifierSettings,
    keys: Arc<JwksManager>,
    revocations: Arc<RevocationWatcher>,
    cache: Option<TokenCache>,
    metrics: Arc<AuthMetrics>,
}

impl Verifier {
    /// A verifier with these sources.
    pub fn new(
        mut settings: VerifierSettings,
        keys: Arc<JwksManager>,
        revocations: Arc<RevocationWatcher>,
        metrics: Arc<AuthMetrics>,
    ) -> Self {
        settings.leeway_seconds = settings.leeway_seconds.clamp(0, MAX_LEEWAY_SECONDS);
        let cache = (settings.cache_capacity > 0)
            .then(|| TokenCache::new(settings.cache_capacity, metrics.token_cache_evictions.clone()));
        Self { settings, keys, revocations, cache, metrics }
    }

    /// The keys in use.
    pub fn keys(&self) -> &Arc<JwksManager> {
        &self.keys
    }

    /// The revocations in force.
    pub fn revocations(&self) -> &Arc<RevocationWatcher> {
        &self.revocations
    }

    /// Checks a token against the clock of this machine.
    ///
    /// # Errors
    /// [`AuthError::TokenExpired`], [`AuthError::InvalidToken`], or [`AuthError::Unavailable`] while no key is known.
    pub async fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        self.verify_at(token, unix_now()).await
    }

    /// Checks a token as of `now`, in seconds since the epoch.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub async fn verify_at(&self, token: &str, now: i64) -> Result<Arc<VerifiedToken>, AuthError> {
        match self.verify_cached_at(token.as_bytes(), now) {
            Ok(outcome) => outcome,
            Err(hash) => self.verify_missed_at(token, hash, now).await,
        }
    }

    /// Goes on where [`Verifier::verify_cached_at`] had no answer.
    pub(crate) async fn verify_missed_at(
        &self,
        token: &str,
        hash: TokenHash,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, AuthError> {
        if self.cache.is_some() {
            self.metrics.token_cache_misses.inc();
        }
        let started = Instant::now();
        let outcome = self.verify_in_full(token, hash, now).await;
        self.observe(started, &outcome);
        outcome
    }

    /// The answer for a token that was verified before, which needs no waiting; else the hash to go on with.
    pub(crate) fn verify_cached_at(
        &self,
        token: &[u8],
        now: i64,
    ) -> Result<Result<Arc<VerifiedToken>, AuthError>, TokenHash> {
        let Some(cache) = &self.cache else { return Err(TokenHash::default()) };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenHash::default());
        }
        let started = Instant::now();
        let hash = TokenHash::of(token);
        let Some(entry) = cache.get(&hash) else { return Err(hash) };
        let withdrawn = entry.token.key.as_ref().is_some_and(|key| key.is_withdrawn());
        if withdrawn || now >= entry.usable_until {
            cache.remove(&hash);
            return Err(hash);
        }
        self.metrics.token_cache_hits.inc();
        let outcome = self.check_as_of(&entry.token, now).map(|()| entry.token);
        self.observe(started, &outcome);
        Ok(outcome)
    }

    async fn verify_in_full(
        &self,
        token: &str,
        hash: TokenHash,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, AuthError> {
        let unverified = Unverified::decode(token)?;
        // Tokens of other systems, and stale ones, go before a key is looked for: they must not cost auth-api a fetch.
        if unverified.claims.iss != self.settings.issuer {
            return Err(AuthError::InvalidToken("issuer"));
        }
        if !unverified.claims.aud.contains(&self.settings.audience) {
            return Err(AuthError::InvalidToken("audience"));
        }
        self.check_expiry(unverified.claims.exp, now)?;
        let key = self.keys.key_or_fetch(&unverified.kid).await?;
        if !key.has_signed(unverified.signing_input.as_bytes(), &unverified.signature) {
            return Err(AuthError::InvalidToken("signature"));
        }
        let token = self.accept(&unverified.claims, Some(key), now)?;
        if let Some(cache) = &self.cache {
            cache.insert(hash, Arc::clone(&token), now);
            self.metrics.token_cache_entries.set(i64::try_from(cache.len()).unwrap_or(i64::MAX));
        }
        Ok(token)
    }

    /// The checks of genuine claims.
    fn accept(
        &self,
        claims: &AccessTokenClaims,
        key: Option<Arc<VerificationKey>>,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, AuthError> {
        if claims.iat > now.saturating_add(self.settings.leeway_seconds) {
            return Err(AuthError::InvalidToken("issued_in_the_future"));
        }
        if claims.exp.saturating_sub(claims.iat) > self.settings.max_lifetime_seconds {
            return Err(AuthError::InvalidToken("lifetime"));
        }
        let token =
            VerifiedToken::new(claims, key, &self.metrics).ok_or(AuthError::InvalidToken("subject"))?;
        self.check_as_of(&token, now)?;
        Ok(Arc::new(token))
    }

    /// What can change after a token was verified: the time, and whether it was revoked.
    fn check_as_of(&self, token: &VerifiedToken, now: i64) -> Result<(), AuthError> {
        self.check_expiry(token.expires_at, now)?;
        let latest = now.saturating_add(self.settings.leeway_seconds);
        if latest < token.not_before {
            return Err(AuthError::InvalidToken("not_yet_valid"));
        }
        if self.revocations.is_revoked(token) {
            return Err(AuthError::InvalidToken("revoked"));
        }
        Ok(())
    }

    fn check_expiry(&self, expires_at: i64, now: i64) -> Result<(), AuthError> {
        if now < expires_at.saturating_add(self.settings.leeway_seconds) {
            return Ok(());
        }
        Err(AuthError::TokenExpired)
    }

    fn observe(&self, started: Instant, outcome: &Result<Arc<VerifiedToken>, AuthError>) {
        self.metrics.validation_duration.observe(started.elapsed());
        self.metrics.count_validation(outcome);
        if let Err(error) = outcome {
            tracing::debug!(reason = error.reason(), "Token validation failed");
        }
    }
}

pub(crate) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs().cast_signed())
}
