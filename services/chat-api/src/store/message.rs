//! Rows of the `timeline` collection: messages, and the changes made to them, under two gapless numbers per group.

mod tip_search;

use std::collections::HashMap;

use futures_util::{TryStreamExt, future::try_join_all};
use mongodb::{
    bson::{DateTime, Document, doc},
    error::ErrorKind,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::tip_search::TipSearch;
use super::{BUCKET_SIZE, GroupKey, Store, StoreError, bucket};

/// The kind of a row that is a message.
pub const KIND_MESSAGE: &str = "message";

/// One row. A row that is no message has `seq = -change` and a `client_message_id` of its own, so that the same unique indexes
/// hold for every row. What most rows do not have is not written: without the last four fields FerretDB takes a tenth less for a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TimelineRecord {
    #[serde(rename = "_id")]
    pub id: String,
    pub org_id: String,
    pub group_id: String,
    pub seq: i64,
    pub seq_bucket: i64,
    pub change: i64,
    pub change_bucket: i64,
    /// The number of messages once this row was in: the last row alone says where both numbers stand.
    pub last_seq: i64,
    pub kind: String,
    pub sender_id: String,
    pub client_message_id: String,
    pub content: String,
    /// Hexadecimal digest of the message as it was first sent.
    pub body_sha256: String,
    pub created_at: DateTime,
    /// The message that this one replies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_root: Option<String>,
    /// The bucket of that message's `seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_bucket: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<DateTime>,
}

/// What a new message row is made of.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub id: Uuid,
    pub sender_id: Uuid,
    pub client_message_id: String,
    pub content: String,
    pub body_sha256: String,
    pub thread: Option<ThreadRef>,
}

/// The message that a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadRef {
    pub root_id: Uuid,
    pub root_seq: i64,
}

/// Where a group's two numbers stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tip {
    pub change: i64,
    pub seq: i64,
}

/// What became of an ordered insert.
#[derive(Debug)]
pub enum Inserted {
    All,
    /// A unique index refused the row with this position; those before it are stored, those after it were not tried.
    Duplicate(usize),
}

#[derive(Deserialize)]
struct TipRow {
    change: i64,
    last_seq: i64,
}

#[derive(Deserialize)]
struct ThreadRow {
    #[serde(rename = "_id")]
    id: String,
    count: usize,
}

impl TimelineRecord {
    /// The row of a message that becomes the one after `tip`.
    #[must_use]
    pub fn message(key: &GroupKey, message: &NewMessage, tip: Tip, created_at: DateTime) -> Self {
        let (seq, change) = (tip.seq + 1, tip.change + 1);
        Self {
            id: message.id.to_string(),
            org_id: key.org_id.to_string(),
            group_id: key.group_id.to_string(),
            seq,
            seq_bucket: bucket(seq),
            change,
            change_bucket: bucket(change),
            last_seq: seq,
            kind: KIND_MESSAGE.to_owned(),
            sender_id: message.sender_id.to_string(),
            client_message_id: message.client_message_id.clone(),
            content: message.content.clone(),
            body_sha256: message.body_sha256.clone(),
            created_at,
            thread_root: message.thread.map(|thread| thread.root_id.to_string()),
            thread_bucket: message.thread.map(|thread| bucket(thread.root_seq)),
            edited_at: None,
            deleted_at: None,
        }
    }

    /// Where the numbers stand once this row is in.
    #[must_use]
    pub fn tip(&self) -> Tip {
        Tip { change: self.change, seq: self.last_seq }
    }
}

impl Store {
    /// Inserts consecutive rows in order: no row is stored before the one in front of it.
    ///
    /// # Errors
    /// When the outcome is not known: any number of the rows, from the first on, may be stored or still become so.
    pub async fn insert_timeline(&self, rows: &[TimelineRecord]) -> Result<Inserted, StoreError> {
        if !self.is_prepared() {
            return Err(StoreError::Unavailable("its indexes are not made yet".to_owned()));
        }
        let insert = self.timeline.insert_many(rows).ordered(true);
        let Ok(outcome) = tokio::time::timeout(self.operation_limit, insert.into_future()).await else {
            return Err(StoreError::TimedOut);
        };
        let Err(error) = outcome else { return Ok(Inserted::All) };
        if let ErrorKind::InsertMany(ref failure) = *error.kind
            && failure.write_concern_error.is_none()
            && let Some([refused]) = failure.write_errors.as_deref()
            && refused.code == 11000
        {
            return Ok(Inserted::Duplicate(refused.index));
        }
        Err(error.into())
    }

