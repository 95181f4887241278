//! Slack's events about tokens and installations.

use serde_json::{Value, json};

use super::token::APP_ID;
use crate::{clock::wall, secret, webhook::Webhook, world::Shared};

/// The app was taken away from a workspace or an enterprise.
pub(crate) fn app_uninstalled(shared: &Shared, place_id: &str, at: i64) -> Value {
    wrapper(shared, place_id, at, &json!({ "type": "app_uninstalled" }))
}

/// Tokens ended: the event names users, not tokens.
pub(crate) fn tokens_revoked(
    shared: &Shared,
    place_id: &str,
    at: i64,
    users: &[&str],
    bots: &[&str],
) -> Value {
    let tokens = json!({ "oauth": users, "bot": bots });
    wrapper(shared, place_id, at, &json!({ "type": "tokens_revoked", "tokens": tokens }))
}

/// The event, signed now.
pub(crate) fn webhook(shared: &Shared, body: &Value) -> Webhook {
    Webhook::slack(&shared.settings.slack_signing_secret, wall(), body)
}

fn wrapper(shared: &Shared, place_id: &str, at: i64, event: &Value) -> Value {
    let world = shared.world();
    let workspace = world.slack.workspaces.iter().find(|workspace| workspace.id == place_id);
    let enterprise = match workspace {
        Some(workspace) => workspace.enterprise_id.clone(),
        None => Some(place_id.to_owned()),
    };
    json!({
        "token": "legacy-verification-token", "team_id": workspace.map_or(place_id, |workspace| &workspace.id),
        "enterprise_id": enterprise, "api_app_id": APP_ID, "event": event, "type": "event_callback",
        "event_id": secret::secret("Ev", 16), "event_time": at,
    })
}
