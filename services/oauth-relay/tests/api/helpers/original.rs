//! The original's two sides: its client, written in Python for these tests, and a coordinator that is as strict as the original's.

use std::{path::Path, process::Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, UnixListener},
    process::{Child, Command},
    sync::mpsc,
};

use super::soon;

/// Starts the Python client; it prints what it got as one JSON object.
pub(crate) fn python_client(arguments: &[&str]) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/original_client.py");
    Command::new("python3")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 is installed")
}

/// A coordinator that hangs up on every key it does not know, and answers with a code at once.
pub(crate) struct OriginalCoordinator {
    registered: mpsc::UnboundedReceiver<Result<Register, String>>,
    pub(crate) port: u16,
}

/// What the original's parser takes; every other key makes it fail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) state: Option<String>,
    code: Option<String>,
    raw: Option<Value>,
    error: Option<String>,
}

impl OriginalCoordinator {
    /// Listens on a Unix socket.
    pub(crate) fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (sender, registered) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, sender.clone()));
            }
        });
        Self { registered, port: 0 }
    }

    /// Listens on a loopback port.
    pub(crate) async fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, registered) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, sender.clone()));
            }
        });
        Self { registered, port }
    }

    /// The next registration, or why it was refused.
    pub(crate) async fn registered(&mut self) -> Result<Register, String> {
        soon("a registration", self.registered.recv()).await.expect("a coordinator")
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    sender: mpsc::UnboundedSender<Result<Register, String>>,
) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.is_err() || line.is_empty() {
        return;
    }
    let register: Result<Register, _> = serde_json::from_str(&line);
    let Ok(register) = register else {
        let _ = sender.send(Err(line));
        return;
    };
    assert_eq!(register.kind, "REGISTER");
    assert!(register.code.is_none() && register.raw.is_none() && register.error.is_none());
    // Key by key as the original writes it: a denial where the state asks for one, a code otherwise.
    let mut frame = json!({ "type": "DELIVER" });
    if let Some(state) = &register.state {
        frame["state"] = json!(state);
    }
    if register.state.as_deref().is_some_and(|state| state.starts_with("denied")) {
        frame["raw"] = json!({ "error": "access_denied", "state": register.state });
    } else {
        frame["code"] = json!("from-the-original");
    }
    let _ = sender.send(Ok(register));
    let _ = stream.write_all(format!("{frame}\n").as_bytes()).await;
    let _ = stream.shutdown().await;
}
