//! A lane: one registered waiter and one connection for its callback, again and again.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    answer,
    relay_peer::{connect, read_line},
};

/// Lanes that wait for their turn in the open loop; enough that the pacer never has to wait for one.
const LANES: usize = 48;
/// Longer than a lane waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A waiter and its callback's connection.
pub(crate) struct Lane {
    socket: PathBuf,
    http: TcpStream,
    line: Vec<u8>,
    answer: Vec<u8>,
}

/// A lane that is ready for its callback: the pacer writes the request and says for when it was meant.
struct Ready {
    request: Vec<u8>,
    http: Arc<std::net::TcpStream>,
    due: oneshot::Sender<Instant>,
}

impl Lane {
    pub(crate) async fn open(socket: &Path, address: &str) -> Result<Self> {
        let http = TcpStream::connect(address).await?;
        http.set_nodelay(true)?;
        Ok(Self { socket: socket.to_owned(), http, line: Vec::new(), answer: Vec::new() })
    }

    /// From the first byte of a callback to its frame at the waiter, one after the other.
    pub(crate) async fn closed_loop(&mut self, until: Instant) -> Result<Vec<u32>> {
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let (state, mut waiter) = self.register().await?;
            let request = callback(&state);
            let sent = Instant::now();
            self.http.write_all(&request).await?;
            read_line(&mut waiter, &mut self.line).await?;
            latencies.push(nanos(sent.elapsed()));
            self.finish(&mut waiter).await?;
        }
        Ok(latencies)
    }

    async fn register(&mut self) -> Result<(String, UnixStream)> {
        let state = Uuid::new_v4().simple().to_string();
        let waiter = register(&self.socket, &state, &mut self.line).await?;
        Ok((state, waiter))
    }

    /// Acknowledges the delivery that was just read, and reads the page.
    async fn finish(&mut self, waiter: &mut UnixStream) -> Result<()> {
        let frame = String::from_utf8_lossy(&self.line);
        ensure!(frame.contains("\"DELIVER\""), "no delivery: {frame}");
        waiter.write_all(b"{\"type\":\"ACK\"}\n").await?;
        self.answer.clear();
        loop {
            ensure!(self.http.read_buf(&mut self.answer).await? > 0, "the relay hung up");
            if let Some(complete) = answer::parse(&self.answer) {
                ensure!(complete.status == 200, "{}", String::from_utf8_lossy(&self.answer));
                return Ok(());
            }
        }
    }

    /// Registers, offers itself to the pacer, and waits for the delivery, until the pacer is gone.
    async fn open_loop(
        mut self,
        writer: Arc<std::net::TcpStream>,
        ready: mpsc::Sender<Ready>,
    ) -> Result<Vec<u32>> {
        let mut latencies = Vec::new();
        loop {
            let (state, mut waiter) = self.register().await?;
            let (due, is_due) = oneshot::channel();
            if ready.send(Ready { request: callback(&state), http: Arc::clone(&writer), due }).is_err() {
                return Ok(latencies);
            }
            let delivered = async {
                let delivery = read_line(&mut waiter, &mut self.line);
                tokio::time::timeout(LONGEST_WAIT, delivery).await.context("no delivery")??;
                anyhow::Ok(Instant::now())
            };
            // The pacer drops what it does not use.
            let is_due = async { is_due.await.map_err(|_| None) };
            match tokio::try_join!(is_due, async { delivered.await.map_err(Some) }) {
                Ok((due, delivered)) => latencies.push(nanos(delivered.saturating_duration_since(due))),
                Err(None) => return Ok(latencies),
                Err(Some(error)) => return Err(error),
            }
            self.finish(&mut waiter).await?;
        }
    }
}

/// Callbacks at fixed times, whatever has come of those before; the latencies are counted from the time that was meant.
pub(crate) async fn open_loop(
    socket: &Path,
    address: &str,
    per_second: u32,
    slice: Duration,
) -> Result<Vec<u32>> {
    let (sender, ready) = mpsc::channel();
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let std = std::net::TcpStream::connect(address)?;
        std.set_nodelay(true)?;
        std.set_nonblocking(true)?;
        let writer = Arc::new(std.try_clone()?);
        let http = TcpStream::from_std(std)?;
        let lane = Lane { socket: socket.to_owned(), http, line: Vec::new(), answer: Vec::new() };
        lanes.spawn(lane.open_loop(writer, sender.clone()));
    }
    drop(sender);
    let pacer = std::thread::spawn(move || pace(&ready, per_second, slice));
    let mut latencies = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        latencies.extend(lane??);
    }
    pacer.join().map_err(|_| anyhow::anyhow!("the pacer broke off"))??;
    Ok(latencies)
}

/// Runs on a thread of its own, since the runtime's clock knows milliseconds only.
fn pace(ready: &mpsc::Receiver<Ready>, per_second: u32, slice: Duration) -> Result<()> {
    let started = Instant::now() + Duration::from_millis(50);
    let interval = Duration::from_secs(1) / per_second;
    for number in 0.. {
        let due = started + interval * number;
        if due >= started + slice {
            break;
        }
        let lane = ready.recv().context("no lane is left")?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let _ = lane.due.send(due);
        std::io::Write::write_all(&mut lane.http.as_ref(), &lane.request)?;
    }
    Ok(())
}

/// Registers a waiter that acknowledges, and returns once the slot is held.
pub(crate) async fn register(socket: &Path, state: &str, line: &mut Vec<u8>) -> Result<UnixStream> {
    let mut stream = connect(socket).await?;
    let frame = format!("{{\"type\":\"REGISTER\",\"state\":\"{state}\",\"extended\":true}}\n");
    stream.write_all(frame.as_bytes()).await?;
    read_line(&mut stream, line).await?;
    let answer = String::from_utf8_lossy(line);
    // The bare server answers with the frame itself.
    ensure!(answer.contains("\"REGISTER"), "not registered: {answer}");
    Ok(stream)
}

/// The bytes of a callback.
pub(crate) fn callback(state: &str) -> Vec<u8> {
    let code = "4/0AY0e-g7xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    format!("GET /oauth/callback?code={code}&state={state} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

pub(crate) fn nanos(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos()).unwrap_or(u32::MAX)
}
