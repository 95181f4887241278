//! The bare servers that the relay is held against, each a process of its own: one echoes lines, one accepts and holds.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    process::{Child, Command},
};

/// What a line of the registration's length is at most.
const LINE: usize = 256;

/// A bare server's process; killed when it is dropped.
pub(crate) struct BarePeer {
    process: Child,
    pub(crate) socket: PathBuf,
}

impl BarePeer {
    /// Starts one in this folder.
    pub(crate) async fn start(folder: &std::path::Path) -> Result<Self> {
        let socket = folder.join("bare.sock");
        let mut process = Command::new(std::env::current_exe()?)
            .arg("relay-peer")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line).await?;
        ensure!(line == "ready\n", "the bare server does not start");
        Ok(Self { process, socket })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.id().context("the bare server is gone")
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        self.process.kill().await?;
        Ok(std::fs::remove_file(&self.socket)?)
    }
}

/// Answers each line with itself, and holds what is quiet with the little that a waiting task needs.
pub(crate) fn run(socket: &std::path::Path) -> Result<()> {
    raise_file_limit()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = UnixListener::bind(socket)?;
        std::io::Write::write_all(&mut std::io::stdout(), b"ready\n")?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(echo(stream));
        }
    })
}

async fn echo(mut stream: UnixStream) {
    // The buffer lives while there is something to read, as a server's does that cares.
    while stream.readable().await.is_ok() {
        let mut line = Vec::with_capacity(LINE);
        match stream.try_read_buf(&mut line) {
            Ok(0) => break,
            Ok(_) if stream.write_all(&line).await.is_ok() => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => break,
        }
    }
}

/// As many open files as the system lets this process have.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?)
}

/// Connects, waiting where the queue of the listener is full.
pub(crate) async fn connect(socket: &std::path::Path) -> Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Reads up to the end of a line.
pub(crate) async fn read_line(stream: &mut UnixStream, line: &mut Vec<u8>) -> Result<()> {
    line.clear();
    while line.last() != Some(&b'\n') {
        ensure!(stream.read_buf(line).await? > 0, "hung up instead of a line");
    }
    Ok(())
}
