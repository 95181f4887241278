//! One service as a process: started, waited for, killed, stopped.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use e2e::http::{self, Peer};
use tokio::process::{Child, Command};

/// A start takes well under a second; the machine may be busy with a build.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Longer than the services' own limit for open requests.
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// A service's program with its settings; the process is killed when this is dropped.
pub struct Service {
    name: String,
    program: PathBuf,
    settings: Vec<(String, String)>,
    folder: PathBuf,
    child: Option<Child>,
    pub peer: Peer,
    pub admin: Peer,
}

impl Service {
    /// A service that is not started yet. `name` is that of its log file; several processes of one program differ in it.
    pub fn new(
        program: &str,
        name: &str,
        folder: &Path,
        ports: (u16, u16),
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let (port, admin_port) = ports;
        let mut all = vec![
            ("HOST".to_owned(), "127.0.0.1".to_owned()),
            ("PORT".to_owned(), port.to_string()),
            ("ADMIN_HOST".to_owned(), "127.0.0.1".to_owned()),
            ("ADMIN_PORT".to_owned(), admin_port.to_string()),
            ("LOG_FORMAT".to_owned(), "pretty".to_owned()),
        ];
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let client = http::client()?;
        Ok(Self {
            name: name.to_owned(),
            program: binary(program)?,
            settings: all,
            folder: folder.to_owned(),
            child: None,
            peer: Peer::new(client.clone(), &format!("http://127.0.0.1:{port}")),
            admin: Peer::new(client, &format!("http://127.0.0.1:{admin_port}")),
        })
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Sets or replaces a setting; it counts from the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Starts the process.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = self
            .command()
            .arg("serve")
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&mut self) -> Result<()> {
        let (admin, what) = (self.admin.clone(), format!("{} is ready", self.name));
        let child = self.child.as_mut().context("the service was not started")?;
        let ready = e2e::wait::until(START_LIMIT, &what, async || {
            Ok(admin.get("/readyz").send().await?.status == 200)
        });
        let outcome = tokio::select! {
            ready = ready => ready.map(|_| ()),
            exit = child.wait() => Err(anyhow::anyhow!("{} ended at its start: {:?}", self.name, exit?)),
        };
        outcome.with_context(|| self.last_lines())
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill().await.with_context(|| format!("{} could not be killed", self.name))
    }

    /// `kill -TERM`, and waits for the end; an error where it is not clean.
    pub async fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        let pid = child.id().context("it ended before")?.to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await?;
        ensure!(sent.success(), "{} could not be sent SIGTERM", self.name);
        match tokio::time::timeout(STOP_LIMIT, child.wait()).await {
            Ok(status) => ensure!(status?.success(), "{} ended badly: {}", self.name, self.last_lines()),
            Err(_) => bail!("{} did not end within {STOP_LIMIT:?}", self.name),
        }
        Ok(())
    }

    /// Runs a command of the program with the same settings, such as `keys rotate`, and returns what it printed.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.command().args(arguments).output().await?;
        let stderr = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "{} {}: {status}\n{stderr}", self.name, arguments.join(" "));
        Ok(String::from_utf8(stdout)?)
    }

    /// The end of the log, for a message.
    pub fn last_lines(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
        format!("the last lines of {}:\n{end}", self.name)
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Only its own settings: nothing leaks in from the environment of the tests, nor from a `.env` of the working directory.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// The program, from `BIN_DIR` or beside the running executable (tests live one folder deeper).
fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.ancestors().skip(1).take(2).map(Path::to_owned);
    let given = std::env::var_os("BIN_DIR").map(PathBuf::from);
    given.into_iter().chain(beside).map(|folder| folder.join(name)).find(|path| path.is_file()).with_context(
        || format!("the program {name} is not built: `cargo build --workspace --bins`, or set BIN_DIR"),
    )
}
