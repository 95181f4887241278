//! Logs, traces and request metrics: the same file in every service.

use std::time::{Duration, Instant};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header::HeaderMap},
    middleware::Next,
    web,
};
use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::TracerProvider,
};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use prometheus::{HistogramOpts, HistogramVec, IntGauge, Registry, TextEncoder};
use tracing::Span;
use tracing_actix_web::RootSpanBuilder;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, fmt::writer::BoxMakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

const SERVICE: &str = env!("CARGO_PKG_NAME");
/// The longest that the last spans may keep the process from ending.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Libraries that log secrets below `info`, whatever `RUST_LOG` says.
const TALKATIVE: [&str; 10] = [
    "actix_http",
    "actix_web",
    "h2",
    "hyper",
    "hyper_util",
    "mongodb",
    "oauth2",
    "postgres_types",
    "reqwest",
    "tokio_postgres",
];

/// How a log line looks (`LOG_FORMAT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Json,
    Pretty,
}

/// Where log lines go: a server's to stdout, a command's to stderr, so that its output can be piped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOutput {
    Stdout,
    Stderr,
}

/// What keeps telemetry going; [`Telemetry::flush`] ends it.
pub struct Telemetry {
    tracer_provider: Option<SdkTracerProvider>,
}

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("RUST_LOG is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// The root span of a request, without query, headers or address: they may hold secrets.
pub struct RequestSpan;

/// Duration and number of the requests being handled.
pub struct HttpMetrics {
    duration: HistogramVec,
    active: IntGauge,
}

impl Telemetry {
    /// Starts logging and, where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, the export of traces. Call it outside the async runtime:
    /// the exporter has a thread of its own.
    ///
    /// # Errors
    /// When `filter` (`RUST_LOG`) or the exporter's settings are unusable, or when it is called twice.
    pub fn start(format: LogFormat, filter: &str, output: LogOutput) -> Result<Self, TelemetryError> {
        let writer = match output {
            LogOutput::Stdout => BoxMakeWriter::new(std::io::stdout),
            LogOutput::Stderr => BoxMakeWriter::new(std::io::stderr),
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        let lines = match format {
            LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
            LogFormat::Pretty => lines.with_ansi(false).boxed(),
        };
        let tracer_provider = trace_exporter()?;
        let spans = tracer_provider
            .as_ref()
            .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE)));
        tracing_subscriber::registry()
            .with(discreet(EnvFilter::try_new(filter)?))
            .with(lines)
            .with(spans)
            .try_init()?;
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
        Ok(Self { tracer_provider })
    }

    /// Sends the last spans.
    pub fn flush(self) {
        if let Some(provider) = self.tracer_provider
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let route = request.match_pattern().unwrap_or_default();
        let header =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let span = tracing::info_span!(
            "HTTP request",
            http.request.method = %request.method(),
            http.route = route,
            http.response.status_code = tracing::field::Empty,
            request_id = header("x-request-id"),
            otel.name = format_args!("{} {route}", request.method()),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
        );
        let parent =
            global::get_text_map_propagator(|propagator| propagator.extract(&Incoming(request.headers())));
        // Refused where no traces are exported; there is no parent to set then.
        let _ = span.set_parent(parent);
        span
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
            tracing::warn!(status = status.as_u16(), "a request failed");
        }
    }
}

impl HttpMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry already has one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let duration = HistogramVec::new(
            HistogramOpts::new("http_server_request_duration_seconds", "Time taken by HTTP requests.")
                .buckets(vec![
                    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ]),
            &["http_request_method", "http_route", "http_response_status_code"],
        )?;
        let active = IntGauge::new("http_server_active_requests", "HTTP requests being handled.")?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(active.clone()))?;
        Ok(Self { duration, active })
    }
}

/// Middleware: measures each request with the [`HttpMetrics`] of the app.
///
/// # Errors
/// Whatever the handler returns.
pub async fn measure<B: MessageBody + 'static>(
    metrics: web::Data<HttpMetrics>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let start = Instant::now();
    metrics.active.inc();
    // A guard, since a caller who hangs up drops the request in the middle.
    let _active = Active(&metrics.active);
    let outcome = next.call(request).await;
    if let Ok(response) = &outcome {
        // The route's template, never the path, whose variety has no end.
        let route = response.request().match_pattern().unwrap_or_default();
        metrics
            .duration
            .with_label_values(&[
                method_label(response.request().method()),
                &route,
                response.status().as_str(),
            ])
            .observe(start.elapsed().as_secs_f64());
    }
    outcome
}

/// The metrics in Prometheus' text form.
///
/// # Errors
/// When a metric cannot be written down.
pub fn render(registry: &Registry) -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// The headers that make an outgoing request part of the current trace (W3C Trace Context).
#[must_use]
pub fn trace_headers() -> reqwest::header::HeaderMap {
    let mut headers = reqwest::header::HeaderMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Outgoing(&mut headers));
    });
    headers
}

/// The methods that exist, and one word for all others (OpenTelemetry's): callers may make up as many as they like.
fn method_label(method: &Method) -> &str {
    match method.as_str() {
        known @ ("CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "TRACE") => {
            known
        }
        _ => "_OTHER",
    }
}

/// Keeps quiet those who would write down what they carry: statements' values, headers, bodies.
fn discreet(filter: EnvFilter) -> EnvFilter {
    TALKATIVE
        .iter()
        .filter_map(|target| format!("{target}=info").parse().ok())
        .fold(filter, EnvFilter::add_directive)
}

fn trace_exporter() -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("OTEL_EXPORTER_OTLP_ENDPOINT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return Ok(None);
    }
    let mut resource = Resource::builder();
    if !is_set("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name(SERVICE);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build()?;
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    Ok(Some(provider))
}

struct Active<'a>(&'a IntGauge);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(actix_web::http::header::HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut reqwest::header::HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (
            reqwest::header::HeaderName::from_bytes(key.as_bytes()),
            reqwest::header::HeaderValue::from_str(&value),
        ) {
            self.0.insert(name, value);
        }
    }
}
