//! A waiting program's connection to the coordinator.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout_at},
};

use super::{OAuthConnectionError, OAuthRelayError, Settings};
use crate::domain::frame::{ClientFrame, ServerFrame, line};

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How soon a coordinator that was too busy to let us in is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Longer than any delivery, whose parameters a coordinator bounds.
const MAX_FRAME_BYTES: u64 = 1024 * 1024;
/// What is read at once; most frames are shorter.
const BUFFER_BYTES: usize = 1024;

/// A stream of either kind.
trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

pub(super) struct Connection(BufReader<Pin<Box<dyn Duplex>>>);

impl Connection {
    pub(super) async fn open(settings: &Settings, deadline: Instant) -> Result<Self, OAuthConnectionError> {
        let limit = deadline.min(Instant::now() + CONNECT_LIMIT);
        let connected = match timeout_at(limit, connect(settings)).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(ErrorKind::TimedOut.into()),
        };
        match connected {
            Ok(stream) => Ok(Self(BufReader::with_capacity(BUFFER_BYTES, stream))),
            Err(source) => Err(OAuthConnectionError { endpoint: settings.endpoint(), source }),
        }
    }

    pub(super) async fn send(&mut self, frame: &ClientFrame) -> io::Result<()> {
        self.0.write_all(&line(frame)).await?;
        self.0.flush().await
    }

    pub(super) async fn receive(&mut self) -> Result<ServerFrame, OAuthRelayError> {
        let mut frame = Vec::new();
        let mut limited = (&mut self.0).take(MAX_FRAME_BYTES);
        let length = limited.read_until(b'\n', &mut frame).await.map_err(|_| OAuthRelayError::Closed)?;
        // Nothing, or a frame that a relay did not live to finish.
        if !frame.ends_with(b"\n") && (length as u64) < MAX_FRAME_BYTES {
            return Err(OAuthRelayError::Closed);
        }
        // What could not be parsed may hold a code, so only the place is told.
        serde_json::from_slice(&frame).map_err(|error| {
            OAuthRelayError::Protocol(format!("byte {} of {length} is unexpected", error.column()))
        })
    }
}

async fn connect(settings: &Settings) -> io::Result<Pin<Box<dyn Duplex>>> {
    if settings.use_tcp {
        let stream = TcpStream::connect((settings.tcp_host.as_str(), settings.tcp_port)).await?;
        stream.set_nodelay(true)?;
        return Ok(Box::pin(stream));
    }
    loop {
        match UnixStream::connect(&settings.socket_path).await {
            Ok(stream) => return Ok(Box::pin(stream)),
            // A queue of new connections that is full (connect(2)): the caller's limit ends it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(BUSY_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}
