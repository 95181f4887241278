//! The two feeds: appending in commit order, and reading on from a cursor, waiting for news if need be.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Identity, change::Change, revocation::Revocation};
use crate::store::{
    self, Executor, StoreError, Transaction,
    feed::{Feed, Heads},
    notification::Notification,
};

/// The longest that a reader may ask to wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Entries in a page, at most and where nothing is said.
pub const MAX_LIMIT: i64 = 500;

/// How long a reader waits before it looks itself, while the heads are not known.
const BLIND_WAIT: Duration = Duration::from_millis(250);

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    pub after: Option<i64>,
    pub limit: i64,
    pub wait: Duration,
}

/// Entries in order, and where the next page starts.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: i64,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The cursor is older than what is kept, or from another database: the reader loads everything anew.
    #[error("the cursor is too old")]
    CursorExpired,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The heads of the feeds as this replica last saw them; none while the database does not answer.
pub struct FeedWatch {
    heads: watch::Sender<Option<Heads>>,
    closing: CancellationToken,
}

impl Default for FeedWatch {
    fn default() -> Self {
        Self { heads: watch::Sender::new(None), closing: CancellationToken::new() }
    }
}

impl FeedWatch {
    /// Looks at the database, and wakes whoever waits if there is news, or if it cannot be known.
    pub async fn refresh(&self, db: &store::Database) -> Result<(), StoreError> {
        let heads = async { store::feed::find_heads(&db.connection().await?).await }.await;
        let seen = heads.as_ref().ok().copied();
        self.heads.send_if_modified(|known| std::mem::replace(known, seen) != seen);
        heads.map(drop)
    }

    fn head(&self, feed: Feed) -> Option<i64> {
        self.heads.borrow().map(|heads| heads.of(feed))
    }

