//! auth-api's revocation feed, in memory.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common_auth::{
    keys::SourceError,
    revocation::{PAGE_LIMIT, RevocationEntry, RevocationKind, RevocationPage, RevocationSource},
};
use futures_util::future::BoxFuture;
use time::OffsetDateTime;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

/// A feed that several watchers may read; clones are the same feed.
#[derive(Clone, Default)]
pub(crate) struct Feed(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    pages: AtomicUsize,
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    entries: Vec<RevocationEntry>,
    mood: Mood,
    down_after: Option<usize>,
    /// Cursors before this one are gone.
    oldest: usize,
}

/// How the feed behaves.
#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Up,
    Down,
    Panics,
    /// Answers at once, with news or without.
    Impatient,
    /// Brings its entries again and again under one cursor.
    Stuck,
    /// Pages asked for up to now are never answered, as when the machine behind a connection is gone; later ones are.
    Lost,
}

impl Feed {
    /// Publishes a revocation of everything issued before `issued_before` (now, where there is none).
    pub(crate) fn revoke(&self, kind: RevocationKind, value: impl Display) {
        self.publish(entry(kind, value, None, OffsetDateTime::now_utc() + Duration::from_secs(1)));
    }

    pub(crate) fn publish(&self, mut entry: RevocationEntry) {
        let mut state = self.state();
        entry.cursor = (state.entries.len() + 1).to_string();
        state.entries.push(entry);
        drop(state);
        self.0.news.send_replace(());
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.set_mood(if down { Mood::Down } else { Mood::Up });
    }

    /// The feed answers so many more pages and is down from then on.
    pub(crate) fn set_down_after(&self, pages: usize) {
        self.state().down_after = Some(self.pages() + pages);
    }

    /// Every page panics until the feed is up again.
    pub(crate) fn set_panicking(&self) {
        self.set_mood(Mood::Panics);
    }

    /// The feed answers at once, with news or without.
    pub(crate) fn set_impatient(&self) {
        self.set_mood(Mood::Impatient);
    }

    /// The feed brings its entries again and again under one cursor.
    pub(crate) fn set_stuck(&self) {
        self.set_mood(Mood::Stuck);
    }

    /// Whoever waits for a page waits for ever; who asks anew gets it.
    pub(crate) fn lose_readers(&self) {
        self.set_mood(Mood::Lost);
    }

    /// Forgets every entry so far: their cursors are too old from now on.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.oldest = state.entries.len() + 1;
        drop(state);
        self.0.news.send_replace(());
    }

    pub(crate) fn pages(&self) -> usize {
        self.0.pages.load(Ordering::SeqCst)
    }

    fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
        self.0.news.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page if there is something to say.
    fn try_page(&self, after: Option<&str>, may_wait: bool) -> Result<Option<RevocationPage>, SourceError> {
        let state = self.state();
        let mood = state.mood;
        assert!(mood != Mood::Panics, "the feed panics");
        if mood == Mood::Down || state.down_after.is_some_and(|pages| self.pages() > pages) {
            return Err(SourceError::Unavailable("unplugged".to_owned()));
        }
        let from: usize = after.map_or(0, |after| after.parse().unwrap());
        if after.is_some() && from < state.oldest {
            return Err(SourceError::CursorTooOld);
        }
        let skip = if mood == Mood::Stuck { 0 } else { from.max(state.oldest.saturating_sub(1)) };
        let items: Vec<_> = state.entries.iter().skip(skip).take(PAGE_LIMIT).cloned().collect();
        if items.is_empty() && may_wait && mood != Mood::Impatient {
            return Ok(None);
        }
        let next = if mood == Mood::Stuck { from } else { (skip + items.len()).max(state.oldest) };
        Ok(Some(RevocationPage { items, next: next.to_string() }))
    }
}

impl RevocationSource for Feed {
    fn page(
        &self,
        after: Option<String>,
        wait_seconds: u64,
    ) -> BoxFuture<'_, Result<RevocationPage, SourceError>> {
        self.0.pages.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let mut news = self.0.news.subscribe();
            let until = Instant::now() + Duration::from_secs(wait_seconds);
            loop {
                let may_wait = Instant::now() < until;
                if let Some(page) = self.try_page(after.as_deref(), may_wait)? {
                    return Ok(page);
                }
                let _ = timeout_at(until, news.changed()).await;
                if self.state().mood == Mood::Lost {
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}

/// An entry that ends in an hour.
pub(crate) fn entry(
    kind: RevocationKind,
    value: impl Display,
    org_id: Option<Uuid>,
    issued_before: OffsetDateTime,
) -> RevocationEntry {
    let at = OffsetDateTime::now_utc();
    RevocationEntry {
        cursor: "0".to_owned(),
        at,
        kind,
        value: value.to_string(),
        org_id,
        issued_before,
        expires_at: at + Duration::from_hours(1),
    }
}
