//! PostgreSQL: the pool, and one file of queries per table. Nothing here knows of HTTP or of rules.

pub mod app;
pub mod audit;
pub mod change;
pub mod client;
pub mod failure;
pub mod family;
pub mod feed;
pub mod group;
pub mod notification;
pub mod org;
pub mod org_member;
pub mod replica;
pub mod revocation;
pub mod session;
pub mod signing_key;
pub mod user;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{
    GenericClient, Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use secrecy::ExposeSecret;
use tokio_postgres::{NoTls, Row, error::SqlState, types::ToSql};

use crate::config::{CONNECT_LIMIT, Config, POOL_WAIT_LIMIT, STATEMENT_LIMIT};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Migrations of all replicas take turns under this advisory lock.
const MIGRATION_LOCK: i64 = 0x6175_7468_0001;
/// How much earlier than our own limit the server gives up on a statement, so that it can say so.
const SERVER_MARGIN: Duration = Duration::from_millis(100);

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    settings: Arc<tokio_postgres::Config>,
    health: Arc<Health>,
}

/// A connection out of the pool.
pub struct Connection {
    client: deadpool_postgres::Client,
    health: Arc<Health>,
}

/// A transaction; rolled back unless it is committed.
pub struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    health: &'a Health,
}

/// Something that runs a query: a connection, or a transaction on one.
pub trait Executor: Sync {
    type Client: GenericClient;
    fn client(&self) -> &Self::Client;
    fn health(&self) -> &Health;
}

/// Remembers when a connection stopped answering, so that those from before are not used again.
pub struct Health {
    base: Instant,
    condemned_before: AtomicU64,
}

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is starting, overloaded or too slow: worth another try soon.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A unique or foreign key refused; the name of the constraint.
    #[error("the constraint {0} refused")]
    Constraint(String),
    /// A mistake of ours.
    #[error("a query failed: {0}")]
    Query(QueryFailure),
    #[error("a migration failed: {0}")]
    Migration(#[source] Box<refinery::Error>),
    /// A row says what no version of this service wrote.
    #[error("a row is unusable: {0}")]
    Row(&'static str),
}

/// What went wrong in a query, without PostgreSQL's details: they hold the row that it was about, which nobody is to read in a log.
#[derive(Debug)]
pub struct QueryFailure(String);

impl std::fmt::Display for QueryFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Database {
    /// A pool that connects when it is first used.
    pub fn new(config: &Config) -> Result<Self, StoreError> {
        let mut settings = tokio_postgres::Config::new();
        settings
            .host(&config.postgres_host)
            .port(config.postgres_port)
            .user(&config.postgres_user)
            .password(config.postgres_password.expose_secret())
            .dbname(&config.postgres_db)
            .application_name(env!("CARGO_PKG_NAME"))
            .tcp_user_timeout(Duration::from_secs(5))
            .keepalives_idle(Duration::from_secs(30));
        let mut pooled = settings.clone();
        let statement_limit = STATEMENT_LIMIT.saturating_sub(SERVER_MARGIN).as_millis();
        pooled.options(format!(
            "-c statement_timeout={statement_limit} -c lock_timeout={statement_limit} -c idle_in_transaction_session_timeout=5000"
        ));
        let health = Arc::new(Health { base: Instant::now(), condemned_before: AtomicU64::new(0) });
        let judge = Arc::clone(&health);
        let manager =
            Manager::from_config(pooled, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(config.postgres_max_connections.into())
            .wait_timeout(Some(POOL_WAIT_LIMIT))
            .create_timeout(Some(CONNECT_LIMIT))
            .recycle_timeout(Some(CONNECT_LIMIT))
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                if judge.is_condemned(metrics.created) {
                    Err(HookError::message("it stopped answering"))
                } else {
                    Ok(())
                }
            }))
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { pool, settings: Arc::new(settings), health })
    }

    /// A connection, within [`POOL_WAIT_LIMIT`] and [`CONNECT_LIMIT`].
    pub async fn connection(&self) -> Result<Connection, StoreError> {
        let client = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => StoreError::from(error),
            other => StoreError::Unavailable(other.to_string()),
        })?;
        Ok(Connection { client, health: Arc::clone(&self.health) })
    }

    /// A connection of its own, outside the pool and without time limits on statements.
    pub async fn dedicated(
        &self,
    ) -> Result<
        (
            tokio_postgres::Client,
            tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>,
        ),
        StoreError,
    > {
        match tokio::time::timeout(CONNECT_LIMIT, self.settings.connect(NoTls)).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StoreError::Unavailable("connecting took too long".to_owned())),
        }
    }

    /// Brings the schema up to date. Replicas take turns; migrations that this version does not know are left alone, so that an
    /// older version starts on a newer schema.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let (mut client, connection) = self.dedicated().await?;
        let driver = tokio::spawn(connection);
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
        let runner = embedded::migrations::runner().set_abort_missing(false);
        let report =
            runner.run_async(&mut client).await.map_err(|error| StoreError::Migration(Box::new(error)));
        // Closing the connection gives the lock back, whatever happened.
        drop(client);
        driver.abort();
        for migration in report?.applied_migrations() {
            tracing::info!(%migration, "migrated");
        }
        Ok(())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        execute(&self.connection().await?, "SELECT 1", &[]).await.map(drop)
    }

    /// Connections in use and at most.
    pub fn pool_size(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size.saturating_sub(status.available), status.max_size)
    }

    /// Closes the pool: connections end when they come back.
    pub fn close(&self) {
        self.pool.close();
    }
}

