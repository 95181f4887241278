//! Metrics of what every request does. Each thread counts in memory of its own and a scrape adds up: one shared number, and above all
//! the shared sum of a histogram, has the workers wait for each other's caches longer than a cached token check takes otherwise.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::{
    core::{Collector, Desc},
    proto,
};

/// More than the workers of most machines; further threads share.
const SHARDS: usize = 16;

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

/// A count that only rises; cloning it shares it.
#[derive(Clone)]
pub struct Counter {
    desc: Desc,
    counts: Arc<Shards<AtomicU64>>,
}

/// How long something took, in `N` buckets and one beyond; cloning it shares it.
#[derive(Clone)]
pub struct Histogram<const N: usize> {
    desc: Desc,
    bounds: [Duration; N],
    observed: Arc<Shards<Observed<N>>>,
}

/// What one thread observed.
struct Observed<const N: usize> {
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    nanos: AtomicU64,
}

struct Shards<T>([Padded<T>; SHARDS]);

/// Two cache lines, since processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Padded<T>(T);

impl<T: Default> Default for Shards<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Padded::default()))
    }
}

impl<T> Shards<T> {
    #[expect(clippy::indexing_slicing, reason = "the number of a shard is below their count")]
    fn own(&self) -> &T {
        &self.0[SHARD.with(|number| *number)].0
    }

    fn total(&self, of: impl Fn(&T) -> &AtomicU64) -> u64 {
        self.0.iter().map(|shard| of(&shard.0).load(Ordering::Relaxed)).sum()
    }
}

impl<const N: usize> Default for Observed<N> {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::default()),
            beyond: AtomicU64::default(),
            nanos: AtomicU64::default(),
        }
    }
}

impl Counter {
    /// A counter at 0, not registered yet.
    ///
    /// # Errors
    /// When the name is none that Prometheus knows.
    pub fn new(name: &str, help: &str) -> prometheus::Result<Self> {
        Ok(Self { desc: describe(name, help)?, counts: Arc::default() })
    }

    pub fn inc(&self) {
        self.counts.own().fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.counts.total(|count| count)
    }

    /// The sample as Prometheus takes it, without labels.
    pub(crate) fn metric(&self) -> proto::Metric {
        let mut counter = proto::Counter::default();
        counter.set_value(float(self.get()));
        let mut metric = proto::Metric::default();
        metric.set_counter(counter);
        metric
    }
}

impl Collector for Counter {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        vec![family(&self.desc, proto::MetricType::COUNTER, self.metric())]
    }
}

impl<const N: usize> Histogram<N> {
    /// A histogram without observations; `bounds` are the upper ends of its buckets, ascending.
    ///
    /// # Errors
    /// When the name is none that Prometheus knows.
    pub fn new(name: &str, help: &str, bounds: [Duration; N]) -> prometheus::Result<Self> {
        Ok(Self { desc: describe(name, help)?, bounds, observed: Arc::default() })
    }

    pub fn observe(&self, took: Duration) {
        let observed = self.observed.own();
        let bucket = self.bounds.iter().zip(&observed.buckets).find(|(bound, _)| took <= **bound);
        bucket.map_or(&observed.beyond, |(_, bucket)| bucket).fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        observed.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.buckets().iter().sum::<u64>() + self.observed.total(|observed| &observed.beyond)
    }

    fn buckets(&self) -> [u64; N] {
        let mut totals = [0; N];
        for Padded(shard) in &self.observed.0 {
            for (total, bucket) in totals.iter_mut().zip(&shard.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
        }
        totals
    }
}

impl<const N: usize> Collector for Histogram<N> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut count = 0;
        let buckets = self.bounds.iter().zip(self.buckets()).map(|(bound, within)| {
            count += within;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count + self.observed.total(|observed| &observed.beyond));
        histogram.set_sample_sum(float(self.observed.total(|observed| &observed.nanos)) / 1e9);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        vec![family(&self.desc, proto::MetricType::HISTOGRAM, metric)]
    }
}

fn describe(name: &str, help: &str) -> prometheus::Result<Desc> {
    Desc::new(name.to_owned(), help.to_owned(), Vec::new(), std::collections::HashMap::default())
}

fn family(desc: &Desc, kind: proto::MetricType, metric: proto::Metric) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{Registry, TextEncoder};

    use super::{Counter, Histogram, SHARDS};

    fn exposition(collector: impl prometheus::core::Collector + 'static) -> String {
        let registry = Registry::new();
        registry.register(Box::new(collector)).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn what_more_threads_than_shards_count_adds_up() {
        let counter = Counter::new("asked_total", "Asked.").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counter.inc()));
            }
        });
        assert_eq!(counter.get(), 2000 * SHARDS as u64);
        let text = exposition(counter);
        assert_eq!(text, "# HELP asked_total Asked.\n# TYPE asked_total counter\nasked_total 32000\n");
    }

    #[test]
    fn a_histogram_reads_as_one_of_the_library() {
        let bounds = [1e-6, 1e-3, 1.0];
        let ours = Histogram::new("taken_seconds", "Taken.", bounds.map(Duration::from_secs_f64)).unwrap();
        let options = prometheus::HistogramOpts::new("taken_seconds", "Taken.").buckets(bounds.to_vec());
        let library = prometheus::Histogram::with_opts(options).unwrap();
        for nanos in [0, 500, 1000, 1500, 2_000_000, 999_999_999, 1_000_000_000, 1_000_000_001, 3_000_000_000]
        {
            let took = Duration::from_nanos(nanos);
            std::thread::scope(|scope| {
                scope.spawn(|| ours.observe(took));
            });
            library.observe(took.as_secs_f64());
        }
        assert_eq!(ours.count(), 9);
        assert_eq!(exposition(ours), exposition(library));
    }
}
