//! A database for each test, copied from one that is migrated and filled once per run.

use std::{
    collections::HashMap,
    process::Command,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
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
}

/// What all tests of this process share: a name, and the database to copy.
struct Run {
    name: String,
    seed: HashMap<String, String>,
}

/// The server, as TEST_POSTGRES_URL says.
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
        let name = format!("{}_{}", run().await.name, NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server()).await;
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        admin.batch_execute(&sql).await.expect("a database for the test");
        Self { name }
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
        let row = self.client().await.query_one(sql, &[]).await.expect("a row");
        row.get::<_, String>(0)
    }

    /// The first column of the first row, as a number.
    pub async fn number(&self, sql: &str) -> i64 {
        let row = self.client().await.query_one(sql, &[]).await.expect("a row");
        row.get::<_, i64>(0)
    }

    /// Runs statements.
    pub async fn execute(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.expect("the statements");
    }

    /// Ends every connection to it, as a restart of the server would.
    pub async fn end_connections(&self) {
        let sql =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", self.name);
        connect(&server()).await.batch_execute(&sql).await.expect("an end of the connections");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A runtime of its own: the test's does not run while a value is dropped. What fails here is cleaned up by the next run.
        let worker = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let _ = runtime
                .expect("a runtime")
                .block_on(async { connect(&server()).await.batch_execute(&sql).await });
        });
        let _ = worker.join();
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
        keep_alive(&name);
        let admin = connect(&server()).await;
        drop_left_over(&admin).await;
        let template = format!("{name}_template");
        admin.batch_execute(&format!("CREATE DATABASE {template}")).await.expect("a template database");
        let seed = fill(&template).await;
        Self { name, seed }
    }
}

/// Holds a connection that bears the run's name for as long as this process lives.
fn keep_alive(name: &str) {
    let mut config = server();
    config.application_name(name);
    let (sender, connected) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let (_client, connection) = config.connect(NoTls).await.expect("PostgreSQL at TEST_POSTGRES_URL");
            let _ = sender.send(());
            let _ = connection.await;
        });
    });
    connected.recv().expect("PostgreSQL at TEST_POSTGRES_URL");
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
    let host = match server.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "127.0.0.1".to_owned(),
    };
    let (host, port) = match port {
        Some(port) => ("127.0.0.1".to_owned(), port),
        None => (host, server_port()),
    };
    let password = String::from_utf8_lossy(server.get_password().unwrap_or_default()).into_owned();
    vec![
        ("POSTGRES_HOST", host),
        ("POSTGRES_PORT", port.to_string()),
        ("POSTGRES_USER", server.get_user().unwrap_or("postgres").to_owned()),
        ("POSTGRES_PASSWORD", password),
        ("POSTGRES_DB", database.to_owned()),
    ]
}

/// The port of the server.
pub fn server_port() -> u16 {
    server().get_ports().first().copied().unwrap_or(5432)
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
