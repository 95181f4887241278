//! The counters of a service's admin port, in Prometheus' text form.

use anyhow::{Context, Result};

use crate::http::Peer;

/// The counter of requests that every service has, by route.
const REQUESTS: &str = "http_server_request_duration_seconds_count";
/// Routes that are polled in the background, whatever the users do.
const FEEDS: [&str; 2] = ["/oauth/revocations", "/api/auth/changes"];

/// All samples of one scrape.
pub struct Metrics(Vec<Sample>);

struct Sample {
    name: String,
    labels: String,
    value: f64,
}

/// Reads `/metrics` of an admin port.
pub async fn scrape(admin: &Peer) -> Result<Metrics> {
    let answer = admin.get("/metrics").send().await?.expect(200)?;
    Ok(Metrics::parse(&answer.text))
}

impl Metrics {
    /// Reads the text form; comments and lines that are no sample are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum over all samples of this name whose labels contain every one of `labels` (as `name="value"`).
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let wanted = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|label| sample.labels.contains(label))
        };
        self.0.iter().filter(wanted).map(|sample| sample.value).sum()
    }

    /// Requests of a route that were answered.
    pub fn requests_of(&self, route: &str) -> f64 {
        self.sum(REQUESTS, &[&format!("http_route=\"{route}\"")])
    }

    /// Requests that were answered, but for the feeds that are polled in the background.
    pub fn requests(&self) -> f64 {
        self.sum(REQUESTS, &[]) - FEEDS.iter().map(|route| self.requests_of(route)).sum::<f64>()
    }

    /// The samples of the request counter that grew since `before`, for a message about what came unexpectedly.
    pub fn growth_since(&self, before: &Self) -> Vec<String> {
        let earlier = |sample: &Sample| {
            before
                .0
                .iter()
                .find(|other| other.name == sample.name && other.labels == sample.labels)
                .map_or(0.0, |other| other.value)
        };
        self.0
            .iter()
            .filter(|sample| {
                sample.name == REQUESTS && !FEEDS.iter().any(|feed| sample.labels.contains(feed))
            })
            .filter(|sample| sample.value > earlier(sample))
            .map(|sample| format!("{} +{}", sample.labels, sample.value - earlier(sample)))
            .collect()
    }

    /// The upper bound of the histogram bucket in which the given share of the observations since `before` ends.
    pub fn quantile_bound(&self, before: &Self, histogram: &str, quantile: f64) -> Result<f64> {
        let bucket = format!("{histogram}_bucket");
        let mut bounds: Vec<(f64, f64)> = self
            .0
            .iter()
            .filter(|sample| sample.name == bucket)
            .filter_map(|sample| {
                let bound = label(&sample.labels, "le")?;
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
                Some((bound, sample.value - before.sum(&bucket, &[&sample.labels])))
            })
            .collect();
        bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let total = bounds.last().map_or(0.0, |(_, count)| *count);
        anyhow::ensure!(total > 0.0, "{histogram} observed nothing");
        bounds
            .iter()
            .find(|(_, count)| *count >= total * quantile)
            .map(|(bound, _)| *bound)
            .with_context(|| format!("{histogram} has no bucket for {quantile}"))
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (key, value) = line.rsplit_once(' ')?;
    let (name, labels) = match key.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}')),
        None => (key, ""),
    };
    Some(Sample { name: name.to_owned(), labels: labels.to_owned(), value: value.parse().ok()? })
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    const TEXT: &str = "# HELP a b\n\
        http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/x\"} 3\n\
        http_server_request_duration_seconds_count{http_request_method=\"POST\",http_route=\"/x\"} 2\n\
        http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/oauth/revocations\"} 9\n\
        d_bucket{le=\"0.1\"} 99\n d_bucket{le=\"0.2\"} 100\nd_bucket{le=\"0.2\"} 100\nd_bucket{le=\"+Inf\"} 100\nplain 7\n";

    #[test]
    fn counters_are_summed_by_label() {
        let metrics = Metrics::parse(TEXT);
        assert!((metrics.requests_of("/x") - 5.0).abs() < f64::EPSILON);
        assert!((metrics.requests() - 5.0).abs() < f64::EPSILON);
        assert!((metrics.sum("plain", &[]) - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let (none, metrics) = (Metrics::parse(""), Metrics::parse(TEXT));
        assert!((metrics.quantile_bound(&none, "d", 0.99).unwrap() - 0.1).abs() < f64::EPSILON);
        assert!((metrics.quantile_bound(&none, "d", 0.995).unwrap() - 0.2).abs() < f64::EPSILON);
        assert!(none.quantile_bound(&none, "d", 0.5).is_err());
    }
}