impl Connection {
    /// Begins a transaction.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, StoreError> {
        let inner = bounded(&self.health, self.client.transaction()).await?;
        Ok(Transaction { inner, health: &self.health })
    }
}

impl Transaction<'_> {
    /// Makes what was done permanent.
    pub async fn commit(self) -> Result<(), StoreError> {
        bounded(self.health, self.inner.commit()).await
    }
}

impl Executor for Connection {
    type Client = deadpool_postgres::Client;

    fn client(&self) -> &Self::Client {
        &self.client
    }

    fn health(&self) -> &Health {
        &self.health
    }
}

impl<'a> Executor for Transaction<'a> {
    type Client = deadpool_postgres::Transaction<'a>;

    fn client(&self) -> &Self::Client {
        &self.inner
    }

    fn health(&self) -> &Health {
        self.health
    }
}

impl Health {
    fn condemn(&self) {
        self.condemned_before.store(self.now(), Ordering::Relaxed);
    }

    fn is_condemned(&self, created: Instant) -> bool {
        let created = u64::try_from(created.duration_since(self.base).as_millis()).unwrap_or(u64::MAX);
        created < self.condemned_before.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl StoreError {
    /// Whether the same call may succeed soon.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether this constraint refused.
    pub fn is_constraint(&self, name: &str) -> bool {
        matches!(self, Self::Constraint(constraint) if constraint == name)
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let by_network = error.is_closed()
                || std::error::Error::source(&error)
                    .is_some_and(<dyn std::error::Error + 'static>::is::<std::io::Error>);
            return if by_network {
                Self::Unavailable(error.to_string())
            } else {
                Self::Query(QueryFailure(error.to_string()))
            };
        };
        match (refusal.code(), refusal.constraint()) {
            (&SqlState::UNIQUE_VIOLATION | &SqlState::FOREIGN_KEY_VIOLATION, Some(name)) => {
                Self::Constraint(name.to_owned())
            }
            (code, _) if is_passing(code) => Self::Unavailable(refusal.message().to_owned()),
            (code, _) => Self::Query(QueryFailure(format!("{} ({})", refusal.message(), code.code()))),
        }
    }
}

/// Whether a server's refusal passes by itself: connection trouble, no access (08, 28, 3D), too busy (53), interrupted or shutting
/// down (57, 25P03), conflicts between transactions (40, 55P03), a standby that is not promoted yet (25006), or a schema that is not
/// there yet.
fn is_passing(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "28" | "3D" | "40" | "53" | "57")
        || *code == SqlState::LOCK_NOT_AVAILABLE
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || *code == SqlState::UNDEFINED_TABLE
}

/// The time by the database's clock, which all replicas share: what tokens and revocations are held against each other by.
pub async fn clock(db: &impl Executor) -> Result<time::OffsetDateTime, StoreError> {
    Ok(query_one(db, "SELECT clock_timestamp()", &[]).await?.try_get(0)?)
}

/// Runs a query that returns rows.
async fn query(
    db: &impl Executor,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, StoreError> {
    bounded(db.health(), async {
        let statement = db.client().prepare_cached(sql).await?;
        db.client().query(&statement, parameters).await
    })
    .await
}

/// Runs a query that returns a row or none.
async fn query_opt(
    db: &impl Executor,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>, StoreError> {
    Ok(query(db, sql, parameters).await?.into_iter().next())
}

/// Runs a query that returns a row.
async fn query_one(
    db: &impl Executor,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Row, StoreError> {
    query_opt(db, sql, parameters).await?.ok_or(StoreError::Row("there is none"))
}

/// Runs a statement; returns the number of rows that it touched.
async fn execute(
    db: &impl Executor,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64, StoreError> {
    bounded(db.health(), async {
        let statement = db.client().prepare_cached(sql).await?;
        db.client().execute(&statement, parameters).await
    })
    .await
}

/// Waits no longer than [`STATEMENT_LIMIT`]. A connection that lets us wait is not used again.
async fn bounded<T>(
    health: &Health,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    if let Ok(outcome) = tokio::time::timeout(STATEMENT_LIMIT, work).await {
        Ok(outcome?)
    } else {
        health.condemn();
        Err(StoreError::Unavailable("no answer in time".to_owned()))
    }
}
