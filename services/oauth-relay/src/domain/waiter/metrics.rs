//! What operators see of waiting.

use prometheus::{IntCounter, IntGauge, Registry};

/// The counters; each callback that could be read is one of delivered, denied and unmatched, unless its browser hung up while it was
/// held.
pub struct WaiterMetrics {
    pub(super) registered: IntCounter,
    pub(super) delivered: IntCounter,
    pub(super) denied: IntCounter,
    pub(super) timed_out: IntCounter,
    pub(super) replaced: IntCounter,
    pub(super) unmatched: IntCounter,
    pub(super) capacity: IntCounter,
    waiters: IntGauge,
}

impl WaiterMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry already has one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let waiters = IntGauge::new("oauth_relay_waiters", "Waiters now.")?;
        registry.register(Box::new(waiters.clone()))?;
        Ok(Self {
            registered: counter("oauth_relay_waiters_registered_total", "Waiters that got their seat.")?,
            delivered: counter(
                "oauth_relay_delivered_total",
                "Callbacks without an error that a waiter took.",
            )?,
            denied: counter("oauth_relay_denied_total", "Callbacks with an error that a waiter took.")?,
            timed_out: counter("oauth_relay_timed_out_total", "Waiters whose time was over.")?,
            replaced: counter("oauth_relay_replaced_total", "Waiters whose seat another one took.")?,
            unmatched: counter("oauth_relay_unmatched_total", "Callbacks that nobody took.")?,
            capacity: counter("oauth_relay_capacity_total", "Waiters refused because there were too many.")?,
            waiters,
        })
    }

    pub(super) fn show_waiters(&self, number: usize) {
        self.waiters.set(i64::try_from(number).unwrap_or(i64::MAX));
    }
}
