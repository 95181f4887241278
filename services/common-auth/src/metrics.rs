//! The counters of token checks, under the names of the migration plan (spec 001).

use std::{sync::Arc, time::Duration};

use prometheus::{
    Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::{Collector, Desc},
    proto,
};

use crate::{
    error::AuthError,
    sharded::{Counter, Histogram},
};

/// Half a microsecond, which a cached token takes, to a second, which a check at auth-api may.
const VALIDATION_BUCKETS: [f64; 16] =
    [5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 1.0];

/// Every metric of this crate. Cached validations count like full ones.
pub struct AuthMetrics {
    validations: Validations,
    pub validation_duration: Histogram<{ VALIDATION_BUCKETS.len() }>,
    pub permission_checks: Counter,
    pub permission_denied: IntCounter,
    pub jwks_refreshes: IntCounter,
    pub jwks_refresh_failures: IntCounter,
    pub jwks_keys_left_out: IntGauge,
    pub key_cache_hits: IntCounter,
    pub key_cache_misses: IntCounter,
    pub token_cache_hits: Counter,
    pub token_cache_misses: IntCounter,
    pub token_cache_evictions: IntCounter,
    pub token_cache_entries: IntGauge,
    /// Seconds since auth-api last answered about revocations.
    pub revocation_feed_age: Gauge,
    pub revocations: IntGauge,
}

/// Token checks by their result.
#[derive(Clone)]
struct Validations {
    refused: IntCounterVec,
    /// The common outcome: looking a label up costs more than the check of a cached token.
    valid: Counter,
}

impl Collector for Validations {
    fn desc(&self) -> Vec<&Desc> {
        self.refused.desc()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut families = self.refused.collect();
        let mut label = proto::LabelPair::default();
        label.set_name("result".to_owned());
        label.set_value("valid".to_owned());
        let mut valid = self.valid.metric();
        valid.set_label(vec![label]);
        if let Some(family) = families.first_mut() {
            family.mut_metric().push(valid);
        }
        families
    }
}

impl AuthMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry already has one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Arc<Self>> {
        let (name, help) = ("oauth2_token_validations_total", "Access tokens checked, by result.");
        let validations = Validations {
            refused: IntCounterVec::new(Opts::new(name, help), &["result"])?,
            valid: Counter::new(name, help)?,
        };
        registry.register(Box::new(validations.clone()))?;
        let validation_duration = Histogram::new(
            "oauth2_token_validation_duration_seconds",
            "Time taken by a token check.",
            VALIDATION_BUCKETS.map(Duration::from_secs_f64),
        )?;
        registry.register(Box::new(validation_duration.clone()))?;
        let revocation_feed_age = Gauge::new(
            "revocation_feed_age_seconds",
            "Time since auth-api last answered about revocations.",
        )?;
        registry.register(Box::new(revocation_feed_age.clone()))?;

        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        // Of what every request does.
        let busy_counter = |name: &str, help: &str| -> prometheus::Result<Counter> {
            let counter = Counter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Arc::new(Self {
            validations,
            validation_duration,
            permission_checks: busy_counter(
                "oauth2_permission_checks_total",
                "Checks of a permission, role or scope.",
            )?,
            permission_denied: counter(
                "oauth2_permission_denied_total",
                "Checks of a permission, role or scope that refused.",
            )?,
            jwks_refreshes: counter("jwks_refresh_total", "Attempts to fetch the keys.")?,
            jwks_refresh_failures: counter(
                "jwks_refresh_failures_total",
                "Attempts to fetch the keys that failed.",
            )?,
            jwks_keys_left_out: gauge(
                "jwks_keys_left_out",
                "Keys of the current set that do not count: unfit, a second one with an id, or too many.",
            )?,
            key_cache_hits: counter("jwks_key_cache_hits_total", "Key ids found in memory.")?,
            key_cache_misses: counter("jwks_key_cache_misses_total", "Key ids not found in memory.")?,
            token_cache_hits: busy_counter(
                "oauth2_token_cache_hits_total",
                "Tokens found already verified.",
            )?,
            token_cache_misses: counter("oauth2_token_cache_misses_total", "Tokens verified in full.")?,
            token_cache_evictions: counter(
                "oauth2_token_cache_evictions_total",
                "Verified tokens dropped to make room.",
            )?,
            token_cache_entries: gauge("oauth2_token_cache_entries", "Verified tokens kept.")?,
            revocation_feed_age,
            revocations: gauge("oauth2_revocations", "Revocations in force.")?,
        }))
    }

    /// Counts a token check by its outcome.
    pub(crate) fn count_validation<T>(&self, outcome: &Result<T, AuthError>) {
        match outcome {
            Ok(_) => self.validations.valid.inc(),
            Err(error) => self.validations.refused.with_label_values(&[error.reason()]).inc(),
        }
    }

    /// Counts a check of a right by its outcome.
    pub(crate) fn count_permission_check<T>(&self, outcome: &Result<T, AuthError>) {
        self.permission_checks.inc();
        if outcome.is_err() {
            self.permission_denied.inc();
        }
    }
}
