//! The real binary as a process of its own.

use std::{
    net::TcpListener,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

use super::{Folder, Http, eventually, soon};

/// The binary that was built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_oauth-relay");

/// A serving process, killed with the value at the latest.
pub(crate) struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    pub(crate) http: Http,
    pub(crate) tcp_port: Option<u16>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

/// Runs a command of the binary to its end, with these variables and no others, in a folder without an `.env`.
pub(crate) async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Outcome {
    run_with_input(arguments, settings, None).await
}

/// The same, with lines on its standard input, which stays open.
pub(crate) async fn run_with_input(
    arguments: &[&str],
    settings: &[(&str, &str)],
    input: Option<&str>,
) -> Outcome {
    let started = Instant::now();
    let mut child = command(settings)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take();
    if let (Some(stdin), Some(input)) = (&mut stdin, input) {
        match stdin.write_all(input.as_bytes()).await {
            // A command that has ended already reads no more; how it ended is what the test looks at.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        }
    }
    let output = tokio::time::timeout(Duration::from_mins(1), child.wait_with_output()).await;
    let output = output.expect("an end of the command").unwrap();
    drop(stdin);
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        took: started.elapsed(),
    }
}

/// A port that can be listened on, below the range that the system gives to whoever asks for any.
pub(crate) fn free_port() -> u16 {
    (20_000..30_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

impl Process {
    /// Starts the relay with its socket in this folder, and waits until it is ready.
    pub(crate) async fn serve(folder: &Folder, settings: &[(&str, &str)]) -> Self {
        let socket = folder.socket();
        let usual = [
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("ADMIN_PORT", "0"),
            ("OAUTH_ENABLED", "true"),
            ("LOG_FORMAT", "json"),
            ("OAUTH_SOCKET_PATH", socket.to_str().unwrap()),
        ];
        let mut child = command(&[&usual, settings].concat())
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), Arc::clone(&output));
        collect(child.stderr.take().unwrap(), Arc::clone(&output));
        let mut process =
            Self { child, output, http: Http::new(String::new(), String::new()), tcp_port: None };
        eventually("the process says where it listens", async || {
            let exit = process.child.try_wait().unwrap();
            assert!(exit.is_none(), "ended at its start: {}", process.output());
            process.ports().is_some()
        })
        .await;
        let (port, admin_port, tcp_port) = process.ports().unwrap();
        process.http =
            Http::new(format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{admin_port}"));
        process.tcp_port = tcp_port;
        eventually("the process is ready", async || process.http.admin("/readyz").await.status == 200).await;
        process
    }

    /// Everything that it has written so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("a process that runs")
    }

    /// Sends a signal.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await.unwrap();
        assert!(status.success(), "kill -s {name} {id}");
    }

    /// `kill -9`, and its end.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end; the exit code.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        soon("the end of the process", self.child.wait()).await.unwrap().code()
    }

    fn ports(&self) -> Option<(u16, u16, Option<u16>)> {
        let output = self.output();
        output.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let port = |name: &str| {
                let value = line.get(name).or_else(|| line["fields"].get(name))?;
                u16::try_from(value.as_u64()?).ok()
            };
            Some((port("port")?, port("admin_port")?, port("tcp_port")))
        })
    }
}

fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    // A folder without an `.env` file.
    let folder = std::env::temp_dir();
    command.env_clear().envs(settings.iter().copied()).current_dir(folder).kill_on_drop(true);
    command
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, output: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&line);
            output.push('\n');
        }
    });
}
