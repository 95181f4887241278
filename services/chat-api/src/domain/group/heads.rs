//! How far the timelines reach: a hint in memory, a hint in the store, and the timeline itself, which alone is right.

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    collections::HashMap,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::TryStreamExt;
use quick_cache::sync::Cache;
use tokio::sync::Notify;

use crate::store::{
    GroupKey, Store, StoreError,
    group::{HeadRecord, LastMessageRecord},
    message::{TimelineRecord, Tip},
};

/// Groups whose head is kept in memory.
const CAPACITY: usize = 50_000;
/// How much of the newest message the head holds, in characters.
const EXCERPT_CHARS: usize = 200;

/// The heads that this process knows, and those that it still has to store.
pub struct Heads {
    store: Store,
    /// How far timelines reach at least: other replicas write too.
    tips: Cache<GroupKey, Tip>,
    /// Heads that this process wrote or looked up, perhaps newer than the stored ones.
    known: Cache<GroupKey, HeadRecord>,
    unsaved: Mutex<HashMap<GroupKey, HeadRecord>>,
    work: Notify,
}

impl Heads {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            tips: Cache::new(CAPACITY),
            known: Cache::new(CAPACITY),
            unsaved: Mutex::default(),
            work: Notify::new(),
        }
    }

    /// Where the group's numbers stand now.
    pub async fn find_tip(&self, key: &GroupKey) -> Result<Tip, StoreError> {
        let Some(hint) = self.tips.get(key) else { return Ok(self.find_head(key).await?.tip()) };
        let tip = self.store.find_tip(key, hint).await?;
        self.tips.insert(*key, tip);
        Ok(tip)
    }

    /// Where the numbers stand, for one who will move them: makes sure that the group has a head in the store, so that whatever
    /// a crash leaves behind is found again.
    pub async fn find_tip_to_write(&self, key: &GroupKey) -> Result<Tip, StoreError> {
        if let Some(head) = self.store.find_head(key).await? {
            return Ok(self.heal(key, head).await?.tip());
        }
        self.store.insert_head(key).await?;
        Ok(self.heal(key, HeadRecord::new(key, Tip::default(), None)).await?.tip())
    }

    /// The group's head as of now.
    pub async fn find_head(&self, key: &GroupKey) -> Result<HeadRecord, StoreError> {
        if let Some(head) = self.known.get(key) {
            return self.catch_up(key, head).await;
        }
        if let Some(head) = self.store.find_head(key).await? {
            return self.heal(key, head).await;
        }
        let head = self.catch_up(key, HeadRecord::new(key, Tip::default(), None)).await?;
        // Rows without a head: it was lost with its collection, or their writer is just making it.
        if head.tip() > Tip::default() {
            self.store.insert_head(key).await?;
            self.save_later(*key, head.clone());
        }
        Ok(head)
    }

    /// Forgets every head: the database was away, and may come back as an older backup has it. [`Heads::heal_all`] finds out what of
    /// it is still true.
    pub fn forget(&self) {
        self.tips.clear();
        self.known.clear();
        self.unsaved().clear();
    }

    /// For each group the newer of a stored head and the one in memory.
    pub fn newest_of(&self, stored: Vec<HeadRecord>) -> HashMap<GroupKey, HeadRecord> {
        stored
            .into_iter()
            .filter_map(|head| {
                let key = head.key()?;
                let known = self.known.get(&key).filter(|known| known.last_change > head.last_change);
                Some((key, known.unwrap_or(head)))
            })
            .collect()
    }

    /// Notes a row that this process has just stored.
    pub fn note_written(&self, key: &GroupKey, row: &TimelineRecord) {
        let head = HeadRecord::new(key, row.tip(), Some(excerpt(row)));
        self.remember(key, &head);
        self.save_later(*key, head);
    }

    /// Every head of the store, healed; returns how many were wrong.
    pub async fn heal_all(&self) -> Result<usize, StoreError> {
        let mut healed = 0;
        let mut heads = pin!(self.store.stream_all_heads().await?);
        while let Some(head) = heads.try_next().await? {
            let Some(key) = head.key() else { continue };
            let before = head.tip();
            healed += usize::from(self.heal(&key, head).await?.tip() != before);
        }
        Ok(healed)
    }

    /// Waits until there are heads to store, then stores them.
    pub async fn save_next(&self) -> Result<(), StoreError> {
        self.work.notified().await;
        self.save_all().await
    }

    /// Stores every head that is not stored yet. Each is kept until it is stored, so that a failure, or being stopped, loses none.
    pub async fn save_all(&self) -> Result<(), StoreError> {
        let waiting: Vec<(GroupKey, HeadRecord)> =
            self.unsaved().iter().map(|(key, head)| (*key, head.clone())).collect();
        for (key, head) in waiting {
            if let Err(error) = self.store.update_head(&head).await {
                self.work.notify_one();
                return Err(error);
            }
            let mut unsaved = self.unsaved();
            // A newer one may have come meanwhile.
            if unsaved.get(&key).is_some_and(|it| it.last_change <= head.last_change) {
                unsaved.remove(&key);
            }
        }
        Ok(())
    }

    /// The stored head moved to where its timeline ends: a crash may have left it behind, a restored backup ahead.
    async fn heal(&self, key: &GroupKey, stored: HeadRecord) -> Result<HeadRecord, StoreError> {
        let before = stored.tip();
        let head = self.catch_up(key, stored).await?;
        match head.tip().cmp(&before) {
            Greater => self.save_later(*key, head.clone()),
            Less => self.store.rewind_head(&head, before).await?,
            Equal => {}
        }
        Ok(head)
    }

    /// The head moved to the end of the timeline.
    async fn catch_up(&self, key: &GroupKey, mut head: HeadRecord) -> Result<HeadRecord, StoreError> {
        let tip = self.store.find_tip(key, head.tip()).await?;
        if tip != head.tip() {
            let newest = self.store.list_messages(key, tip.seq, tip.seq).await?;
            head = HeadRecord::new(key, tip, newest.first().map(excerpt));
        }
        self.remember(key, &head);
        Ok(head)
    }

    fn remember(&self, key: &GroupKey, head: &HeadRecord) {
        self.tips.insert(*key, head.tip());
        self.known.insert(*key, head.clone());
    }

    fn save_later(&self, key: GroupKey, head: HeadRecord) {
        let mut unsaved = self.unsaved();
        match unsaved.get(&key) {
            Some(waiting) if waiting.last_change >= head.last_change => {}
            _ => drop(unsaved.insert(key, head)),
        }
        drop(unsaved);
        self.work.notify_one();
    }

    fn unsaved(&self) -> MutexGuard<'_, HashMap<GroupKey, HeadRecord>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn excerpt(row: &TimelineRecord) -> LastMessageRecord {
    LastMessageRecord {
        id: row.id.clone(),
        seq: row.seq,
        sender_id: row.sender_id.clone(),
        content: row.content.chars().take(EXCERPT_CHARS).collect(),
        created_at: row.created_at,
    }
}
