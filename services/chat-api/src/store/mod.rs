//! Records and queries of the MongoDB database, in the subset that `MongoDB` and `FerretDB` share.
//!
//! Only equality of top-level scalars is pushed down everywhere, so every query has an equality prefix that bounds what it reads:
//! [`bucket`] is the one place that decides how.

pub mod group;
pub mod message;
pub mod read_mark;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common_auth::Tenant;
use mongodb::{
    Client, Collection, Database, IndexModel,
    bson::{Document, doc},
    error::ErrorKind,
    options::{ClientOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};
use uuid::Uuid;

use self::{group::HeadRecord, message::TimelineRecord, read_mark::ReadMarkRecord};

/// How many consecutive numbers share a bucket, and so how many rows a bounded query reads at most.
pub const BUCKET_SIZE: i64 = 128;

/// How the database is reached.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    pub uri: String,
    pub database: String,
    /// How long a connection may take to open.
    pub connect: Duration,
    /// How long an operation waits for a usable server.
    pub server_selection: Duration,
    /// How long one operation may take in all.
    pub operation: Duration,
}

/// The collections of chat-api.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    timeline: Collection<TimelineRecord>,
    heads: Collection<HeadRecord>,
    read_marks: Collection<ReadMarkRecord>,
    operation_limit: Duration,
    preparation: Arc<Preparation>,
}

#[derive(Debug, Default)]
struct Preparation {
    /// Set while the indexes are known to be there: without them, nothing keeps two rows from having one number.
    is_done: AtomicBool,
    times: AtomicU64,
}

/// One group's timeline: the equality prefix of every query on it.
///
/// Made from a [`Tenant`], or by the store from a row that it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    org_id: Uuid,
    group_id: Uuid,
}

/// Why the store gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or refused; trying again may help.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database took longer than the limit.
    #[error("the database did not answer in time")]
    TimedOut,
    /// A row does not have the form that this version knows.
    #[error("unreadable row: {0}")]
    Unreadable(String),
}

/// The bucket of a `seq` or a `change`.
#[must_use]
pub fn bucket(number: i64) -> i64 {
    number.div_euclid(BUCKET_SIZE)
}

impl GroupKey {
    /// The timeline of `group_id` in the tenant's organization.
    #[must_use]
    pub fn new(tenant: Tenant, group_id: Uuid) -> Self {
        Self { org_id: tenant.org_id(), group_id }
    }

    #[must_use]
    pub fn group_id(&self) -> Uuid {
        self.group_id
    }

    #[must_use]
    pub fn org_id(&self) -> Uuid {
        self.org_id
    }

    /// The start of every filter on this timeline.
    fn filter(&self) -> Document {
        doc! { "org_id": self.org_id.to_string(), "group_id": self.group_id.to_string() }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.org_id, self.group_id)
    }
}

impl Store {
    /// Prepares the client; nothing is sent before the first operation.
    ///
    /// # Errors
    /// When the connection string is malformed.
    pub async fn connect(settings: &StoreSettings) -> Result<Self, mongodb::error::Error> {
        let mut options = ClientOptions::parse(&settings.uri).await?;
        options.app_name = Some(env!("CARGO_PKG_NAME").to_owned());
        options.connect_timeout = Some(settings.connect);
        options.server_selection_timeout = Some(settings.server_selection);
        // Quick to see that the database is back.
        options.heartbeat_freq = Some(Duration::from_secs(1));
        options.write_concern = Some(WriteConcern::majority());
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.max_pool_size.get_or_insert(64);
        let database = Client::with_options(options)?.database(&settings.database);
        Ok(Self {
            timeline: database.collection("timeline"),
            heads: database.collection("group_heads"),
            read_marks: database.collection("read_marks"),
            database,
            operation_limit: settings.operation,
            preparation: Arc::default(),
        })
    }

    /// Makes the indexes that are missing; before that, no message is stored. They are plain, the unique ones on fields that every
    /// row has.
    ///
    /// The index on `seq` comes first: two replicas that insert the same numbers then wait for each other in one order.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let timeline = [
            index("timeline_seq", doc! { "org_id": 1, "group_id": 1, "seq": 1 }, true),
            index("timeline_change", doc! { "org_id": 1, "group_id": 1, "change": 1 }, true),
            index(
                "timeline_client_message_id",
                doc! { "org_id": 1, "group_id": 1, "sender_id": 1, "client_message_id": 1 },
                true,
            ),
            index(
                "timeline_thread",
                doc! { "org_id": 1, "group_id": 1, "thread_bucket": 1, "thread_root": 1 },
                false,
            ),
        ];
        for model in timeline {
            self.timeline.create_index(model).await?;
        }
        let heads = index("heads_org", doc! { "org_id": 1, "group_id": 1 }, true);
        self.heads.create_index(heads).await?;
        let read_marks = index("read_marks_user", doc! { "org_id": 1, "user_id": 1, "group_id": 1 }, true);
        self.read_marks.create_index(read_marks).await?;
        self.preparation.times.fetch_add(1, Ordering::Relaxed);
        self.preparation.is_done.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether [`Store::prepare`] succeeded, and nobody doubts it since.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.preparation.is_done.load(Ordering::Acquire)
    }

    /// How often [`Store::prepare`] succeeded: what was known about rows before the last time need not hold any more.
    #[must_use]
    pub fn times_prepared(&self) -> u64 {
        self.preparation.times.load(Ordering::Acquire)
    }

    /// Says that the database was away: until it is prepared again no message is stored, since it may come back empty, or as an older
    /// backup has it.
    pub fn doubt(&self) {
        self.preparation.is_done.store(false, Ordering::Release);
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.within(self.database.run_command(doc! { "ping": 1 })).await.map(drop)
    }

    /// Runs one operation under the time limit.
    async fn within<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        F: IntoFuture<Output = mongodb::error::Result<T>>,
    {
        within(self.operation_limit, operation).await
    }
}

impl From<mongodb::error::Error> for StoreError {
    fn from(error: mongodb::error::Error) -> Self {
        match *error.kind {
            ErrorKind::BsonDeserialization(ref cause) => Self::Unreadable(cause.to_string()),
            ref kind => Self::Unavailable(kind.to_string()),
        }
    }
}

async fn within<T, F>(limit: Duration, operation: F) -> Result<T, StoreError>
where
    F: IntoFuture<Output = mongodb::error::Result<T>>,
{
    match tokio::time::timeout(limit, operation).await {
        Ok(outcome) => outcome.map_err(StoreError::from),
        Err(_elapsed) => Err(StoreError::TimedOut),
    }
}

fn index(name: &str, keys: Document, unique: bool) -> IndexModel {
    let options = IndexOptions::builder().name(name.to_owned()).unique(unique).build();
    IndexModel::builder().keys(keys).options(options).build()
}

/// Whether `error` says that a unique index refused the write. Which one, not every server tells.
fn is_duplicate_key(error: &mongodb::error::Error) -> bool {
    use mongodb::error::WriteFailure;

    const DUPLICATE_KEY: i32 = 11000;
    match *error.kind {
        ErrorKind::Write(WriteFailure::WriteError(ref error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(ref error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fall_into_buckets_of_their_own_sign() {
        assert_eq!(bucket(1), 0);
        assert_eq!(bucket(127), 0);
        assert_eq!(bucket(128), 1);
        assert_eq!(bucket(-1), -1);
        assert_eq!(bucket(-128), -1);
        assert_eq!(bucket(-129), -2);
    }
}
