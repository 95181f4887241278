//! Revocations: what makes a token that was issued stop counting, and how other services hear of it.

use std::time::Duration;

use common_auth::{
    keys::SourceError,
    revocation::{RevocationEntry, RevocationKind, RevocationPage, RevocationSource},
};
use futures_util::future::BoxFuture;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::{
    Identity,
    feed::{self, FeedError, MAX_LIMIT, Page, Query, Reader},
};
use crate::store::{self, Executor, StoreError, feed::Feed, revocation::RevocationRecord};

/// With more single entries than this, an owner gets one entry for everything.
const MOST_PER_OWNER: i64 = 100;
/// With more entries than this in all, every owner does.
const MOST_ENTRIES: i64 = 50_000;
/// A notice that keys changed is of no use for longer.
const NOTICE_LIFE: Duration = Duration::from_mins(5);

/// A revocation that is about to be published.
#[derive(Clone, Debug)]
pub struct Revocation {
    kind: RevocationKind,
    value: String,
    org_id: Option<Uuid>,
    /// Whose token or session it is.
    owner: Option<Owner>,
    /// When the token ends, where it is known; else the longest life counts.
    token_end: Option<OffsetDateTime>,
}

/// Whose tokens can be replaced by one entry about all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    User(Uuid),
    Client(String),
}

impl Owner {
    fn value(&self) -> String {
        match self {
            Self::User(user_id) => user_id.to_string(),
            Self::Client(client_id) => client_id.clone(),
        }
    }

    fn kind(&self) -> RevocationKind {
        match self {
            Self::User(_) => RevocationKind::Subject,
            Self::Client(_) => RevocationKind::Client,
        }
    }
}

impl Revocation {
    /// One access token.
    pub fn token(jti: &str, end: OffsetDateTime, owner: Owner) -> Self {
        Self::of(RevocationKind::Jti, jti).owned(owner).until(end)
    }

    /// A login with everything that was issued for it.
    pub fn family(family_id: Uuid, user_id: Uuid) -> Self {
        Self::of(RevocationKind::Family, family_id).owned(Owner::User(user_id))
    }

    /// A user's tokens, in one organization or in all.
    pub fn subject(user_id: Uuid, org_id: Option<Uuid>) -> Self {
        Self { org_id, ..Self::of(RevocationKind::Subject, user_id) }
    }

    /// Whatever a key has signed.
    pub fn key(kid: &str) -> Self {
        Self::of(RevocationKind::Key, kid)
    }

    /// No revocation, but word that there is a new key.
    pub fn keys_changed(kid: &str) -> Self {
        Self::of(RevocationKind::KeysChanged, kid)
    }

    fn of(kind: RevocationKind, value: impl std::fmt::Display) -> Self {
        Self { kind, value: format!("{value}"), org_id: None, owner: None, token_end: None }
    }

