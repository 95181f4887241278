//! Rows of the `group_heads` collection: how far each timeline is known to reach. A hint, which a restored backup may leave ahead of the
//! timeline.

use futures_util::{Stream, TryStreamExt, stream};
use mongodb::bson::{DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use common_auth::Tenant;

use super::{GroupKey, Store, StoreError, is_duplicate_key, message::Tip, within};

/// One group's head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeadRecord {
    /// `<org>/<group>`: the same key on every replica, so that two cannot make two heads.
    #[serde(rename = "_id")]
    pub id: String,
    pub org_id: String,
    pub group_id: String,
    pub last_seq: i64,
    pub last_change: i64,
    pub last_message: Option<LastMessageRecord>,
}

/// The newest message, as lists of groups show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastMessageRecord {
    pub id: String,
    pub seq: i64,
    pub sender_id: String,
    pub content: String,
    pub created_at: DateTime,
}

impl HeadRecord {
    /// The head of a timeline that reaches to `tip`.
    #[must_use]
    pub fn new(key: &GroupKey, tip: Tip, last_message: Option<LastMessageRecord>) -> Self {
        Self {
            id: key.to_string(),
            org_id: key.org_id.to_string(),
            group_id: key.group_id.to_string(),
            last_seq: tip.seq,
            last_change: tip.change,
            last_message,
        }
    }

    /// The timeline that this is the head of; `None` for a row that this service did not write.
    #[must_use]
    pub fn key(&self) -> Option<GroupKey> {
        Some(GroupKey {
            org_id: Uuid::parse_str(&self.org_id).ok()?,
            group_id: Uuid::parse_str(&self.group_id).ok()?,
        })
    }

    #[must_use]
    pub fn tip(&self) -> Tip {
        Tip { change: self.last_change, seq: self.last_seq }
    }
}

impl Store {
    /// The head of one group.
    pub async fn find_head(&self, key: &GroupKey) -> Result<Option<HeadRecord>, StoreError> {
        let mut filter = doc! { "_id": key.to_string() };
        filter.extend(key.filter());
        self.within(self.heads.find_one(filter)).await
    }

    /// The heads of these groups of the tenant's organization; without a list, of all.
    pub async fn list_heads(
        &self,
        tenant: Tenant,
        groups: Option<&[Uuid]>,
    ) -> Result<Vec<HeadRecord>, StoreError> {
        let mut filter = doc! { "org_id": tenant.org_id().to_string() };
        if let Some(groups) = groups {
            filter.insert("group_id", doc! { "$in": groups.iter().map(Uuid::to_string).collect::<Vec<_>>() });
        }
        self.within(async { self.heads.find(filter).batch_size(1000).await?.try_collect().await }).await
    }

    /// The heads of every organization, for the job that heals them.
    pub async fn stream_all_heads(
        &self,
    ) -> Result<impl Stream<Item = Result<HeadRecord, StoreError>> + Send + use<>, StoreError> {
        let heads = self.within(self.heads.find(doc! {})).await?;
        let limit = self.operation_limit;
        Ok(stream::try_unfold(heads, move |mut heads| async move {
            let next = within(limit, heads.try_next()).await?;
            Ok(next.map(|head| (head, heads)))
        }))
    }

    /// Makes an empty head where there is none, so that a group with messages always has one to heal.
    pub async fn insert_head(&self, key: &GroupKey) -> Result<(), StoreError> {
        let head = HeadRecord::new(key, Tip::default(), None);
        self.ignoring_duplicates(async { self.heads.insert_one(head).await.map(drop) }).await
    }

    /// Moves the head forward; one that is already as far stays.
    pub async fn update_head(&self, head: &HeadRecord) -> Result<(), StoreError> {
        self.move_head(head, doc! { "$lt": head.last_change }).await
    }

    /// Moves a head back that was found ahead of its timeline, unless somebody moved it meanwhile.
    pub async fn rewind_head(&self, head: &HeadRecord, from: Tip) -> Result<(), StoreError> {
        self.move_head(head, doc! { "$eq": from.change }).await
    }

    async fn move_head(&self, head: &HeadRecord, last_change: Document) -> Result<(), StoreError> {
        let filter = doc! { "_id": &head.id, "org_id": &head.org_id, "last_change": last_change };
        let last_message = mongodb::bson::to_bson(&head.last_message)
            .map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let update = doc! {
            "$set": { "last_seq": head.last_seq, "last_change": head.last_change, "last_message": last_message },
        };
        self.within(self.heads.update_one(filter, update)).await.map(drop)
    }

    async fn ignoring_duplicates(
        &self,
        operation: impl Future<Output = mongodb::error::Result<()>>,
    ) -> Result<(), StoreError> {
        self.within(async {
            match operation.await {
                Err(error) if is_duplicate_key(&error) => Ok(()),
                outcome => outcome,
            }
        })
        .await
    }
}
