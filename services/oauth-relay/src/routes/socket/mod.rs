//! The coordinator: the socket where programs wait for their callbacks, one frame per line (`proto/relay-frames.md`).

mod bind;
mod connection;
mod stream;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::{
    net::{TcpListener, UnixListener},
    time::Instant,
};

use self::{
    bind::SocketFile,
    connection::{Connection, Hold},
    stream::{ReadError, Stream},
};
use crate::domain::{
    frame::{ClientFrame, Dismissal, Register, ServerFrame, line, seconds},
    state::StateKey,
    waiter::{Line, Owner, Refusal, Seat, Waiters},
};

/// How long a client may take for its first frame.
const FIRST_FRAME_LIMIT: Duration = Duration::from_secs(10);
/// How long accepting pauses when it fails, which it does where the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections beyond the waiters: those that have not said yet what they want.
pub const SPARE_CONNECTIONS: usize = 1024;

/// Where clients connect.
#[derive(Clone, Debug)]
pub enum Endpoint {
    Unix { path: PathBuf, allowed_uids: Vec<u32> },
    Tcp { host: IpAddr, port: u16, secret: Option<SecretString> },
}

/// The socket, open.
pub struct Coordinator {
    listener: Listener,
    gate: Arc<Gate>,
}

/// Why the socket cannot be opened; each names the variable at fault.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("OAUTH_SOCKET_PATH is not usable: {0}")]
    Unix(bind::SocketFileError),
    #[error("OAUTH_TCP_FALLBACK_PORT is not usable: {address} cannot be listened on: {error}")]
    Tcp { address: SocketAddr, error: io::Error },
}

enum Listener {
    Unix { listener: UnixListener, file: SocketFile },
    Tcp { listener: TcpListener, address: SocketAddr },
}

/// Whom the socket lets in, and where they go.
struct Gate {
    waiters: Arc<Waiters>,
    allowed_uids: Vec<u32>,
    secret: Option<SecretString>,
    connections: AtomicUsize,
    max_connections: usize,
}

impl Coordinator {
    /// Opens the socket; it needs the async runtime.
    ///
    /// # Errors
    /// [`BindError`]
    pub fn bind(endpoint: Endpoint, waiters: Arc<Waiters>, capacity: usize) -> Result<Self, BindError> {
        tracing::info!("OAuth coordinator starting");
        let mut gate = Gate {
            waiters,
            allowed_uids: Vec::new(),
            secret: None,
            connections: AtomicUsize::new(0),
            max_connections: capacity.saturating_add(SPARE_CONNECTIONS),
        };
        let listener = match endpoint {
            Endpoint::Unix { path, allowed_uids } => {
                let is_shared = !allowed_uids.is_empty();
                gate.allowed_uids = allowed_uids;
                gate.allowed_uids.push(rustix::process::geteuid().as_raw());
                let (listener, file) = bind::listen(&path, is_shared).map_err(BindError::Unix)?;
                tracing::info!("OAuth coordinator listening on {}", path.display());
                Listener::Unix { listener, file }
            }
            Endpoint::Tcp { host, port, secret } => {
                gate.secret = secret;
                let address = SocketAddr::new(host, port);
                let (listener, address) =
                    bind::listen_tcp(address).map_err(|error| BindError::Tcp { address, error })?;
                tracing::info!("OAuth coordinator listening on TCP {address}");
                Listener::Tcp { listener, address }
            }
        };
        Ok(Self { listener, gate: Arc::new(gate) })
    }

    /// The port, over TCP.
    #[must_use]
    pub fn tcp_port(&self) -> Option<u16> {
        match &self.listener {
            Listener::Unix { .. } => None,
            Listener::Tcp { address, .. } => Some(address.port()),
        }
    }

