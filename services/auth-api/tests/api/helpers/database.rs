//! A database for each test, copied from one that is migrated and filled once per run.

use std::{
    collections::HashMap,
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

use sha2::{Digest, Sha256};
use tokio::{runtime::Handle, sync::OnceCell};
use tokio_postgres::{Client, Config, NoTls, config::Host};
use uuid::Uuid;

use super::{fixtures, process};

/// Every test database is called so, then the run, then a number.
const PREFIX: &str = "auth_api_test_";

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
    seed: HashMap<String, String>,
    /// A connection that bears the run's name and lives as long as this process, and what drives it.
    admin: Arc<Client>,
    driver: Handle,
}

/// The server, as `TEST_POSTGRES_URL` says.
fn server() -> Config {
    let url = std::env::var("TEST_POSTGRES_URL")
        .expect("TEST_POSTGRES_URL is not set: run the tests with `make test`, which starts the databases");
    Config::from_str(&url).expect("TEST_POSTGRES_URL is a postgres:// URL")
}

impl TestDatabase {
    /// A database with the demo data and the fixtures.
    pub async fn create() -> Self {
        let run = run().await;
        Self::copy_of(&format!("{}_template", run.name)).await
    }

    /// A database with nothing in it.
    pub async fn empty() -> Self {
        run().await;
        Self::copy_of("template1").await
    }

    async fn copy_of(template: &str) -> Self {
        let run = run().await;
        let name = format!("{}_{}", run.name, NUMBER.fetch_add(1, Ordering::Relaxed));
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        run.admin.batch_execute(&sql).await.expect("a database for the test");
        Self { name, hand: OnceCell::new() }
    }

    /// The settings with which the service finds it, at `port` where it is not the server's own.
    pub fn settings(&self, port: Option<u16>) -> Vec<(&'static str, String)> {
        settings(&self.name, port)
    }

    /// A connection of the test's own.
    pub async fn client(&self) -> Client {
        connect(server().dbname(&self.name)).await
    }

    /// The first column of the first row, as text.
    pub async fn text(&self, sql: &str) -> String {
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

    /// Ends every connection of the service to it, as a restart of the server would.
    pub async fn end_connections(&self) {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(self.number(sql).await > 0, "there are connections to end");
    }

    async fn hand(&self) -> &Client {
        self.hand.get_or_init(|| self.client()).await
    }
}

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

/// A value that `seed-demo` printed.
pub async fn seeded(variable: &str) -> String {
    let value = run().await.seed.get(variable);
    value.unwrap_or_else(|| panic!("seed-demo did not print {variable}")).clone()
}

/// Everything that `seed-demo` printed.
pub async fn seed() -> &'static HashMap<String, String> {
    &run().await.seed
}

/// The `KEY=value` lines of `seed-demo`, unquoted.
pub fn parse_variables(output: &str) -> HashMap<String, String> {
    let pairs = output.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

async fn run() -> &'static Run {
    RUN.get_or_init(Run::begin).await
}

impl Run {
    async fn begin() -> Self {
        let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
        let (admin, driver) = connect_for_good(&name);
        drop_left_over(&admin).await;
        let template = format!("{name}_template");
        admin.batch_execute(&format!("CREATE DATABASE {template}")).await.expect("a template database");
        let seed = fill(&template).await;
        Self { name, seed, admin: Arc::new(admin), driver }
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
    let sql = "SELECT d.datname::text FROM pg_database d WHERE d.datname LIKE 'auth\\_api\\_test\\_%' AND NOT EXISTS \
               (SELECT 1 FROM pg_stat_activity a WHERE a.application_name LIKE 'auth\\_api\\_test\\_%' \
               AND d.datname LIKE a.application_name || '\\_%')";
    for row in admin.query(sql, &[]).await.expect("a list of databases") {
        let name: String = row.get(0);
        let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    }
}

/// Migrates and seeds with the real commands, then adds the people and clients that only tests need.
async fn fill(template: &str) -> HashMap<String, String> {
    let mut seed_demo = Command::new(process::BINARY);
    // A folder without an `.env` file.
    seed_demo.current_dir(std::env::temp_dir());
    seed_demo.arg("seed-demo").env_clear().envs(process::base_settings()).envs(settings(template, None));
    let output = seed_demo.output().expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed-demo failed: {errors}");
    let seed = parse_variables(&String::from_utf8_lossy(&output.stdout));
    let client = connect(server().dbname(template)).await;
    fixtures::insert(&client, &seed).await;
    seed
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

/// How a client's secret is kept.
pub fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}
