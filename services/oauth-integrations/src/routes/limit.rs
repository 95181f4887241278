//! How often one address may start and come back, and one client be handed tokens. In memory: each replica counts for itself.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use actix_web::HttpRequest;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};

use super::address::{TrustedProxies, household};
use crate::{config::Config, error::ApiError};

/// After so many questions those are forgotten who may do everything again.
const FORGET_EVERY: u32 = 4096;

/// The limits, and who has used how much of them.
pub struct Limits {
    proxies: TrustedProxies,
    browser: Keyed<IpAddr>,
    hand_out: Keyed<String>,
}

impl Limits {
    /// The limits in the settings.
    pub fn new(config: &Config) -> Self {
        Self {
            proxies: TrustedProxies::new(config.trusted_proxies.clone()),
            browser: Keyed::new(config.rate_limit_browser_per_minute),
            hand_out: Keyed::new(config.rate_limit_hand_out_per_minute),
        }
    }

    /// One more start or callback from the request's address.
    pub fn browser(&self, request: &HttpRequest) -> Result<(), ApiError> {
        match self.proxies.client_of(request) {
            Some(address) => self.browser.take(&household(address)),
            None => Ok(()),
        }
    }

    /// One more token for the client.
    pub fn hand_out(&self, client_id: &str) -> Result<(), ApiError> {
        self.hand_out.take(&client_id.to_owned())
    }
}

struct Keyed<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), asked: AtomicU32::new(0) }
    }

    fn take(&self, key: &K) -> Result<(), ApiError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).map_err(|refusal| ApiError::RateLimited {
            retry_after: refusal.wait_time_from(self.clock.now()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_measure() {
        let keyed = Keyed::new(3);
        for _ in 0..3 {
            assert!(keyed.take(&"a").is_ok());
        }
        let Err(ApiError::RateLimited { retry_after }) = keyed.take(&"a") else { panic!("a fourth one") };
        assert!(!retry_after.is_zero() && retry_after.as_secs() <= 20);
        assert!(keyed.take(&"b").is_ok());
    }
}
