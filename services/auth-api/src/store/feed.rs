//! What the two feeds have in common: the lock that makes cursor order commit order, their heads and floors.

use time::OffsetDateTime;

use super::{Executor, StoreError, execute, query_one};

/// Taken before the first cursor of a transaction and held until it is over.
const FEED_LOCK: i64 = 0x6175_7468_0003;

/// The newest cursor of each feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    pub revocations: i64,
    pub changes: i64,
}

impl Heads {
    /// The newest cursor of one of them.
    pub fn of(self, feed: Feed) -> i64 {
        match feed {
            Feed::Revocations => self.revocations,
            Feed::Changes => self.changes,
        }
    }
}

/// The feed with this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    Revocations,
    Changes,
}

impl Feed {
    fn name(self) -> &'static str {
        match self {
            Self::Revocations => "revocations",
            Self::Changes => "changes",
        }
    }
}

/// Takes the right to append, until the transaction ends.
pub async fn lock(db: &impl Executor) -> Result<(), StoreError> {
    execute(db, "SELECT pg_advisory_xact_lock($1)", &[&FEED_LOCK]).await.map(drop)
}

/// The heads of both feeds.
pub async fn find_heads(db: &impl Executor) -> Result<Heads, StoreError> {
    let sql = "SELECT greatest((SELECT max(cursor) FROM revocations), (SELECT floor FROM feed_floors WHERE feed = 'revocations')), \
               greatest((SELECT max(cursor) FROM changes), (SELECT floor FROM feed_floors WHERE feed = 'changes'))";
    let row = query_one(db, sql, &[]).await?;
    Ok(Heads { revocations: row.try_get(0)?, changes: row.try_get(1)? })
}

/// The oldest cursor that may still be read on from.
pub async fn find_floor(db: &impl Executor, feed: Feed) -> Result<i64, StoreError> {
    let row = query_one(db, "SELECT floor FROM feed_floors WHERE feed = $1", &[&feed.name()]).await?;
    Ok(row.try_get(0)?)
}

/// Deletes up to `limit` entries older than `before`, and raises the floor above them.
///
/// A revocation that is still in force stays, whatever its age.
pub async fn delete_old(
    db: &impl Executor,
    feed: Feed,
    before: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let name = feed.name();
    let in_force = match feed {
        // Nor does anything after one in force go: a load that reads on from there would find the floor above it.
        Feed::Revocations => {
            "AND cursor < (SELECT coalesce(min(cursor), 9223372036854775807) FROM revocations WHERE expires_at >= now())"
        }
        Feed::Changes => "",
    };
    let sql = format!(
        "WITH old AS (SELECT cursor FROM {name} WHERE at < $1 {in_force} ORDER BY cursor LIMIT $2), \
         gone AS (DELETE FROM {name} WHERE cursor IN (SELECT cursor FROM old) RETURNING cursor), \
         raised AS (UPDATE feed_floors SET floor = greatest(floor, (SELECT max(cursor) FROM gone)) WHERE feed = $3) \
         SELECT count(*) FROM gone"
    );
    let deleted: i64 = query_one(db, &sql, &[&before, &limit, &name]).await?.try_get(0)?;
    Ok(deleted.unsigned_abs())
}
