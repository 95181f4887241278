//! `bench`: measures what the platform promises as ratios, in interleaved rounds, and writes the table to `deploy/bench/RESULTS.md`.
//!
//! - [`load`]: a closed-loop HTTP/1.1 client that sends prepared bytes; [`answer`] reads what comes back
//! - [`stats`]: quantiles, and the median of ratios with its interval
//! - [`report`]: the table
//! - [`auth_server`]: the two routes whose difference is the cost of a token check
//! - [`token_check`], [`groups`], [`grants`], [`sending`], [`paging`], [`hand_out`], [`relay`]: one promise each

mod answer;
mod auth_server;
mod grants;
mod groups;
mod hand_out;
mod load;
mod machine;
mod paging;
mod relay;
mod relay_lane;
mod relay_peer;
mod report;
mod sending;
mod stats;
mod token_check;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use chaos::{Options, World};
use clap::{Parser, Subcommand};

use crate::report::Report;

/// How much is measured.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", about = "Measures what the platform promises as ratios")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Seconds of one slice of a round.
    #[arg(long, env = "BENCH_SLICE_SECONDS", default_value_t = 3.0)]
    slice: f64,
    /// Rounds that count; one before them warms up.
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 7)]
    rounds: usize,
    /// Distinct access tokens.
    #[arg(long, env = "BENCH_TOKENS", default_value_t = 10_000)]
    tokens: usize,
    /// Messages in the long history.
    #[arg(long, env = "BENCH_DEPTH", default_value_t = 100_000)]
    depth: i64,
    /// Only these parts: token-check, groups, grants, sending, paging, hand-out, relay.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the table is written, from the root of the repository; nowhere with `--only`.
    #[arg(long, default_value = "deploy/bench/RESULTS.md")]
    output: PathBuf,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// The server of the token check: prints its port and its tokens, and serves until it is killed.
    #[command(hide = true)]
    AuthServer { tokens: usize },
    /// What the relay is held against: serves this socket until it is killed.
    #[command(hide = true)]
    RelayPeer { socket: PathBuf },
}

/// What every part goes by.
#[derive(Clone, Copy, Debug)]
struct Plan {
    slice: Duration,
    rounds: usize,
    tokens: usize,
    depth: i64,
}

fn main() -> Result<()> {
    // The second caller finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::AuthServer { tokens }) => return auth_server::run(*tokens),
        Some(Command::RelayPeer { socket }) => return relay_peer::run(socket),
        None => {}
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let plan = Plan {
        slice: Duration::from_secs_f64(arguments.slice),
        rounds: arguments.rounds,
        tokens: arguments.tokens,
        depth: arguments.depth,
    };
    let wanted = |part: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == part);
    let mut report = Report::new(&plan);
    if wanted("token-check") {
        let outcome = token_check::measure(&plan, &mut report).await;
        report.or_failed("token-check", outcome)?;
    }
    if wanted("relay") {
        let outcome = relay::measure(&plan, &mut report).await;
        report.or_failed("relay", outcome)?;
    }
    if ["groups", "grants", "sending", "paging", "hand-out"].into_iter().any(wanted) {
        let options =
            Options::default().auth_api("ACCESS_TOKEN_TTL_SECONDS", "7200").auth_api("RUST_LOG", "warn");
        let mut world = World::start(options.chat_api("RUST_LOG", "warn")).await?;
        if wanted("groups") {
            let outcome = groups::measure(&plan, &mut world, &mut report).await;
            report.or_failed("groups", outcome)?;
        }
        if wanted("grants") {
            let outcome = grants::measure(&plan, &world, &mut report).await;
            report.or_failed("grants", outcome)?;
        }
        if wanted("sending") {
            let outcome = sending::measure(&plan, &world, &mut report).await;
            report.or_failed("sending", outcome)?;
        }
        if wanted("paging") {
            let outcome = paging::measure(&plan, &world, &mut report).await;
            report.or_failed("paging", outcome)?;
        }
        if wanted("hand-out") {
            let outcome = hand_out::measure(&plan, &mut world, &mut report).await;
            report.or_failed("hand-out", outcome)?;
        }
        world.end().await?;
    }
    report.print()?;
    if arguments.only.is_empty() {
        report.write(&arguments.output)?;
    }
    Ok(())
}