    fn owned(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    fn until(mut self, end: OffsetDateTime) -> Self {
        self.token_end = Some(end);
        self
    }

    /// Appends the entry, or where there are too many one about its owner in their place. `longest_memory` is how long a token
    /// that was issued before now can still be accepted anywhere.
    pub(super) async fn insert(
        self,
        db: &impl Executor,
        longest_memory: Duration,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let expires_at = match self.kind {
            RevocationKind::KeysChanged => now + NOTICE_LIFE,
            _ => self.token_end.map_or(now, |end| end.max(now)) + longest_memory,
        };
        let mut record = RevocationRecord {
            cursor: 0,
            at: now,
            kind: name(self.kind).to_owned(),
            value: self.value,
            org_id: self.org_id,
            issued_before: next_second(now),
            expires_at,
        };
        let Some(owner) = self.owner else {
            return store::revocation::insert(db, &record, None).await;
        };
        let value = owner.value();
        let (of_owner, all) = store::revocation::count(db, &value, now).await?;
        if of_owner < MOST_PER_OWNER && all < MOST_ENTRIES {
            return store::revocation::insert(db, &record, Some(&value)).await;
        }
        tracing::warn!(of_owner, all, "revocations are replaced by one for their owner");
        store::revocation::delete_of_owner(db, &value).await?;
        name(owner.kind()).clone_into(&mut record.kind);
        record.value = value;
        record.expires_at = now + longest_memory;
        if let Owner::Client(client_id) = owner {
            store::notification::notify(db, &store::notification::Notification::Client(client_id)).await?;
        }
        store::revocation::insert(db, &record, None).await
    }
}

/// Revocations in force after a cursor; without one, all of them from the oldest.
pub async fn page(identity: &Identity, query: Query) -> Result<Page<RevocationRecord>, FeedError> {
    let is_load = query.after.is_none();
    // A load is answered at once, empty or not: the reader has to know where it stands.
    let query = if is_load { Query { wait: Duration::ZERO, ..query } } else { query };
    let mut reader = Reader::new(Feed::Revocations, query.after.unwrap_or(0), query);
    loop {
        let page = if reader.is_at_head(&identity.feeds) {
            reader.end()
        } else {
            read(identity, &mut reader, is_load).await?
        };
        if let Some(page) = page {
            return Ok(page);
        }
        reader.wait(identity).await;
    }
}

async fn read(
    identity: &Identity,
    reader: &mut Reader,
    is_load: bool,
) -> Result<Option<Page<RevocationRecord>>, FeedError> {
    let connection = identity.db.connection().await?;
    let head = store::feed::find_heads(&connection).await?.revocations;
    let now = store::clock(&connection).await?;
    let items = store::revocation::list(&connection, reader.after, reader.limit, now).await?;
    if !is_load {
        feed::check_cursor(&connection, Feed::Revocations, reader.after).await?;
    }
    reader.finish(items, head, |entry| entry.cursor)
}

/// The entry as readers get it.
pub fn entry(record: RevocationRecord) -> Option<RevocationEntry> {
    Some(RevocationEntry {
        cursor: record.cursor.to_string(),
        at: record.at,
        kind: KINDS.into_iter().find(|kind| name(*kind) == record.kind)?,
        value: record.value,
        org_id: record.org_id,
        issued_before: record.issued_before,
        expires_at: record.expires_at,
    })
}

/// The feed for this service's own verifier, without going through HTTP.
pub struct OwnRevocations(pub std::sync::Arc<Identity>);

impl RevocationSource for OwnRevocations {
    fn page(
        &self,
        after: Option<String>,
        wait_seconds: u64,
    ) -> BoxFuture<'_, Result<RevocationPage, SourceError>> {
        Box::pin(async move {
            let after =
                after.map(|cursor| cursor.parse()).transpose().map_err(|_| SourceError::CursorTooOld)?;
            let query = Query { after, limit: MAX_LIMIT, wait: Duration::from_secs(wait_seconds) };
            let page = page(&self.0, query).await.map_err(|error| match error {
                FeedError::CursorExpired => SourceError::CursorTooOld,
                FeedError::Store(error) => SourceError::Unavailable(error.to_string()),
            })?;
            Ok(RevocationPage {
                items: page.items.into_iter().filter_map(entry).collect(),
                next: page.next.to_string(),
            })
        })
    }
}

const KINDS: [RevocationKind; 6] = [
    RevocationKind::Jti,
    RevocationKind::Family,
    RevocationKind::Subject,
    RevocationKind::Client,
    RevocationKind::Key,
    RevocationKind::KeysChanged,
];

fn name(kind: RevocationKind) -> &'static str {
    match kind {
        RevocationKind::Jti => "jti",
        RevocationKind::Family => "family",
        RevocationKind::Subject => "subject",
        RevocationKind::Client => "client",
        RevocationKind::Key => "key",
        RevocationKind::KeysChanged => "keys_changed",
        // Only readers meet kinds that they do not know.
        RevocationKind::Unknown => "unknown",
    }
}

/// `iat` counts whole seconds, so a token of this second cannot be told from one issued before the revocation: all of the second
/// goes, and the owner gets no token before the next one.
fn next_second(now: OffsetDateTime) -> OffsetDateTime {
    let second = OffsetDateTime::from_unix_timestamp(now.unix_timestamp() + 1);
    second.unwrap_or(now).to_offset(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_second_is_revoked() {
        let now = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_400_000_000).unwrap();
        assert_eq!(next_second(now).unix_timestamp(), 1_700_000_001);
        assert_eq!(next_second(next_second(now)).unix_timestamp(), 1_700_000_002);
    }
}
