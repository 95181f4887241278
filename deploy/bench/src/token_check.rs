//! What a token check costs: the same handler with and without one.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result};
use e2e::{
    http::{self, Peer},
    metrics,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    Plan,
    load::{Load, get},
    report::{Report, short},
    stats::{Ratio, median},
};

const CONNECTIONS: usize = 64;
/// Spec 001: the overhead of a request.
const OVERHEAD: Duration = Duration::from_millis(1);
const HISTOGRAM: &str = "oauth2_token_validation_duration_seconds";

/// The server's process, its address and the tokens that it accepts.
struct Server {
    process: Child,
    peer: Peer,
    tokens: Vec<String>,
}

/// Throughput of open, cached and full checks in turn; then the latencies over one connection.
pub(crate) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let server = Server::start(plan.tokens).await?;
    let with_tokens =
        |path: &str| server.tokens.iter().map(|token| get(path, Some(token))).collect::<Vec<_>>();
    let load = |requests| Load::new(&server.peer, requests, CONNECTIONS, 200);
    // The open route gets the same bytes, so that only the check differs; and once more without them.
    let routes = [
        load(with_tokens("/open"))?,
        load(with_tokens("/cached"))?,
        load(with_tokens("/full"))?,
        load(vec![get("/open", None)])?,
    ];
    let (mut rates, mut micros): ([Vec<f64>; 4], [Vec<f64>; 4]) = Default::default();
    for round in 0..=plan.rounds {
        for ((route, rates), micros) in routes.iter().zip(&mut rates).zip(&mut micros) {
            let outcome = route.run(plan.slice, server.process.id()).await?;
            if round > 0 {
                rates.push(outcome.rate());
                micros.push(1e6 / outcome.rate_per_core()?);
            }
        }
    }
    let [open, cached, full, bare] = &rates;
    report.ratio_at_least(
        "token check, cached / none, requests/s of the same handler",
        0.95,
        Ratio::of(cached, open),
    )?;
    let bare_ratio = Ratio::of(cached, bare);
    report.beside(
        "the same against requests that carry no token at all",
        format!("{} [{}, {}]", short(bare_ratio.median), short(bare_ratio.low), short(bare_ratio.high)),
    )?;
    report.beside(
        "no check, cached check, full RS256 check: requests/s",
        [open, cached, full].map(|rates| short(median(rates))).join(", "),
    )?;
    let [open, cached, full, _] = &micros;
    report.beside(
        "the same: CPU time of the server per request",
        [open, cached, full].map(|micros| format!("{} µs", short(median(micros)))).join(", "),
    )?;
    latencies(plan, report, &server).await
}

/// Over one connection nothing queues: the difference is the check.
async fn latencies(plan: &Plan, report: &mut Report, server: &Server) -> Result<()> {
    let requests = |path: &str| server.tokens.iter().map(|token| get(path, Some(token))).collect::<Vec<_>>();
    let single = |path: &str| Load::new(&server.peer, requests(path), 1, 200);
    let (open, cached, full) = (single("/open")?, single("/cached")?, single("/full")?);
    let before = metrics::scrape(&server.peer).await?;
    let (mut of_cached, mut of_full) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let base = open.run(plan.slice / 3, None).await?.quantile(0.99);
        of_cached
            .push(cached.run(plan.slice / 3, None).await?.quantile(0.99).saturating_sub(base).as_secs_f64());
        of_full.push(full.run(plan.slice / 3, None).await?.quantile(0.99).saturating_sub(base).as_secs_f64());
    }
    let micros = |numbers: &[f64]| Duration::from_secs_f64(median(numbers)).as_micros();
    let after = metrics::scrape(&server.peer).await?;
    report.below(
        "overhead of a cached check, p99 minus p99 without",
        OVERHEAD,
        Duration::from_micros(u64::try_from(micros(&of_cached))?),
    )?;
    report.below(
        "overhead of a full check, p99 minus p99 without",
        OVERHEAD,
        Duration::from_micros(u64::try_from(micros(&of_full))?),
    )?;
    let bound = after.quantile_bound(&before, HISTOGRAM, 0.99)?;
    report.beside(
        "p99 of the cached check itself, by the server's histogram",
        format!("<= {:?}", Duration::from_secs_f64(bound)),
    )
}

impl Server {
    async fn start(tokens: usize) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["auth-server", &tokens.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let port = lines.next_line().await?.context("the server printed no port")?;
        let peer = Peer::new(http::client()?, &format!("http://127.0.0.1:{port}"));
        let mut received = Vec::with_capacity(tokens);
        while received.len() < tokens {
            received.push(lines.next_line().await?.context("the server printed too few tokens")?);
        }
        Ok(Self { process, peer, tokens: received })
    }
}
