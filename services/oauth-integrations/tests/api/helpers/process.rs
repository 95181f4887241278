//! The real binary as a process of its own.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde_json::Value;
use simulator::Simulator;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use super::wait::eventually;

/// The binary that was built with these tests.
pub const BINARY: &str = env!("CARGO_BIN_EXE_oauth-integrations");

/// Where providers send browsers back to, in every test.
pub const CALLBACK_BASE: &str = "http://127.0.0.1:8010";

/// A key set of one key.
pub const KEYS: &str = "test-1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The service's own secret at auth-api.
pub const CLIENT_SECRET: &str = "integrations-CanarySecret-0123456789";

static KEY_FILE: OnceLock<String> = OnceLock::new();

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

/// The settings of every test, but for the database's and the providers'.
pub fn base_settings(issuer: &str) -> Vec<(&'static str, String)> {
    [
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("ADMIN_HOST", "127.0.0.1"),
        ("ADMIN_PORT", "0"),
        ("AUTH_API_ISSUER", issuer),
        ("CLIENT_SECRET", CLIENT_SECRET),
        ("OAUTH_CALLBACK_BASE", CALLBACK_BASE),
        ("TOKEN_ENCRYPTION_KEYS", KEYS),
        ("POSTGRES_PASSWORD", "replaced"),
        ("POSTGRES_MAX_CONNECTIONS", "6"),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "info"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// The credentials and addresses of the simulated providers.
pub fn provider_settings(sim: &Simulator) -> Vec<(&'static str, String)> {
    let known = sim.settings();
    let app = &known.github_app;
    vec![
        ("GITHUB_APP_ID", app.id.to_string()),
        ("GITHUB_APP_SLUG", app.slug.clone()),
        ("GITHUB_CLIENT_ID", app.client.id.clone()),
        ("GITHUB_CLIENT_SECRET", app.client.secret.clone()),
        ("GITHUB_PRIVATE_KEY_PATH", key_file().to_owned()),
        ("GITHUB_WEBHOOK_SECRET", app.webhook_secret.clone()),
        ("GITHUB_BROWSER_URL", sim.github_url().to_owned()),
        ("GITHUB_API_URL", sim.github_url().to_owned()),
        ("JIRA_CLIENT_ID", known.atlassian.id.clone()),
        ("JIRA_CLIENT_SECRET", known.atlassian.secret.clone()),
        ("JIRA_BROWSER_URL", sim.atlassian_url().to_owned()),
        ("JIRA_API_URL", sim.atlassian_url().to_owned()),
        ("SLACK_CLIENT_ID", known.slack.id.clone()),
        ("SLACK_CLIENT_SECRET", known.slack.secret.clone()),
        ("SLACK_SIGNING_SECRET", known.slack_signing_secret.clone()),
        ("SLACK_BROWSER_URL", sim.slack_url().to_owned()),
        ("SLACK_API_URL", sim.slack_url().to_owned()),
        ("SLACK_USER_SCOPES", "search:read".to_owned()),
    ]
}

/// The GitHub App's private key in a file.
pub fn key_file() -> &'static str {
    KEY_FILE.get_or_init(|| {
        let path =
            std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("app-{}.pem", std::process::id()));
        std::fs::write(&path, simulator::github_private_key_pem()).expect("a file for the key");
        path.display().to_string()
    })
}

/// Runs a command of the binary to its end.
pub async fn run(arguments: &[&str], settings: &[(&'static str, String)]) -> Outcome {
    let started = std::time::Instant::now();
    let output = Command::new(BINARY)
        .args(arguments)
        .env_clear()
        .envs(settings.iter().cloned())
        // A folder without an `.env` file.
        .current_dir(std::env::temp_dir())
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

    /// Waits for its end; the exit code, which a killed process has none of.
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
