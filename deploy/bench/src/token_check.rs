//! What a token check costs: the same handler with and without one.

use std::{process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use e2e::{
    http::{self, Peer},
    metrics,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    Plan,
    load::{Load, get},
    report::{Report, short, spelled},
    stats::{Ratio, median},
};

const CONNECTIONS: usize = 64;
/// A slice is measured in so many parts, each in a round of its own: the closer the two sides of a ratio lie in time, the less of what
/// else the machine does comes between them, and here a hundredth counts.
const PARTS: u16 = 10;
/// So many slices make a round: one of each side, seven times, told the ratio to two hundredths.
const SLICES: u16 = 3;
/// Requests of Zipf-like reuse before they come again.
const DRAWS: usize = 200_000;
/// Spec 001: the overhead of a request.
const OVERHEAD: Duration = Duration::from_millis(1);
const HISTOGRAM: &str = "oauth2_token_validation_duration_seconds";

/// The server's process, its address and the tokens that it accepts.
struct Server {
    process: Child,
    peer: Peer,
    tokens: Vec<String>,
}

/// How often which token comes back.
#[derive(Clone, Copy)]
enum Reuse {
    /// The k-th most frequent of all tokens comes 1/k times as often as the first (s = 1.0).
    Zipf,
    One,
    InTurn,
}

/// What the rounds have shown of a kind of request.
#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    micros: Vec<f64>,
}

/// Throughput of open, cached and full checks in turn; then the latencies over one connection.
pub(crate) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let server = Server::start(plan.tokens).await?;
    let measured = throughput(plan, &server).await?;
    let [open, cached, one_open, one, turn_open, turn, full, bare] = &measured;
    report.ratio_at_least(
        &format!(
            "token check, cached / none, requests/s of the same handler, each round in {} parts; \
             Zipf-like reuse (s = 1.0) of all tokens",
            PARTS * SLICES
        ),
        0.95,
        cached.against(open),
    )?;
    report.beside("the same, always one token", spelled(one.against(one_open)))?;
    report.beside("the same, all tokens in turn", spelled(turn.against(turn_open)))?;
    report.beside(
        "the same, Zipf-like, against requests that carry no token at all",
        spelled(cached.against(bare)),
    )?;
    report.beside(
        "no check, cached check, full RS256 check: requests/s",
        [open, cached, full].map(|measured| short(median(&measured.rates))).join(", "),
    )?;
    report.beside(
        "the same: CPU time of the server per request",
        [open, cached, full].map(|measured| format!("{} µs", short(median(&measured.micros)))).join(", "),
    )?;
    latencies(plan, report, &server).await
}

/// Without and with a cached check for each kind of reuse; then a full check, and no token at all.
async fn throughput(plan: &Plan, server: &Server) -> Result<[Measured; 8]> {
    let load = |path: &str| Load::new(&server.peer, server.requests(path), CONNECTIONS, 200);
    // The open route gets the same bytes, so that only the check differs; and once more without them.
    let (open, cached, full) = (load("/open")?, load("/cached")?, load("/full")?);
    let bare = Load::new(&server.peer, vec![get("/open", None)], CONNECTIONS, 200)?;
    let mut routes = Vec::new();
    for reuse in [Reuse::Zipf, Reuse::One, Reuse::InTurn] {
        let order = Arc::new(reuse.order(plan.tokens));
        routes.extend([open.ordered(&order), cached.ordered(&order)]);
    }
    routes.extend([full, bare]);
    let mut measured: [Measured; 8] = Default::default();
    let parts = usize::from(PARTS * SLICES);
    for round in 0..parts * (plan.rounds + 1) {
        let mut turn: Vec<_> = routes.iter().zip(&mut measured).collect();
        // Whichever side of a ratio comes second finds the machine as the other has left it.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (route, measured) in turn {
            let outcome = route.run(plan.slice / u32::from(PARTS), server.process.id()).await?;
            if round >= parts {
                measured.rates.push(outcome.rate());
                measured.micros.push(1e6 / outcome.rate_per_core()?);
            }
        }
    }
    Ok(measured)
}

/// Over one connection nothing queues: the difference is the check.
async fn latencies(plan: &Plan, report: &mut Report, server: &Server) -> Result<()> {
    let single = |path: &str| Load::new(&server.peer, server.requests(path), 1, 200);
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

    /// One request for each token.
    fn requests(&self, path: &str) -> Vec<Vec<u8>> {
        self.tokens.iter().map(|token| get(path, Some(token))).collect()
    }
}

impl Measured {
    fn against(&self, other: &Self) -> Ratio {
        Ratio::of(&self.rates, &other.rates)
    }
}

impl Reuse {
    /// The tokens by number, in the order of their use.
    fn order(self, tokens: usize) -> Vec<usize> {
        // The same order in every run, and neighbours in memory are not neighbours in use.
        let mut rng = StdRng::seed_from_u64(1);
        let mut ranked: Vec<usize> = (0..tokens).collect();
        ranked.shuffle(&mut rng);
        match self {
            Self::One => vec![0],
            Self::InTurn => ranked,
            Self::Zipf => {
                let mut total = 0.0;
                let sums: Vec<f64> = (1_u32..)
                    .take(tokens)
                    .map(|rank| {
                        total += 1.0 / f64::from(rank);
                        total
                    })
                    .collect();
                let pick = |_| {
                    let drawn = rng.random_range(0.0..total);
                    ranked.get(sums.partition_point(|sum| *sum <= drawn)).copied()
                };
                (0..DRAWS).filter_map(pick).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DRAWS, Reuse};

    #[test]
    fn the_first_token_comes_ten_times_as_often_as_the_tenth() {
        let order = Reuse::Zipf.order(1000);
        assert_eq!(order.len(), DRAWS);
        let mut counts = vec![0_usize; 1000];
        for token in order {
            counts[token] += 1;
        }
        counts.sort_unstable_by(|one, other| other.cmp(one));
        assert!((8..=12).contains(&(counts[0] / counts[9])), "{counts:?}");
        assert!(counts.iter().all(|count| *count > 0));
    }
}
