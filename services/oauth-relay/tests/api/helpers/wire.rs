//! The frames as the original's client puts them on the wire: one JSON object per line, nothing else.

use std::path::Path;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

use super::{schema::assert_in_schema, soon};

/// A connection to a coordinator.
pub(crate) struct Wire {
    reader: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Wire {
    pub(crate) async fn unix(path: &Path) -> Self {
        let (reader, writer) = UnixStream::connect(path).await.unwrap().into_split();
        Self { reader: BufReader::new(Box::new(reader)), writer: Box::new(writer) }
    }

    pub(crate) async fn tcp(port: u16) -> Self {
        let (reader, writer) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
        Self { reader: BufReader::new(Box::new(reader)), writer: Box::new(writer) }
    }

    /// Sends bytes as they are. A coordinator that hung up already is no error here; what it said is read next.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.writer.write_all(bytes).await;
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.send_bytes(format!("{frame}\n").as_bytes()).await;
    }

    /// Reads a line with its end; `None` once the coordinator hung up.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match soon("a line or an end", self.reader.read_line(&mut line)).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line),
        }
    }

    /// Reads a frame, which has to be one of the schema's; `None` once the coordinator hung up.
    pub(crate) async fn frame(&mut self) -> Option<Value> {
        let line = self.line().await?;
        assert!(line.ends_with('\n') && !line.ends_with("\r\n"), "{line:?}");
        let frame: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        for (key, value) in frame.as_object().unwrap() {
            assert!(!value.is_null(), "{key} is null, and ought to be left out: {line}");
        }
        assert_in_schema(&frame);
        Some(frame)
    }

    /// Reads the frame that has to be the last.
    pub(crate) async fn last_frame(&mut self) -> Value {
        let frame = self.frame().await.unwrap();
        assert_eq!(self.line().await, None, "nothing comes after {frame}");
        frame
    }

    /// Reads a delivery and acknowledges it, as an extended client has to.
    pub(crate) async fn acknowledge(&mut self) -> Value {
        let frame = self.frame().await.unwrap();
        assert_eq!(frame["type"], "DELIVER", "{frame}");
        self.send(&json!({ "type": "ACK" })).await;
        assert_eq!(self.line().await, None, "the coordinator hangs up after an acknowledged delivery");
        frame
    }

    /// Reads what a refused client is told: nothing, or an `ERROR`, and then the end. The error's word, if there was one.
    pub(crate) async fn refusal(&mut self) -> Option<String> {
        let frame = self.frame().await?;
        assert_eq!(frame["type"], "ERROR", "{frame}");
        let word = frame["error"].as_str().unwrap().to_owned();
        assert_eq!(self.line().await, None);
        Some(word)
    }
}
