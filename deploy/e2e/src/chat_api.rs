//! chat-api, one method per endpoint.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{Answer, Peer};

/// The largest page of history.
const PAGE: usize = 200;

/// chat-api at its base URL, with its admin port.
#[derive(Clone)]
pub struct ChatApi {
    pub peer: Peer,
    pub admin: Peer,
}

impl ChatApi {
    /// `GET /api/chat/groups`.
    pub async fn groups(&self, token: Option<&str>) -> Result<Answer> {
        self.peer.get("/api/chat/groups").maybe_bearer(token).send().await
    }

    /// `GET /api/chat/groups/{id}`.
    pub async fn group(&self, token: &str, group_id: Uuid) -> Result<Answer> {
        self.peer.get(&format!("/api/chat/groups/{group_id}")).bearer(token).send().await
    }

    /// `GET /api/chat/groups/{id}?include=activity`.
    pub async fn activity(&self, token: &str, group_id: Uuid) -> Result<Answer> {
        self.peer.get(&format!("/api/chat/groups/{group_id}?include=activity")).bearer(token).send().await
    }

    /// `POST /api/chat/groups/{id}/messages` with this body.
    pub async fn post_message(&self, token: Option<&str>, group_id: Uuid, body: &Value) -> Result<Answer> {
        self.peer
            .post(&format!("/api/chat/groups/{group_id}/messages"))
            .maybe_bearer(token)
            .json(body)
            .send()
            .await
    }

    /// Sends a text.
    pub async fn send(&self, token: &str, group_id: Uuid, content: &str) -> Result<Answer> {
        self.post_message(Some(token), group_id, &json!({ "content": content })).await
    }

    /// `GET /api/chat/groups/{id}/messages` with this query (`""` for the newest page).
    pub async fn history(&self, token: &str, group_id: Uuid, query: &str) -> Result<Answer> {
        let separator = if query.is_empty() { "" } else { "?" };
        self.peer
            .get(&format!("/api/chat/groups/{group_id}/messages{separator}{query}"))
            .bearer(token)
            .send()
            .await
    }

    /// `GET /api/chat/groups/{id}/messages/{message_id}`.
    pub async fn message(&self, token: &str, group_id: Uuid, message_id: &str) -> Result<Answer> {
        self.peer
            .get(&format!("/api/chat/groups/{group_id}/messages/{message_id}"))
            .bearer(token)
            .send()
            .await
    }

    /// `PUT /api/chat/groups/{id}/read`.
    pub async fn mark_read(&self, token: &str, group_id: Uuid, seq: i64) -> Result<Answer> {
        self.peer
            .call(Method::PUT, &format!("/api/chat/groups/{group_id}/read"))
            .bearer(token)
            .json(&json!({ "seq": seq }))
            .send()
            .await
    }

    /// Every message of a group, oldest first.
    pub async fn whole_history(&self, token: &str, group_id: Uuid) -> Result<Vec<Value>> {
        let mut messages = Vec::new();
        let mut after = 0;
        loop {
            let query = format!("after_seq={after}&limit={PAGE}");
            let page = self.history(token, group_id, &query).await?.expect(200)?;
            messages.extend_from_slice(page.list_at("/messages")?);
            let Some(last) = messages.last() else { return Ok(messages) };
            let reached = last["seq"].as_i64().unwrap_or_default();
            ensure!(page.body["has_more"] == false || reached > after, "a page went nowhere: {}", page.text);
            if page.body["has_more"] == false {
                return Ok(messages);
            }
            after = reached;
        }
    }
}
