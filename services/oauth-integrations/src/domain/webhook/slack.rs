//! Slack's deliveries: the app removed from a workspace, and tokens revoked, by the ids of whose they were.

use common_auth::Tenant;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::{Receipt, WebhookError, count, is_current, mark, mark_uninstalled, signature};
use crate::{
    domain::{Integrations, installation::Status, provider::Platform},
    store::{self, Executor, StoreError, credential::CredentialKey, installation_status::ReachedRecord},
};

const PLATFORM: &str = "slack";

/// A delivery as it came in.
#[derive(Clone, Copy)]
pub struct SlackDelivery<'a> {
    pub timestamp: &'a str,
    pub signature: &'a str,
    pub body: &'a [u8],
    /// This service's clock.
    pub now: OffsetDateTime,
}

/// The wrapper of all events.
#[derive(Deserialize)]
struct Wrapper {
    #[serde(rename = "type")]
    kind: String,
    challenge: Option<String>,
    team_id: Option<String>,
    enterprise_id: Option<String>,
    event: Option<Event>,
    event_id: Option<String>,
    event_time: Option<i64>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    tokens: RevokedTokens,
}

/// Ids of users, not tokens.
#[derive(Default, Deserialize)]
struct RevokedTokens {
    #[serde(default)]
    oauth: Vec<String>,
    #[serde(default)]
    bot: Vec<String>,
}

/// The installations that an event is about.
struct Reach {
    rows: Vec<ReachedRecord>,
    /// Or it is about one workspace of the enterprise that they are in.
    is_whole: bool,
}

/// Takes a delivery.
pub async fn receive_slack(
    integrations: &Integrations,
    delivery: SlackDelivery<'_>,
) -> Result<Receipt, WebhookError> {
    let outcome = receive(integrations, delivery).await;
    count(integrations, Platform::Slack, outcome)
}

async fn receive(integrations: &Integrations, delivery: SlackDelivery<'_>) -> Result<Receipt, WebhookError> {
    let secret = integrations.slack_signing_secret.as_ref().ok_or(WebhookError::NotConfigured)?;
    let SlackDelivery { timestamp, signature, body, now } = delivery;
    if !signature::is_of_slack(secret, signature, timestamp, body, now.unix_timestamp()) {
        return Err(WebhookError::Signature);
    }
    let wrapper: Wrapper = serde_json::from_slice(body).map_err(|_| WebhookError::Form)?;
    if wrapper.kind == "url_verification" {
        return wrapper.challenge.map(Receipt::Challenge).ok_or(WebhookError::Form);
    }
    let Some(event) =
        wrapper.event.as_ref().filter(|it| matches!(it.kind.as_str(), "app_uninstalled" | "tokens_revoked"))
    else {
        return Ok(Receipt::Ignored);
    };
    let event_id = wrapper.event_id.as_deref().ok_or(WebhookError::Form)?;
    let at = wrapper.event_time.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let at = at.ok_or(WebhookError::Form)?;
    let mut connection = integrations.db.connection().await?;
    let transaction = connection.transaction().await?;
    if !store::webhook_delivery::insert(&transaction, PLATFORM, event_id).await? {
        return Ok(Receipt::Duplicate);
    }
    let mut is_applied = false;
    let reach = find_reached(&transaction, &wrapper).await?;
    for row in reach.rows.iter().filter(|row| is_current(row, at)) {
        is_applied |= match event.kind.as_str() {
            "app_uninstalled" if reach.is_whole => {
                mark_uninstalled(&transaction, Platform::Slack, row).await?;
                true
            }
            // The workspace may have had an installation of its own: Slack is asked what it means for the enterprise.
            "app_uninstalled" => {
                let tenant = Tenant::of_record(row.org_id);
                store::installation_status::forget_probe(&transaction, &tenant, row.id).await?;
                true
            }
            _ => revoke_tokens(&transaction, &event.tokens, row).await?,
        };
    }
    if !is_applied {
        return Ok(Receipt::Ignored);
    }
    transaction.commit().await?;
    Ok(Receipt::Applied)
}

/// The installation in the workspace, or the one in its whole enterprise if there is none.
async fn find_reached(db: &impl Executor, wrapper: &Wrapper) -> Result<Reach, StoreError> {
    let (mut rows, mut is_whole) = (Vec::new(), true);
    if let Some(id) = &wrapper.team_id {
        rows = store::installation_status::find_by_account(db, PLATFORM, id).await?;
    }
    if let (true, Some(id)) = (rows.is_empty(), &wrapper.enterprise_id) {
        rows = store::installation_status::find_by_account(db, PLATFORM, id).await?;
        is_whole = wrapper.team_id.is_none();
    }
    Ok(Reach { rows, is_whole })
}

/// Takes the tokens of these users out of use; whether one of them was of this installation.
async fn revoke_tokens(
    db: &impl Executor,
    tokens: &RevokedTokens,
    row: &ReachedRecord,
) -> Result<bool, WebhookError> {
    let is_ours = |member: &str, ids: &[String]| {
        let id = row.metadata.get(member).and_then(Value::as_str);
        id.is_some_and(|id| ids.iter().any(|it| it == id))
    };
    let tenant = Tenant::of_record(row.org_id);
    let bot_is_gone = is_ours("bot_user_id", &tokens.bot);
    let user_is_gone = is_ours("authed_user_id", &tokens.oauth);
    for (is_gone, kind) in [(bot_is_gone, "bot"), (user_is_gone, "user")] {
        if is_gone {
            let key = CredentialKey { installation_id: row.id, kind };
            store::credential::refuse(db, &tenant, key, "access_revoked").await?;
        }
    }
    if !(bot_is_gone || user_is_gone) {
        return Ok(false);
    }
    // Without its bot, or without any token, the installation is no use.
    let left = store::credential::list(db, &tenant, row.id).await?;
    let has_token = left.iter().any(|it| it.access_token_encrypted.is_some());
    if bot_is_gone || !has_token {
        mark(db, Platform::Slack, row, Status::NeedsReconnect, Some("access_revoked")).await?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_read_with_its_ids() {
        let wrapper: Wrapper = serde_json::from_value(json!({
            "token": "x", "team_id": "T1", "api_app_id": "A1", "type": "event_callback", "event_id": "Ev1",
            "event_time": 1_790_000_000, "event": { "type": "tokens_revoked", "tokens": { "oauth": ["U1"], "bot": ["U0"] } },
        }))
        .unwrap();
        let event = wrapper.event.unwrap();
        assert_eq!((event.tokens.oauth, event.tokens.bot), (vec!["U1".to_owned()], vec!["U0".to_owned()]));
    }

    #[test]
    fn an_event_without_tokens_is_read_too() {
        let event: Event = serde_json::from_value(json!({ "type": "app_uninstalled" })).unwrap();
        assert!(event.tokens.oauth.is_empty());
    }
}
