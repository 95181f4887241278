//! The stored messages, read straight from MongoDB, past every service.

use std::time::Duration;

use anyhow::{Context, Result};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::ClientOptions,
};
use uuid::Uuid;

/// chat-api's database.
pub struct Timeline {
    database: mongodb::Database,
}

impl Timeline {
    /// Connects to a database.
    pub async fn connect(uri: &str, database: &str) -> Result<Self> {
        let mut options = ClientOptions::parse(uri).await.context("MONGODB_URI cannot be used")?;
        options.server_selection_timeout = Some(Duration::from_secs(5));
        Ok(Self { database: Client::with_options(options)?.database(database) })
    }

    /// The database itself.
    pub fn database(&self) -> &mongodb::Database {
        &self.database
    }

    /// The row of a message.
    pub async fn message(&self, org_id: Uuid, group_id: Uuid, seq: i64) -> Result<Option<Document>> {
        let filter = doc! { "org_id": org_id.to_string(), "group_id": group_id.to_string(), "seq": seq };
        Ok(self.database.collection::<Document>("timeline").find_one(filter).await?)
    }

    /// How many rows a group has.
    pub async fn count(&self, org_id: Uuid, group_id: Uuid) -> Result<u64> {
        let filter = doc! { "org_id": org_id.to_string(), "group_id": group_id.to_string() };
        Ok(self.database.collection::<Document>("timeline").count_documents(filter).await?)
    }
}
