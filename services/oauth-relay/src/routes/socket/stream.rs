//! A client's connection as a stream of bytes, over the socket's file or TCP.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
    task::{Context, Poll},
    time::Duration,
};

use rustix::net::{RecvFlags, Shutdown, recv, shutdown, sockopt};
use tokio::net::{TcpStream, UnixStream};

use crate::domain::frame::MAX_LINE_BYTES;

/// What is read at once.
const CHUNK_BYTES: usize = 1024;
/// How long a peer over TCP may be silent before it is looked for, and how often that is tried.
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 3;

/// A connection. Reading and writing need no exclusive borrow: whoever hands a callback over writes, and the task of the waiter reads.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Why no line was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("it has hung up")]
    End,
    #[error("its line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    #[error("it cannot be read from: {0}")]
    Io(#[from] io::Error),
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        // Only makes frames come earlier; where it is refused, they still come.
        let _ = stream.set_nodelay(true);
        // Without it, a peer whose machine has gone would wait until its time is over.
        let _ = sockopt::set_socket_keepalive(&stream, true)
            .and_then(|()| sockopt::set_tcp_keepidle(&stream, KEEPALIVE_PAUSE))
            .and_then(|()| sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_PAUSE))
            .and_then(|()| sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_TRIES));
        Self::Tcp(stream)
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.readable().await,
            Self::Tcp(stream) => stream.readable().await,
        }
    }

    /// For the one task that reads from it.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => stream.poll_read_ready(context),
            Self::Tcp(stream) => stream.poll_read_ready(context),
        }
    }

    /// Reads the first line, and what came with it.
    pub(super) async fn read_line(&self) -> Result<(Vec<u8>, Vec<u8>), ReadError> {
        let mut line = Vec::new();
        loop {
            self.readable().await?;
            let searched = line.len();
            self.read_into(&mut line)?;
            if let Some(end) = line.iter().skip(searched).position(|byte| *byte == b'\n') {
                let rest = line.split_off(searched + end + 1);
                line.truncate(searched + end);
                return if line.len() > MAX_LINE_BYTES { Err(ReadError::TooLong) } else { Ok((line, rest)) };
            }
            if line.len() > MAX_LINE_BYTES {
                return Err(ReadError::TooLong);
            }
        }
    }

    /// Reads what is there, without waiting; that may be nothing.
    pub(super) fn read_into(&self, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut chunk = [0; CHUNK_BYTES];
        let read = match self {
            Self::Unix(stream) => stream.try_read(&mut chunk),
            Self::Tcp(stream) => stream.try_read(&mut chunk),
        };
        match read {
            Ok(0) => Err(ReadError::End),
            Ok(length) => {
                buffer.extend(chunk.iter().take(length));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of it, waiting where the peer does not read.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self {
                    Self::Unix(stream) => stream.writable().await?,
                    Self::Tcp(stream) => stream.writable().await?,
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a small frame to a connection that has room for it. Returns whether it went out.
    pub(super) fn write_now(&self, frame: &[u8]) -> bool {
        matches!(self.try_write(frame), Ok(length) if length == frame.len())
    }

    /// Writes a last frame, if it can be written at once, and hangs up.
    pub(super) fn send_last(&self, frame: &[u8]) {
        self.write_now(frame);
        self.hang_up();
    }

    /// Ends the connection in both directions; what was written is still read by the peer.
    pub(super) fn hang_up(&self) {
        // Fails where the peer was faster.
        let _ = shutdown(self, Shutdown::Both);
    }

    /// Whether the peer has hung up, without taking from what it sent.
    pub(super) fn has_hung_up(&self) -> bool {
        let mut byte = [0; 1];
        match recv(self, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, length)) => length == 0,
            Err(error) => error != rustix::io::Errno::WOULDBLOCK && error != rustix::io::Errno::INTR,
        }
    }

    /// Whether the peer has refused what was written to it. Over the socket's file, writing says so itself; over TCP, what is written
    /// to a peer that has just hung up comes back as a reset.
    pub(super) fn was_reset(&self) -> bool {
        let Self::Tcp(_) = self else { return false };
        let mut byte = [0; 1];
        match recv(self, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok(_) => false,
            Err(error) => error != rustix::io::Errno::WOULDBLOCK && error != rustix::io::Errno::INTR,
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}