    /// Lets clients in until it is dropped, which removes the socket's file.
    pub async fn serve(self) {
        loop {
            let accepted = match &self.listener {
                Listener::Unix { listener, .. } => {
                    listener.accept().await.map(|(unix, _)| Stream::Unix(unix))
                }
                Listener::Tcp { listener, .. } => listener.accept().await.map(|(tcp, _)| Stream::tcp(tcp)),
            };
            match accepted {
                Ok(stream) => self.gate.receive(stream),
                Err(error) => {
                    tracing::warn!(%error, "a client of the coordinator could not be let in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Listener::Unix { file, .. } = &self.listener {
            file.remove();
        }
        tracing::info!("OAuth coordinator stopped");
    }
}

impl Gate {
    fn receive(self: &Arc<Self>, stream: Stream) {
        if !self.is_allowed(&stream) {
            return;
        }
        let Some(place) = Place::take(self) else {
            tracing::warn!("a client of the coordinator was sent away: there are too many connections");
            self.waiters.count_refusal();
            stream.send_last(&line(&ServerFrame::Error { state: None, error: Dismissal::Capacity }));
            return;
        };
        let gate = Arc::clone(self);
        // A task of its own, so that what the first frame needs is given back before the long wait.
        tokio::spawn(async move {
            if let Some((connection, seat, deadline, rest)) = gate.greet(stream).await {
                tokio::spawn(Hold::new(connection, seat, deadline, rest, place));
            }
        });
    }

    /// Over the socket's file, the system says who it is.
    fn is_allowed(&self, stream: &Stream) -> bool {
        let Stream::Unix(unix) = stream else { return true };
        match unix.peer_cred() {
            Ok(peer) if self.allowed_uids.contains(&peer.uid()) => true,
            Ok(peer) => {
                tracing::warn!(
                    uid = peer.uid(),
                    "a client of the coordinator was refused: it is another user's"
                );
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a client of the coordinator was refused: its user is not known");
                false
            }
        }
    }

    async fn greet(&self, stream: Stream) -> Option<(Arc<Connection>, Seat, Instant, Vec<u8>)> {
        let (frame, rest) = match tokio::time::timeout(FIRST_FRAME_LIMIT, stream.read_line()).await {
            Ok(Ok(read)) => read,
            Ok(Err(ReadError::End)) => return None,
            Ok(Err(error)) => return refuse(&error.to_string()),
            Err(_elapsed) => return refuse("its first frame did not come in time"),
        };
        let Ok(ClientFrame::Register(register)) = serde_json::from_slice(&frame) else {
            return refuse("its first frame is no REGISTER");
        };
        if !self.knows_secret(&register) {
            return refuse("it does not know the secret");
        }
        let asked = match register.timeout.map(seconds) {
            None => None,
            Some(Some(asked)) => Some(asked),
            Some(None) => return refuse("its timeout is no number of seconds above zero"),
        };
        let deadline = Instant::now() + self.waiters.timeout(asked);
        let state = register.state.filter(|state| !state.is_empty());
        let key = match self.waiters.admit(state.as_deref()) {
            Ok(key) => key,
            Err(refusal) => return refuse(&refusal.to_string()),
        };
        tracing::debug!(%key, extended = register.extended, timeout = register.timeout, "REGISTER received");
        let connection = Arc::new(Connection::new(stream, state, register.extended));
        let line: Arc<dyn Line> = Arc::clone(&connection) as _;
        match self.waiters.register(key, Owner::Local, &line, Duration::ZERO) {
            Ok(seat) => Some((connection, seat, deadline, rest)),
            Err(refusal) => {
                turn_away(key, &connection, refusal);
                None
            }
        }
    }

    fn knows_secret(&self, register: &Register) -> bool {
        let Some(secret) = &self.secret else { return true };
        let given = register.secret.as_deref().unwrap_or_default();
        secret.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// One of the connections that may be open at once.
struct Place(Arc<Gate>);

impl Place {
    fn take(gate: &Arc<Gate>) -> Option<Self> {
        let place = Self(Arc::clone(gate));
        (gate.connections.fetch_add(1, Ordering::Relaxed) < gate.max_connections).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn turn_away(key: StateKey, connection: &Connection, refusal: Refusal) {
    tracing::info!("Client refused for state: '{key}': {refusal}");
    match refusal {
        Refusal::Taken => connection.dismiss(Dismissal::Replaced),
        Refusal::Capacity => connection.dismiss(Dismissal::Capacity),
        Refusal::Shutdown => connection.dismiss(Dismissal::Shutdown),
        Refusal::Stateless | Refusal::Weak | Refusal::Long | Refusal::Gone => {}
    }
}

fn refuse<T>(reason: &str) -> Option<T> {
    tracing::warn!("a client of the coordinator was refused: {reason}");
    None
}