    /// Where the group's numbers stand, searched from `hint` on. One that is far off, behind or ahead as after a restored backup, costs
    /// a few queries more.
    pub async fn find_tip(&self, key: &GroupKey, hint: Tip) -> Result<Tip, StoreError> {
        let mut search = TipSearch::new(hint);
        while let Some(number) = search.next() {
            search.note(number, self.find_bucket_tip(key, number).await?);
        }
        Ok(search.tip())
    }

    /// The messages numbered `first` to `last`, ascending.
    pub async fn list_messages(
        &self,
        key: &GroupKey,
        first: i64,
        last: i64,
    ) -> Result<Vec<TimelineRecord>, StoreError> {
        if first > last {
            return Ok(Vec::new());
        }
        let queries = (bucket(first)..=bucket(last)).map(|number| {
            let mut filter = key.filter();
            filter.insert("seq_bucket", number);
            filter.insert("seq", doc! { "$gte": first, "$lte": last });
            self.list(filter)
        });
        let mut messages: Vec<TimelineRecord> = try_join_all(queries).await?.into_iter().flatten().collect();
        messages.sort_unstable_by_key(|message| message.seq);
        Ok(messages)
    }

    /// Every row after the change numbered `after`, ascending.
    pub async fn list_changes(&self, key: &GroupKey, after: i64) -> Result<Vec<TimelineRecord>, StoreError> {
        let mut rows = Vec::new();
        let mut number = bucket(after + 1);
        loop {
            let mut filter = key.filter();
            filter.insert("change_bucket", number);
            filter.insert("change", doc! { "$gt": after, "$lt": (number + 1) * BUCKET_SIZE });
            let mut page = self.list(filter).await?;
            page.sort_unstable_by_key(|row| row.change);
            let is_full = page.last().is_some_and(|row| bucket(row.change + 1) != number);
            rows.append(&mut page);
            if !is_full {
                return Ok(rows);
            }
            number += 1;
        }
    }

    /// The message with this id.
    pub async fn find_message(&self, key: &GroupKey, id: Uuid) -> Result<Option<TimelineRecord>, StoreError> {
        let mut filter = doc! { "_id": id.to_string() };
        filter.extend(key.filter());
        filter.insert("kind", KIND_MESSAGE);
        self.within(self.timeline.find_one(filter)).await
    }

    /// The row that a sender stored under its own id.
    pub async fn find_by_client_message_id(
        &self,
        key: &GroupKey,
        sender_id: Uuid,
        client_message_id: &str,
    ) -> Result<Option<TimelineRecord>, StoreError> {
        let mut filter = key.filter();
        filter.insert("sender_id", sender_id.to_string());
        filter.insert("client_message_id", client_message_id);
        self.within(self.timeline.find_one(filter)).await
    }

    /// How many replies the messages numbered `first` to `last` have, by the id of the message; those without one are left out.
    pub async fn count_replies(
        &self,
        key: &GroupKey,
        first: i64,
        last: i64,
    ) -> Result<HashMap<String, usize>, StoreError> {
        if first > last {
            return Ok(HashMap::new());
        }
        let queries = (bucket(first)..=bucket(last)).map(|number| async move {
            let mut filter = key.filter();
            filter.insert("thread_bucket", number);
            let pipeline = [
                doc! { "$match": filter },
                doc! { "$group": { "_id": "$thread_root", "count": { "$sum": 1 } } },
            ];
            let threads = self.timeline.aggregate(pipeline).with_type::<ThreadRow>();
            self.within(async { threads.await?.try_collect::<Vec<_>>().await }).await
        });
        Ok(try_join_all(queries).await?.into_iter().flatten().map(|it| (it.id, it.count)).collect())
    }

    async fn list(&self, filter: Document) -> Result<Vec<TimelineRecord>, StoreError> {
        self.within(async { self.timeline.find(filter).batch_size(1000).await?.try_collect().await }).await
    }

    async fn find_bucket_tip(&self, key: &GroupKey, number: i64) -> Result<Option<Tip>, StoreError> {
        let mut filter = key.filter();
        filter.insert("change_bucket", number);
        // The range says the same as the bucket, in the words of the unique index.
        filter.insert("change", doc! { "$gte": number * BUCKET_SIZE, "$lt": (number + 1) * BUCKET_SIZE });
        let timeline = self.timeline.clone_with_type::<TipRow>();
        let find = timeline
            .find_one(filter)
            .projection(doc! { "_id": 0, "change": 1, "last_seq": 1 })
            .sort(doc! { "change": -1 });
        let row = self.within(find).await?;
        Ok(row.map(|row| Tip { change: row.change, seq: row.last_seq }))
    }
}
