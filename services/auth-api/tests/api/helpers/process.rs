//! The real binary as a process of its own.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use super::{database::TestDatabase, wait::eventually};

/// The binary that was built with these tests.
pub const BINARY: &str = env!("CARGO_BIN_EXE_auth-api");

/// The issuer in every test.
pub const ISSUER: &str = "http://auth-api.test";

/// A process, killed with the value at the latest.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    pub url: String,
    pub admin_url: String,
}

/// What a command said.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// The settings of every test, but for the database's.
pub fn base_settings() -> Vec<(&'static str, String)> {
    [
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("ADMIN_HOST", "127.0.0.1"),
        ("ADMIN_PORT", "0"),
        ("AUTH_API_ISSUER", ISSUER),
        ("PUBLIC_URL", "http://127.0.0.1:8000"),
        ("KEY_ENCRYPTION_KEYS", "test-1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ("POSTGRES_MAX_CONNECTIONS", "6"),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "info"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// Runs a command of the binary to its end.
pub async fn run(arguments: &[&str], settings: &[(&'static str, String)]) -> Outcome {
    let started = std::time::Instant::now();
    // A folder without an `.env` file.
    let folder = std::env::temp_dir();
    let output = Command::new(BINARY)
        .args(arguments)
        .env_clear()
        .envs(settings.iter().cloned())
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), output)
        .await
        .expect("an end of the command")
        .expect("a process");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: started.elapsed(),
    }
}

/// Runs a command of the binary on a database.
pub async fn run_on(database: &TestDatabase, arguments: &[&str]) -> Outcome {
    let mut settings = base_settings();
    settings.extend(database.settings(None));
    run(arguments, &settings).await
}

impl Process {
    /// Starts the server and waits until it says where it listens.
    pub async fn serve(settings: &[(&'static str, String)]) -> Self {
        let mut child = Command::new(BINARY)
            .arg("serve")
            .env_clear()
            .envs(settings.iter().cloned())
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a process");
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("its output"), Arc::clone(&output));
        collect(child.stderr.take().expect("its errors"), Arc::clone(&output));
        let mut process = Self { child, output, url: String::new(), admin_url: String::new() };
        let (port, admin_port) =
            eventually("the process says where it listens", async || process.ports()).await;
        process.url = format!("http://127.0.0.1:{port}");
        process.admin_url = format!("http://127.0.0.1:{admin_port}");
        process
    }

    /// Everything that it has written so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a signal.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("a process that runs").to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await.expect("kill");
        assert!(status.success(), "kill -s {name} {id}");
    }

    /// Waits for its end; the exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let end = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        end.expect("an end of the process").expect("a status").code()
    }

    fn ports(&self) -> Option<(u64, u64)> {
        let output = self.output();
        output.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some((line["port"].as_u64()?, line["admin_port"].as_u64()?))
        })
    }
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
