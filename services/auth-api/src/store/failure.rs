//! Failures to prove who one is, counted for an identifier and a network, for an account's from everywhere, and for a network's of every account.

use std::time::Duration;

use tokio_postgres::{Row, types::ToSql};

use super::{Executor, StoreError, execute, query, query_one};

/// What is counted: `login` or `client`, the digest of what was submitted, and where it came from.
#[derive(Clone, Debug)]
pub struct FailureKey {
    pub kind: &'static str,
    pub identifier: Vec<u8>,
    pub network: String,
}

/// A row of `failures`, by the database's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureRecord {
    pub count: u32,
    /// Since the last one.
    pub age: Duration,
    /// Until the count begins anew.
    pub left: Duration,
}

/// The failures of an account that count now.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountRecord {
    pub here: FailureRecord,
    pub everywhere: FailureRecord,
    /// Those from this network, of every account.
    pub network: FailureRecord,
    /// Since the last login from this network, where there was one.
    pub known_for: Option<Duration>,
}

/// The network in the row that counts an account's failures from everywhere.
const EVERYWHERE: &str = "";
/// The identifier in the row that counts a network's failures of every account.
const EVERYBODY: &[u8] = &[];
/// The count of an account from a network goes on as long as failures follow each other, the two others for a fixed time.
const ON_CONFLICT: &str = "ON CONFLICT (kind, identifier, network) DO UPDATE SET \
     count = CASE WHEN f.expires_at > now() THEN f.count + 1 ELSE 1 END, last_at = excluded.last_at, \
     expires_at = CASE WHEN f.expires_at > now() AND (f.network = '' OR f.identifier = '') THEN f.expires_at ELSE excluded.expires_at END \
     RETURNING f.count, 0::float8, extract(epoch FROM f.expires_at - clock_timestamp())::float8";

/// What is to be known of an account before somebody logs in to it, whether it exists or not.
pub async fn find_account(db: &impl Executor, key: &FailureKey) -> Result<AccountRecord, StoreError> {
    let sql = "SELECT here.count, extract(epoch FROM clock_timestamp() - here.last_at)::float8, \
               extract(epoch FROM here.expires_at - clock_timestamp())::float8, \
               everywhere.count, extract(epoch FROM clock_timestamp() - everywhere.last_at)::float8, \
               extract(epoch FROM everywhere.expires_at - clock_timestamp())::float8, \
               everybody.count, extract(epoch FROM clock_timestamp() - everybody.last_at)::float8, \
               extract(epoch FROM everybody.expires_at - clock_timestamp())::float8, \
               extract(epoch FROM clock_timestamp() - known.seen_at)::float8 \
               FROM (VALUES ($1::text, $2::bytea, $3::text, $4::text, $5::bytea)) \
               AS asked (kind, identifier, network, everywhere, everybody) \
               LEFT JOIN failures here ON here.kind = asked.kind AND here.identifier = asked.identifier \
               AND here.network = asked.network AND here.expires_at > now() \
               LEFT JOIN failures everywhere ON everywhere.kind = asked.kind AND everywhere.identifier = asked.identifier \
               AND everywhere.network = asked.everywhere AND everywhere.expires_at > now() \
               LEFT JOIN failures everybody ON everybody.kind = asked.kind AND everybody.identifier = asked.everybody \
               AND everybody.network = asked.network AND everybody.expires_at > now() \
               LEFT JOIN known_networks known ON known.identifier = asked.identifier AND known.network = asked.network";
    let parameters: [&(dyn ToSql + Sync); 5] =
        [&key.kind, &key.identifier, &key.network, &EVERYWHERE, &EVERYBODY];
    let row = query_one(db, sql, &parameters).await?;
    Ok(AccountRecord {
        here: from_row(&row, 0)?,
        everywhere: from_row(&row, 3)?,
        network: from_row(&row, 6)?,
        known_for: row.try_get::<_, Option<f64>>(9)?.map(duration),
    })
}

