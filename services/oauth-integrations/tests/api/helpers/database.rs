//! A database for each test, copied from one that is migrated once per run.

use std::{
    process::Command,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, sync::OnceCell};
use tokio_postgres::{Client, Config, NoTls, config::Host};
use uuid::Uuid;

use super::{process, wait::until};

/// Every test database is called so, then the run, then a number.
const PREFIX: &str = "integrations_test_";

static RUN: OnceCell<Run> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A database that ends with the value.
pub struct TestDatabase {
    pub name: String,
    /// The one that looks and changes things for the test.
    hand: OnceCell<Client>,
}

/// What all tests of this process share: a name, and the database to copy.
struct Run {
    name: String,
    admin: Arc<Client>,
    driver: Handle,
}

/// The server, as `TEST_POSTGRES_URL` says.
pub fn server() -> Config {
    let url = std::env::var("TEST_POSTGRES_URL")
        .expect("TEST_POSTGRES_URL is not set: run the tests with `make test`, which starts the databases");
    Config::from_str(&url).expect("TEST_POSTGRES_URL is a postgres:// URL")
}

impl TestDatabase {
    /// A database that is migrated, with nothing in it.
    pub async fn create() -> Arc<Self> {
        let run = RUN.get_or_init(Run::begin).await;
        Self::copy_of(run, &format!("{}_template", run.name)).await
    }

    /// A database without a schema.
    pub async fn empty() -> Arc<Self> {
        Self::copy_of(RUN.get_or_init(Run::begin).await, "template1").await
    }

    async fn copy_of(run: &Run, template: &str) -> Arc<Self> {
        let name = format!("{}_{}", run.name, NUMBER.fetch_add(1, Ordering::Relaxed));
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        run.admin.batch_execute(&sql).await.expect("a database for the test");
        Arc::new(Self { name, hand: OnceCell::new() })
    }

    /// The settings with which the service finds it, at `port` where it is not the server's own.
    pub fn settings(&self, port: Option<u16>) -> Vec<(&'static str, String)> {
        settings(&self.name, port)
    }

    /// The first column of the first row, as text.
    pub async fn text(&self, sql: &str) -> String {
        self.hand().await.query_one(sql, &[]).await.expect("a row").get(0)
    }

    /// The first column of the first row, as text that may be absent.
    pub async fn optional_text(&self, sql: &str) -> Option<String> {
        self.hand().await.query_one(sql, &[]).await.expect("a row").get(0)
    }

    /// The first column of the first row, as a number.
    pub async fn number(&self, sql: &str) -> i64 {
        self.hand().await.query_one(sql, &[]).await.expect("a row").get(0)
    }

    /// Runs statements.
    pub async fn execute(&self, sql: &str) {
        self.hand().await.batch_execute(sql).await.expect("the statements");
    }

    /// Waits until so many statements like this wait for a lock.
    pub async fn until_waiting(&self, like: &str, count: i64) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND wait_event_type = 'Lock' AND query LIKE '{like}'"
        );
        until("they wait", async || {
            // Inside a transaction the view would stay as it was looked at first.
            self.execute("SELECT pg_stat_clear_snapshot()").await;
            self.number(&sql).await == count
        })
        .await;
    }

    /// Everything in it, as `pg_dump` writes it.
    pub async fn dump(&self) -> String {
        let server = server();
        let (host, port) = server_address();
        let program = if std::path::Path::new(PG_DUMP).exists() { PG_DUMP } else { "pg_dump" };
        let output = tokio::process::Command::new(program)
            .args(["--host", &host, "--port", &port.to_string(), "--dbname", &self.name])
            .args(["--username", server.get_user().unwrap_or("postgres")])
            .env("PGPASSWORD", String::from_utf8_lossy(server.get_password().unwrap_or_default()).as_ref())
            .output()
            .await
            .expect("pg_dump runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn hand(&self) -> &Client {
        self.hand.get_or_init(|| async { connect(server().dbname(&self.name)).await }).await
    }
}

/// Where Debian keeps it.
const PG_DUMP: &str = "/usr/lib/postgresql/15/bin/pg_dump";

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(run) = RUN.get() else { return };
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let (sender, dropped) = mpsc::channel();
        let admin = Arc::clone(&run.admin);
        // Elsewhere: the test's own runtime does not run while a value is dropped. What fails here the next run cleans up.
        run.driver.spawn(async move {
            let _ = admin.batch_execute(&sql).await;
            let _ = sender.send(());
        });
        let _ = dropped.recv_timeout(Duration::from_secs(5));
    }
}

impl Run {
    async fn begin() -> Self {
        let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
        let (admin, driver) = connect_for_good(&name);
        drop_left_over(&admin).await;
        let template = format!("{name}_template");
        admin.batch_execute(&format!("CREATE DATABASE {template}")).await.expect("a template database");
        migrate(&template);
        Self { name, admin: Arc::new(admin), driver }
    }
}

/// A connection on a thread of its own. As long as it is there, no other run drops the databases of this one.
fn connect_for_good(name: &str) -> (Client, Handle) {
    let mut config = server();
    config.application_name(name);
    let (sender, connected) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let (client, connection) = config.connect(NoTls).await.expect("PostgreSQL at TEST_POSTGRES_URL");
            let _ = sender.send((client, Handle::current()));
            let _ = connection.await;
        });
    });
    connected.recv().expect("PostgreSQL at TEST_POSTGRES_URL")
}

/// Drops what runs left that did not come to their end.
async fn drop_left_over(admin: &Client) {
    let sql = "SELECT d.datname::text FROM pg_database d WHERE d.datname LIKE 'integrations\\_test\\_%' AND NOT EXISTS \
               (SELECT 1 FROM pg_stat_activity a WHERE a.application_name LIKE 'integrations\\_test\\_%' \
               AND d.datname LIKE a.application_name || '\\_%')";
    for row in admin.query(sql, &[]).await.expect("a list of databases") {
        let name: String = row.get(0);
        let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    }
}

/// Migrates with the real command.
fn migrate(template: &str) {
    let mut command = Command::new(process::BINARY);
    // A folder without an `.env` file.
    command.current_dir(std::env::temp_dir());
    command.arg("migrate").env_clear().envs(process::base_settings("http://auth-api.test"));
    let output = command.envs(settings(template, None)).output().expect("the binary runs");
    assert!(output.status.success(), "migrate failed: {}", String::from_utf8_lossy(&output.stderr));
}

fn settings(database: &str, port: Option<u16>) -> Vec<(&'static str, String)> {
    let server = server();
    let (host, port) = port.map_or_else(server_address, |port| ("127.0.0.1".to_owned(), port));
    let password = String::from_utf8_lossy(server.get_password().unwrap_or_default()).into_owned();
    vec![
        ("POSTGRES_HOST", host),
        ("POSTGRES_PORT", port.to_string()),
        ("POSTGRES_USER", server.get_user().unwrap_or("postgres").to_owned()),
        ("POSTGRES_PASSWORD", password),
        ("POSTGRES_DB", database.to_owned()),
    ]
}

/// Host and port of the server.
pub fn server_address() -> (String, u16) {
    let server = server();
    let host = match server.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "127.0.0.1".to_owned(),
    };
    (host, server.get_ports().first().copied().unwrap_or(5432))
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("PostgreSQL at TEST_POSTGRES_URL");
    tokio::spawn(connection);
    client
}
