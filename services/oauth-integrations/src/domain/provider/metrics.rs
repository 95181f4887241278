//! What is counted per provider and outcome.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::Platform;

/// The counters of calls, hand-outs, refreshes and webhooks. Cheap to clone.
#[derive(Clone)]
pub struct ProviderMetrics {
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    circuit_open: IntGaugeVec,
    hand_outs: IntCounterVec,
    refreshes: IntCounterVec,
    consents: IntCounterVec,
    webhooks: IntCounterVec,
    notices: IntCounterVec,
}

impl ProviderMetrics {
    /// Makes the counters known to the registry.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let call_seconds = HistogramVec::new(
            prometheus::HistogramOpts::new("oauth_provider_call_seconds", "How long calls to providers took")
                .buckets(vec![0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            &["platform", "operation"],
        )?;
        registry.register(Box::new(call_seconds.clone()))?;
        let circuit_open = IntGaugeVec::new(
            Opts::new("oauth_provider_circuit_open", "Whether a provider is left alone for a while"),
            &["platform"],
        )?;
        registry.register(Box::new(circuit_open.clone()))?;
        Ok(Self {
            calls: counter(
                "oauth_provider_calls_total",
                "Calls to providers",
                &["platform", "operation", "outcome"],
            )?,
            call_seconds,
            circuit_open,
            hand_outs: counter("oauth_token_hand_outs_total", "Tokens asked for", &["platform", "outcome"])?,
            refreshes: counter(
                "oauth_token_refreshes_total",
                "Tokens renewed, or not",
                &["platform", "outcome"],
            )?,
            consents: counter(
                "oauth_consents_total",
                "Browsers that came back from a provider",
                &["platform", "outcome"],
            )?,
            webhooks: counter("oauth_webhooks_total", "Webhook deliveries", &["platform", "outcome"])?,
            notices: counter("oauth_notices_total", "Notices to the runtime", &["outcome"])?,
        })
    }

    /// A call to a provider that came to its end.
    pub fn count_call(&self, platform: Platform, operation: &str, outcome: &str, took: Duration) {
        let platform = platform.as_str();
        self.calls.with_label_values(&[platform, operation, outcome]).inc();
        self.call_seconds.with_label_values(&[platform, operation]).observe(took.as_secs_f64());
    }

    /// Whether the provider is left alone.
    pub fn set_circuit(&self, platform: Platform, is_open: bool) {
        self.circuit_open.with_label_values(&[platform.as_str()]).set(is_open.into());
    }

    /// A hand-out, or why there was none.
    pub fn count_hand_out(&self, platform: Platform, outcome: &str) {
        self.hand_outs.with_label_values(&[platform.as_str(), outcome]).inc();
    }

    /// A refresh, or why there was none.
    pub fn count_refresh(&self, platform: Platform, outcome: &str) {
        self.refreshes.with_label_values(&[platform.as_str(), outcome]).inc();
    }

    /// A browser that came back, and how it went.
    pub fn count_consent(&self, platform: Platform, outcome: &str) {
        self.consents.with_label_values(&[platform.as_str(), outcome]).inc();
    }

    /// A webhook delivery.
    pub fn count_webhook(&self, platform: Platform, outcome: &str) {
        self.webhooks.with_label_values(&[platform.as_str(), outcome]).inc();
    }

    /// A notice to the runtime.
    pub fn count_notice(&self, outcome: &str) {
        self.notices.with_label_values(&[outcome]).inc();
    }
}