    /// Waits until the feed goes beyond `cursor`, the database stops answering, or the time is over.
    async fn wait_beyond(&self, feed: Feed, cursor: i64, until: Instant) {
        let mut heads = self.heads.subscribe();
        let was_known = heads.borrow().is_some();
        let until = if was_known { until } else { until.min(Instant::now() + BLIND_WAIT) };
        let is_news = |heads: &Option<Heads>| heads.map_or(was_known, |heads| heads.of(feed) > cursor);
        tokio::select! {
            _ = heads.wait_for(is_news) => {}
            () = tokio::time::sleep_until(until) => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// Sends whoever waits home: the service is about to end.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

/// Appends to the feeds and commits: both at once, so that nothing can come between a cursor and its commit.
pub async fn publish(
    transaction: Transaction<'_>,
    identity: &Identity,
    revocations: Vec<Revocation>,
    changes: Vec<Change>,
) -> Result<(), StoreError> {
    store::feed::lock(&transaction).await?;
    let now = store::clock(&transaction).await?;
    for change in changes {
        store::change::insert(&transaction, &change.into_record(now)).await?;
    }
    for revocation in revocations {
        revocation.insert(&transaction, identity.settings.longest_memory(), now).await?;
    }
    store::notification::notify(&transaction, &Notification::Feed).await?;
    transaction.commit().await
}

/// Refuses cursors that could not be read on from. Asked after the reading: what is swept in between would be missing otherwise.
pub(super) async fn check_cursor(db: &impl Executor, feed: Feed, cursor: i64) -> Result<(), FeedError> {
    let floor = store::feed::find_floor(db, feed).await?;
    if cursor < floor { Err(FeedError::CursorExpired) } else { Ok(()) }
}

/// Somebody who reads on from a cursor, and waits where there is nothing. No connection is held while waiting.
pub(super) struct Reader {
    feed: Feed,
    pub(super) after: i64,
    pub(super) limit: i64,
    waits: bool,
    until: Instant,
}

impl Reader {
    pub(super) fn new(feed: Feed, after: i64, query: Query) -> Self {
        let until = Instant::now() + query.wait.min(LONGEST_WAIT);
        Self { feed, after, limit: query.limit.clamp(1, MAX_LIMIT), waits: !query.wait.is_zero(), until }
    }

    /// Whether a look at the database can be spared: as far as this replica has seen, and it looks each second and hears of every
    /// entry, there is nothing to read. Who does not wait is told what is there at this moment.
    pub(super) fn is_at_head(&self, feeds: &FeedWatch) -> bool {
        self.waits && feeds.head(self.feed) == Some(self.after)
    }

    /// The empty page of a wait that brought nothing. None: there is time to wait.
    pub(super) fn end<T>(&self) -> Option<Page<T>> {
        (Instant::now() >= self.until).then(|| Page { items: Vec::new(), next: self.after })
    }

    /// Makes a page of what was read, and of the head that was there before. None: there is nothing yet, and time to wait.
    pub(super) fn finish<T>(
        &mut self,
        items: Vec<T>,
        head: i64,
        cursor: impl Fn(&T) -> i64,
    ) -> Result<Option<Page<T>>, FeedError> {
        if head < self.after {
            return Err(FeedError::CursorExpired);
        }
        let is_full = i64::try_from(items.len()).is_ok_and(|count| count >= self.limit);
        // A full page ends at its last entry; another at the head, since entries between may not be for this reader. Entries may
        // have come after the head was read: they are further than it.
        let next = match items.last().map(cursor) {
            Some(last) if is_full => last,
            Some(last) => last.max(head),
            None => head,
        };
        if items.is_empty() && Instant::now() < self.until {
            self.after = next;
            return Ok(None);
        }
        Ok(Some(Page { items, next }))
    }

    /// Waits for news.
    pub(super) async fn wait(&mut self, identity: &Identity) {
        identity.feeds.wait_beyond(self.feed, self.after, self.until).await;
        if identity.feeds.closing.is_cancelled() {
            self.until = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(limit: i64) -> Reader {
        Reader::new(Feed::Changes, 10, Query { after: Some(10), limit, wait: Duration::ZERO })
    }

    #[test]
    fn a_full_page_ends_at_its_last_entry_and_another_at_the_head() {
        let page = reader(2).finish(vec![11, 12], 20, |cursor| *cursor).unwrap().unwrap();
        assert_eq!(page.next, 12);
        let page = reader(3).finish(vec![11, 12], 20, |cursor| *cursor).unwrap().unwrap();
        assert_eq!(page.next, 20);
        let page = reader(3).finish(vec![11, 25], 20, |cursor| *cursor).unwrap().unwrap();
        assert_eq!(page.next, 25);
        let page = reader(3).finish(Vec::<i64>::new(), 20, |cursor| *cursor).unwrap().unwrap();
        assert_eq!(page.next, 20);
    }

    #[test]
    fn only_a_reader_who_waits_at_the_head_spares_the_database_a_look() {
        let feeds = FeedWatch::default();
        let waiting = |after| {
            Reader::new(Feed::Changes, after, Query { after: None, limit: 1, wait: Duration::from_secs(1) })
        };
        assert!(!waiting(10).is_at_head(&feeds), "nothing is known");
        feeds.heads.send_replace(Some(Heads { revocations: 9, changes: 10 }));
        assert!(waiting(10).is_at_head(&feeds));
        assert!(waiting(10).end::<i64>().is_none(), "there is time to wait");
        assert!(!waiting(9).is_at_head(&feeds), "there is news");
        assert!(!waiting(11).is_at_head(&feeds), "another replica has seen more, or it is another database");
        assert!(!reader(1).is_at_head(&feeds), "it does not wait");
        let page = reader(1).end::<i64>().unwrap();
        assert!(page.items.is_empty());
        assert_eq!(page.next, 10);
    }

    #[test]
    fn a_cursor_of_another_database_is_refused() {
        assert!(matches!(
            reader(3).finish(Vec::<i64>::new(), 9, |cursor| *cursor),
            Err(FeedError::CursorExpired)
        ));
    }
}
