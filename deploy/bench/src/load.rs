//! A closed-loop HTTP/1.1 client: each connection sends a prepared request, waits for the answer, and sends the next.
//!
//! It runs on one thread and does nothing per request but write, read and note the time, since it shares the machine with
//! the server that it measures. Closed loops hide stalls: use it for capacity, and for latency only with few connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use e2e::http::Peer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{answer, machine, stats};

/// What is sent, and where to.
#[derive(Clone)]
pub(crate) struct Load {
    address: String,
    requests: Arc<Vec<Vec<u8>>>,
    /// Which of them come one after the other.
    order: Arc<Vec<usize>>,
    connections: usize,
    expected: u16,
}

/// What came of a slice of time.
pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) elapsed: Duration,
    /// CPU time of the server meanwhile, where its process id is known.
    pub(crate) server_cpu: Option<Duration>,
    /// Nanoseconds.
    latencies: Vec<u32>,
}

impl Load {
    /// `requests` in turn over `connections`, each answered with the status `expected`.
    pub(crate) fn new(
        peer: &Peer,
        requests: Vec<Vec<u8>>,
        connections: usize,
        expected: u16,
    ) -> Result<Self> {
        let address = peer.base().strip_prefix("http://").context("only plain HTTP")?.to_owned();
        let order = Arc::new((0..requests.len()).collect());
        Ok(Self { address, requests: Arc::new(requests), order, connections, expected })
    }

    /// The same requests in another order, in which some may come more often than others.
    pub(crate) fn ordered(&self, order: &Arc<Vec<usize>>) -> Self {
        Self { order: Arc::clone(order), ..self.clone() }
    }

    /// Runs for a slice of time. A server is named by its process id, so that its CPU time is taken.
    pub(crate) async fn run(&self, slice: Duration, server: Option<u32>) -> Result<Outcome> {
        let mut connections = JoinSet::new();
        let cpu_before = server.map(machine::cpu_time).transpose()?;
        let started = Instant::now();
        for number in 0..self.connections {
            connections.spawn(self.clone().connection(number, started + slice));
        }
        let mut latencies = Vec::new();
        while let Some(outcome) = connections.join_next().await {
            latencies.extend(outcome??);
        }
        let elapsed = started.elapsed();
        let cpu_after = server.map(machine::cpu_time).transpose()?;
        let server_cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        Ok(Outcome { requests: latencies.len(), elapsed, server_cpu, latencies })
    }

    async fn connection(self, number: usize, until: Instant) -> Result<Vec<u32>> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(64 * 1024);
        let mut latencies = Vec::with_capacity(100_000);
        // Each connection goes through its own share, so that all requests are used.
        let share = self.order.len().div_ceil(self.connections);
        let own = self.order.iter().cycle().skip(number * share);
        for request in own.filter_map(|at| self.requests.get(*at)) {
            let started = Instant::now();
            if started >= until {
                break;
            }
            stream.write_all(request).await?;
            let status = read_answer(&mut stream, &mut buffer).await?;
            if status != self.expected {
                bail!("status {status} instead of {}: {}", self.expected, String::from_utf8_lossy(&buffer));
            }
            buffer.clear();
            latencies.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        Ok(latencies)
    }
}

impl Outcome {
    /// Requests per second.
    #[expect(clippy::cast_precision_loss, reason = "a count that is far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// Requests per second of the server's CPU time: what one core of it does.
    #[expect(clippy::cast_precision_loss, reason = "a count that is far below 2^52")]
    pub(crate) fn rate_per_core(&self) -> Result<f64> {
        let cpu = self.server_cpu.context("the server's process id was not given")?;
        Ok(self.requests as f64 / cpu.as_secs_f64())
    }

    /// The latency that this share of the requests stayed within.
    pub(crate) fn quantile(&mut self, share: f64) -> Duration {
        stats::quantile(&mut self.latencies, share)
    }
}

/// The bytes of a `GET`.
pub(crate) fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n").into_bytes()
}

/// The bytes of a `POST`.
pub(crate) fn post(path: &str, content_type: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         {authorization}\r\n{body}"
    )
    .into_bytes()
}

/// Reads one answer into the buffer and returns its status.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u16> {
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server hung up");
        }
        if let Some(answer) = answer::parse(buffer) {
            if answer.length != buffer.len() {
                bail!("bytes after the answer: {}", String::from_utf8_lossy(buffer));
            }
            return Ok(answer.status);
        }
    }
}