/// Counts a failure; the count begins anew after `idle_life` without one.
pub async fn upsert(
    db: &impl Executor,
    key: &FailureKey,
    idle_life: Duration,
) -> Result<FailureRecord, StoreError> {
    let sql = format!(
        "INSERT INTO failures AS f (kind, identifier, network, count, last_at, expires_at) \
         VALUES ($1, $2, $3, 1, clock_timestamp(), clock_timestamp() + make_interval(secs => $4::float8)) {ON_CONFLICT}"
    );
    let row =
        query_one(db, &sql, &[&key.kind, &key.identifier, &key.network, &idle_life.as_secs_f64()]).await?;
    from_row(&row, 0)
}

/// Counts a failure for the account from the network, and for each of the two as a whole, whose counts begin anew a `window` after the
/// first one.
pub async fn upsert_account(
    db: &impl Executor,
    key: &FailureKey,
    idle_life: Duration,
    window: Duration,
) -> Result<AccountRecord, StoreError> {
    // Everybody takes the rows of these kinds in the same order, so nobody waits in a circle.
    let sql = format!(
        "INSERT INTO failures AS f (kind, identifier, network, count, last_at, expires_at) \
         SELECT $1, identifier, network, 1, clock_timestamp(), clock_timestamp() + make_interval(secs => seconds) \
         FROM (VALUES (1, $2::bytea, $3::text, $5::float8), (2, $2, $4::text, $6::float8), (3, $7::bytea, $3, $6)) \
         AS counted (place, identifier, network, seconds) \
         ORDER BY place {ON_CONFLICT}, f.network = $4, f.identifier = $7"
    );
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &key.kind,
        &key.identifier,
        &key.network,
        &EVERYWHERE,
        &idle_life.as_secs_f64(),
        &window.as_secs_f64(),
        &EVERYBODY,
    ];
    let mut record = AccountRecord::default();
    for row in query(db, &sql, &parameters).await? {
        let failure = from_row(&row, 0)?;
        match (row.try_get(3)?, row.try_get(4)?) {
            (true, _) => record.everywhere = failure,
            (_, true) => record.network = failure,
            _ => record.here = failure,
        }
    }
    Ok(record)
}

/// Forgets the failures from a network.
pub async fn delete(db: &impl Executor, key: &FailureKey) -> Result<(), StoreError> {
    let sql = "DELETE FROM failures WHERE kind = $1 AND identifier = $2 AND network = $3";
    execute(db, sql, &[&key.kind, &key.identifier, &key.network]).await.map(drop)
}

/// Forgets the failures from a network that an account has just logged in from, and notes that it has.
pub async fn delete_and_note_known(db: &impl Executor, key: &FailureKey) -> Result<(), StoreError> {
    let sql = "WITH forgotten AS (DELETE FROM failures WHERE kind = $1 AND identifier = $2 AND network = $3) \
               INSERT INTO known_networks (identifier, network, seen_at) VALUES ($2, $3, clock_timestamp()) \
               ON CONFLICT (identifier, network) DO UPDATE SET seen_at = excluded.seen_at";
    execute(db, sql, &[&key.kind, &key.identifier, &key.network]).await.map(drop)
}

/// Deletes up to `limit` counts that are over.
pub async fn delete_ended(db: &impl Executor, limit: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM failures WHERE (kind, identifier, network) IN (SELECT kind, identifier, network FROM failures \
               WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)";
    execute(db, sql, &[&limit]).await
}

/// Deletes up to `limit` networks that their account has not logged in from for `life`.
pub async fn delete_unseen(db: &impl Executor, life: Duration, limit: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM known_networks WHERE (identifier, network) IN (SELECT identifier, network FROM known_networks \
               WHERE seen_at < now() - make_interval(secs => $1::float8) LIMIT $2 FOR UPDATE SKIP LOCKED)";
    execute(db, sql, &[&life.as_secs_f64(), &limit]).await
}

/// The count, age and rest in the three columns from `first` on.
fn from_row(row: &Row, first: usize) -> Result<FailureRecord, StoreError> {
    let Some(count) = row.try_get::<_, Option<i32>>(first)? else { return Ok(FailureRecord::default()) };
    Ok(FailureRecord {
        count: count.unsigned_abs(),
        age: duration(row.try_get(first + 1)?),
        left: duration(row.try_get(first + 2)?),
    })
}

/// What lies in the past or future by the database's clock, never less than nothing.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
