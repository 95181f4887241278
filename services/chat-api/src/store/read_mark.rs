//! Rows of the `read_marks` collection: how far each user has read in each group.

use common_auth::Tenant;
use futures_util::TryStreamExt;
use mongodb::{bson::doc, options::ReturnDocument};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{GroupKey, Store, StoreError, is_duplicate_key};

/// One user's mark in one group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadMarkRecord {
    /// `<org>/<group>/<user>`.
    #[serde(rename = "_id")]
    pub id: String,
    pub org_id: String,
    pub group_id: String,
    pub user_id: String,
    pub seq: i64,
}

impl Store {
    /// Every mark of one user.
    pub async fn list_read_marks(
        &self,
        tenant: Tenant,
        user_id: Uuid,
    ) -> Result<Vec<ReadMarkRecord>, StoreError> {
        let filter = doc! { "org_id": tenant.org_id().to_string(), "user_id": user_id.to_string() };
        self.within(async { self.read_marks.find(filter).batch_size(1000).await?.try_collect().await }).await
    }

    /// The user's mark in one group.
    pub async fn find_read_mark(&self, key: &GroupKey, user_id: Uuid) -> Result<Option<i64>, StoreError> {
        let mark = self.within(self.read_marks.find_one(doc! { "_id": mark_id(key, user_id) })).await?;
        Ok(mark.map(|mark| mark.seq))
    }

    /// Moves the mark forward to `seq` and returns where it stands; a mark that is already further stays.
    pub async fn update_read_mark(&self, key: &GroupKey, user_id: Uuid, seq: i64) -> Result<i64, StoreError> {
        if let Some(mark) = self.try_update_read_mark(key, user_id, seq).await? {
            return Ok(mark);
        }
        // Two first marks at once: the other one made the row, which now can be moved.
        Ok(self.try_update_read_mark(key, user_id, seq).await?.unwrap_or(seq))
    }

    async fn try_update_read_mark(
        &self,
        key: &GroupKey,
        user_id: Uuid,
        seq: i64,
    ) -> Result<Option<i64>, StoreError> {
        let filter = doc! { "_id": mark_id(key, user_id) };
        let update = doc! {
            "$max": { "seq": seq },
            "$setOnInsert": {
                "org_id": key.org_id().to_string(),
                "group_id": key.group_id().to_string(),
                "user_id": user_id.to_string(),
            },
        };
        let action = self
            .read_marks
            .find_one_and_update(filter, update)
            .upsert(true)
            .return_document(ReturnDocument::After);
        self.within(async {
            match action.await {
                Ok(mark) => Ok(mark.map(|mark| mark.seq)),
                Err(error) if is_duplicate_key(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

fn mark_id(key: &GroupKey, user_id: Uuid) -> String {
    format!("{key}/{user_id}")
}
