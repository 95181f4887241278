//! The notice that a consent is over, to the runtime whose chat may wait for it: written with what it tells of, delivered afterwards.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Integrations, provider::Platform, state::Wish};
use crate::{
    clients::runtime::NoticeError,
    store::{self, Executor, StoreError},
};

/// Notices delivered by one pass.
const BATCH: i64 = 20;
/// Some two days; nobody waits any longer.
const MAX_ATTEMPTS: i32 = 200;

/// What the runtime is told.
#[derive(Clone, Debug)]
pub struct Completed {
    pub platform: Platform,
    pub success: bool,
    pub account_id: Option<String>,
    pub account_name: Option<String>,
    /// One word.
    pub error: Option<String>,
    pub user_id: Uuid,
    pub app_id: Option<Uuid>,
    pub chat_session_id: Option<String>,
    pub correlation_id: Option<String>,
}

/// Where a request that waits for an owner keeps who wants to hear of it.
const WAITING: &str = "notice";

/// Puts a notice on its way, in the transaction of what it tells of.
pub async fn record(db: &impl Executor, completed: &Completed) -> Result<(), StoreError> {
    store::notice::insert(db, Uuid::now_v7(), &completed.payload()).await
}

/// Puts into a request's metadata who wants to hear when an owner has approved it.
pub(super) fn remember(mut metadata: Value, wish: &Wish) -> Value {
    if let Value::Object(members) = &mut metadata {
        let waiting = json!({
            "app_id": wish.holder.app_id,
            "chat_session_id": wish.chat_session_id,
            "correlation_id": wish.correlation_id,
        });
        members.insert(WAITING.to_owned(), waiting);
    }
    metadata
}

/// Takes that out again: the notice for the person who asked, now that the account is connected.
pub(super) fn recall(metadata: &mut Value, platform: Platform, installed_by: &str) -> Option<Completed> {
    let waiting = metadata.as_object_mut()?.remove(WAITING)?;
    let text = |name: &str| waiting.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Completed {
        platform,
        success: true,
        account_id: None,
        account_name: None,
        error: None,
        user_id: installed_by.parse().ok()?,
        app_id: text("app_id").and_then(|id| id.parse().ok()),
        chat_session_id: text("chat_session_id"),
        correlation_id: text("correlation_id"),
    })
}

/// Delivers what is due; how many were taken.
pub async fn deliver_due(integrations: &Integrations) -> Result<usize, StoreError> {
    let Some(runtime) = &integrations.runtime else { return Ok(0) };
    let connection = integrations.db.connection().await?;
    let due = store::notice::claim_due(&connection, 0.5 + rand::random::<f64>() / 2.0, BATCH).await?;
    drop(connection);
    let mut delivered = 0;
    for notice in due {
        let outcome = runtime.notify_oauth_completed(&notice.payload).await;
        let connection = integrations.db.connection().await?;
        match outcome {
            Ok(()) => {
                store::notice::mark_delivered(&connection, notice.id).await?;
                integrations.metrics.count_notice("ok");
                delivered += 1;
            }
            Err(error) => {
                let is_given_up = matches!(error, NoticeError::Refused(_)) || notice.attempts >= MAX_ATTEMPTS;
                tracing::warn!(%error, is_given_up, "a notice was not taken");
                store::notice::mark_failed(&connection, notice.id, &error.to_string(), is_given_up).await?;
                integrations.metrics.count_notice(if is_given_up { "given_up" } else { "failed" });
            }
        }
    }
    Ok(delivered)
}

impl Completed {
    /// The body of `POST /api/realtime/oauth/completed`; what is not known is left out.
    fn payload(&self) -> Value {
        let members = [
            ("chatSessionId", self.chat_session_id.clone().map(Value::from)),
            ("correlationId", self.correlation_id.clone().map(Value::from)),
            ("appId", self.app_id.map(|id| json!(id))),
            ("userId", Some(json!(self.user_id))),
            ("platform", Some(json!(self.platform))),
            ("success", Some(json!(self.success))),
            ("accountId", self.account_id.clone().map(Value::from)),
            ("accountName", self.account_name.clone().map(Value::from)),
            ("error", self.error.clone().map(Value::from)),
        ];
        let known = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(known.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_names_that_the_runtime_knows() {
        let completed = Completed {
            platform: Platform::Github,
            success: true,
            account_id: Some("1".to_owned()),
            account_name: Some("example-corp".to_owned()),
            error: None,
            user_id: Uuid::from_u128(1),
            app_id: Some(Uuid::from_u128(2)),
            chat_session_id: Some("chat-1".to_owned()),
            correlation_id: None,
        };
        assert_eq!(
            completed.payload(),
            json!({
                "chatSessionId": "chat-1", "appId": "00000000-0000-0000-0000-000000000002",
                "userId": "00000000-0000-0000-0000-000000000001", "platform": "github", "success": true,
                "accountId": "1", "accountName": "example-corp",
            })
        );
    }
}
