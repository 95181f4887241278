//! What the relay promises: how soon a code reaches its waiter, how little a waiter costs, and how many come through.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chaos::{Service, ports::free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    Plan, answer, machine,
    relay_lane::{Lane, callback, nanos, open_loop, register},
    relay_peer::{BarePeer, connect, raise_file_limit, read_line},
    report::{Report, short},
    stats::{Ratio, median, quantile},
};

/// Waiters of the storm, of the memory and behind the latency.
const WAITERS: usize = 10_000;
/// Callbacks per second of the open loop.
const RATE: u32 = 1_000;
/// The open loops go on in turn for a tenth of a slice each, so that both sides meet alike what else the machine does; so many parts
/// make a round, of which a hundredth decides.
const PART: u32 = 10;
const PARTS: usize = 20;
/// Memory and storms take a start of both servers each.
const STORMS: usize = 3;
/// Waiters that come at once where there is no storm.
const TURN: usize = 50;
/// Connections that the callbacks of the saturation come over, and how many are written at once.
const CONNECTIONS: usize = 16;
const BATCH: usize = 25;

/// The relay's process in a folder of its own.
struct Relay {
    service: Service,
    folder: PathBuf,
}

impl Relay {
    async fn start() -> Result<Self> {
        let name = Uuid::new_v4().simple().to_string();
        let folder = std::env::temp_dir().join(format!("bench-{}", name.get(..8).unwrap_or_default()));
        std::fs::create_dir(&folder)?;
        let socket = folder.join("relay.sock");
        let settings = [
            ("OAUTH_ENABLED", "true"),
            ("OAUTH_SOCKET_PATH", socket.to_str().context("a path in UTF-8")?),
            ("RUST_LOG", "warn"),
        ];
        let ports = (free_port()?, free_port()?);
        let mut service = Service::new("oauth-relay", "oauth-relay", &folder, ports, &settings)?;
        service.start().await?;
        Ok(Self { service, folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("relay.sock")
    }

    fn address(&self) -> &str {
        self.service.peer.base().trim_start_matches("http://")
    }

    fn pid(&self) -> Result<u32> {
        self.service.pid().context("the relay is gone")
    }

    /// Waits until this many slots are held.
    async fn holds(&self, count: usize) -> Result<()> {
        let wanted = format!("\noauth_relay_waiters {count}\n");
        e2e::wait::until(Duration::from_mins(1), "the slots are held", async || {
            Ok(self.service.admin.get("/metrics").send().await?.text.contains(&wanted))
        })
        .await?;
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        self.service.stop().await?;
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

/// All of it.
pub(crate) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    raise_file_limit()?;
    let relay = Relay::start().await?;
    let bare = BarePeer::start(&relay.folder).await?;
    latency(plan, report, &relay, &bare).await?;
    open_loops(plan, report, &relay).await?;
    saturation(plan, report, &relay).await?;
    bare.end().await?;
    relay.end().await?;
    waiters(report).await
}

/// One callback at a time, beside a line to and fro over a bare socket.
async fn latency(plan: &Plan, report: &mut Report, relay: &Relay, bare: &BarePeer) -> Result<()> {
    let mut lane = Lane::open(&relay.socket(), relay.address()).await?;
    let (mut medians, mut bare_medians, mut tails) = (vec![], vec![], vec![]);
    for round in 0..=plan.rounds {
        let mut theirs = ping_pong(&bare.socket, Instant::now() + plan.slice / 2).await?;
        let mut ours = lane.closed_loop(Instant::now() + plan.slice).await?;
        if round > 0 {
            medians.push(quantile(&mut ours, 0.5).as_secs_f64());
            tails.push(quantile(&mut ours, 0.99).as_secs_f64());
            bare_medians.push(quantile(&mut theirs, 0.5).as_secs_f64());
        }
    }
    report.ratio_at_most(
        "relay: callback to client p50 / ping-pong over a bare Unix socket p50",
        15.0,
        Ratio::of(&medians, &bare_medians),
    )?;
    report.ratio_at_most("relay: the same p99 / ping-pong p50", 40.0, Ratio::of(&tails, &bare_medians))?;
    let micros = |numbers: &[f64]| format!("{} µs", short(median(numbers) * 1e6));
    report.beside(
        "relay: callback to client p50, p99; bare ping-pong p50",
        [&medians, &tails, &bare_medians].map(|numbers| micros(numbers)).join(", "),
    )
}

async fn ping_pong(socket: &Path, until: Instant) -> Result<Vec<u32>> {
    let mut stream = connect(socket).await?;
    let line = [b'x'; 63].iter().chain(b"\n").copied().collect::<Vec<u8>>();
    let (mut answer, mut latencies) = (Vec::new(), Vec::new());
    loop {
        let sent = Instant::now();
        if sent >= until {
            return Ok(latencies);
        }
        stream.write_all(&line).await?;
        read_line(&mut stream, &mut answer).await?;
        latencies.push(nanos(sent.elapsed()));
    }
}

/// Callbacks at fixed times beside one idle waiter, and at a second relay beside many.
async fn open_loops(plan: &Plan, report: &mut Report, calm: &Relay) -> Result<()> {
    let crowded = Relay::start().await?;
    let one = storm(&calm.socket(), 1).await?;
    let all = storm(&crowded.socket(), WAITERS).await?;
    ensure!(one.len() == 1 && all.len() == WAITERS, "waiters were refused");
    let (mut few, mut many, mut medians) = (vec![], vec![], vec![]);
    for round in 0..=plan.rounds {
        let (mut beside_one, mut beside_many) = (vec![], vec![]);
        for _ in 0..PARTS {
            for (relay, latencies) in [(calm, &mut beside_one), (&crowded, &mut beside_many)] {
                let part = open_loop(&relay.socket(), relay.address(), RATE, plan.slice / PART).await?;
                latencies.extend(part);
            }
        }
        if round > 0 {
            medians.push(quantile(&mut beside_one, 0.5).as_secs_f64());
            few.push(quantile(&mut beside_one, 0.99).as_secs_f64());
            many.push(quantile(&mut beside_many, 0.99).as_secs_f64());
        }
    }
    drop((one, all));
    calm.holds(0).await?;
    crowded.end().await?;
    let limit = Duration::from_millis(1);
    let p99 = |numbers: &[f64]| Duration::from_secs_f64(median(numbers));
    report.below("relay: callback to client p99 at 1000 callbacks/s, 1 idle waiter", limit, p99(&few))?;
    report.below("relay: the same with 10000 idle waiters", limit, p99(&many))?;
    report.ratio_at_most("relay: p99 with 10000 idle waiters / with 1", 1.5, Ratio::of(&many, &few))?;
    report.beside("relay: p50 at 1000 callbacks/s", format!("{} µs", short(median(&medians) * 1e6)))
}

/// As many deliveries as come through while load tool and relay share the machine.
async fn saturation(plan: &Plan, report: &mut Report, relay: &Relay) -> Result<()> {
    let (mut rates, mut per_core) = (vec![], vec![]);
    for round in 0..=plan.rounds {
        let (rate, core) = deliveries(relay).await?;
        if round > 0 {
            rates.push(rate);
            per_core.push(core);
        }
    }
    report.at_least("relay: deliveries/s, load tool on the same cores", 35_000.0, "/s", median(&rates))?;
    report.beside("relay: deliveries per second of the relay's CPU time", short(median(&per_core)))
}

/// Deliveries per second of time and of the relay's CPU time, to waiters that are registered beforehand.
#[expect(clippy::cast_precision_loss, reason = "a count that is far below 2^52")]
async fn deliveries(relay: &Relay) -> Result<(f64, f64)> {
    let states: Vec<String> = (0..WAITERS).map(|_| Uuid::new_v4().simple().to_string()).collect();
    let mut reading = JoinSet::new();
    for state in &states {
        let mut stream = connect(&relay.socket()).await?;
        stream.write_all(format!("{{\"type\":\"REGISTER\",\"state\":\"{state}\"}}\n").as_bytes()).await?;
        reading.spawn(async move {
            let mut line = Vec::with_capacity(256);
            read_line(&mut stream, &mut line).await?;
            ensure!(line.starts_with(b"{\"type\":\"DELIVER\""), "{}", String::from_utf8_lossy(&line));
            anyhow::Ok(())
        });
    }
    relay.holds(WAITERS).await?;
    let cpu = machine::cpu_time(relay.pid()?)?;
    let started = Instant::now();
    let mut calling = JoinSet::new();
    for share in states.chunks(WAITERS / CONNECTIONS) {
        calling.spawn(call_back(relay.address().to_owned(), share.to_vec()));
    }
    while let Some(outcome) = calling.join_next().await {
        outcome??;
    }
    while let Some(outcome) = reading.join_next().await {
        outcome??;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = machine::cpu_time(relay.pid()?)?.saturating_sub(cpu).as_secs_f64();
    Ok((WAITERS as f64 / elapsed, WAITERS as f64 / cpu))
}

/// Sends callbacks in batches, each after the answers to the one before.
async fn call_back(address: String, states: Vec<String>) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut answers = Vec::with_capacity(256 * 1024);
    for batch in states.chunks(BATCH) {
        let requests: Vec<u8> = batch.iter().flat_map(|state| callback(state)).collect();
        stream.write_all(&requests).await?;
        answers.clear();
        let (mut missing, mut done) = (batch.len(), 0);
        while missing > 0 {
            while let Some(complete) = answer::parse(answers.get(done..).unwrap_or_default()) {
                ensure!(complete.status == 200, "{}", String::from_utf8_lossy(&answers));
                done += complete.length;
                missing -= 1;
            }
            ensure!(missing == 0 || stream.read_buf(&mut answers).await? > 0, "the relay hung up");
        }
    }
    Ok(())
}

/// Memory per idle waiter and the time of a storm, of both servers freshly started for each.
async fn waiters(report: &mut Report) -> Result<()> {
    let (mut ours, mut theirs) = (Costs::default(), Costs::default());
    for _ in 0..STORMS {
        for is_storm in [false, true] {
            let relay = Relay::start().await?;
            let bare = BarePeer::start(&relay.folder).await?;
            ours.take(&relay.socket(), relay.pid()?, is_storm).await?;
            theirs.take(&bare.socket, bare.pid()?, is_storm).await?;
            bare.end().await?;
            relay.end().await?;
        }
    }
    let bytes = |numbers: &[f64]| format!("{} bytes", short(median(numbers)));
    report.at_most("relay: resident memory per idle waiter", 1536.0, " bytes", median(&ours.calm))?;
    report.ratio_at_most(
        "relay: the same / a bare accept-and-hold server's",
        2.0,
        Ratio::of(&ours.calm, &theirs.calm),
    )?;
    report.beside("relay: a bare server's memory per connection", bytes(&theirs.calm))?;
    report.beside("relay: per waiter where all came at once, and a bare server's", {
        format!("{}, {}", bytes(&ours.after_storm), bytes(&theirs.after_storm))
    })?;
    report.none("relay: registrations refused of 10000 at once", ours.refused)?;
    report.ratio_at_most(
        "relay: time until 10000 at once are registered / a bare server's echo of as many",
        3.0,
        Ratio::of(&ours.seconds, &theirs.seconds),
    )?;
    report.beside("relay: that time", format!("{} ms", short(median(&ours.seconds) * 1e3)))
}

/// What many waiters cost a server.
#[derive(Default)]
struct Costs {
    /// Bytes per waiter that came in its turn.
    calm: Vec<f64>,
    /// Bytes per waiter where all came at once: what the rush needed for a moment stays with the process.
    after_storm: Vec<f64>,
    /// Of a storm.
    seconds: Vec<f64>,
    refused: usize,
}

impl Costs {
    #[expect(clippy::cast_precision_loss, reason = "counts that are far below 2^52")]
    async fn take(&mut self, socket: &Path, pid: u32, is_storm: bool) -> Result<()> {
        // What a first connection makes the process allocate is no cost of the later ones.
        drop(storm(socket, TURN).await?);
        let before = resident_bytes(pid)?;
        let started = Instant::now();
        let at_once = if is_storm { WAITERS } else { TURN };
        let mut held = Vec::with_capacity(WAITERS);
        for _ in 0..WAITERS / at_once {
            let more = storm(socket, at_once).await?;
            self.refused += at_once - more.len();
            held.extend(more);
        }
        let took = started.elapsed().as_secs_f64();
        let bytes = resident_bytes(pid)?.saturating_sub(before) as f64 / WAITERS as f64;
        if is_storm {
            self.seconds.push(took);
            self.after_storm.push(bytes);
        } else {
            self.calm.push(bytes);
        }
        Ok(())
    }
}

/// Connects and registers this many at once; those that are not refused.
async fn storm(socket: &Path, count: usize) -> Result<Vec<UnixStream>> {
    let mut registering = JoinSet::new();
    for _ in 0..count {
        let socket = socket.to_owned();
        registering.spawn(async move {
            let state = Uuid::new_v4().simple().to_string();
            register(&socket, &state, &mut Vec::with_capacity(256)).await
        });
    }
    let mut held = Vec::with_capacity(count);
    while let Some(outcome) = registering.join_next().await {
        held.extend(outcome?.ok());
    }
    Ok(held)
}

/// What of a process is in memory.
fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kibibytes * 1024)
}
