//! GitHub's webhooks about installations and authorizations.

use serde_json::{Value, json};

use super::rest::{account, installation, repository};
use crate::{secret, webhook::Webhook, world::Shared};

/// The body of an `installation` event; `None` where there is no such installation.
pub(crate) fn installation_event(
    shared: &Shared,
    action: &str,
    installation_id: u64,
    requester_id: Option<u64>,
) -> Option<Value> {
    let world = shared.world();
    let github = &world.github;
    let found = github.installation(installation_id)?;
    let owner = github.orgs.iter().find(|org| org.id == found.account_id);
    let sender = owner.and_then(|org| org.members.first()).map_or(found.account_id, |(id, _)| *id);
    let mut body = json!({
        "action": action, "installation": installation(shared, github, found), "sender": account(github, sender),
    });
    if let Some(object) = body.as_object_mut() {
        if action == "created" || action == "deleted" {
            let reached = github.repositories_of(found);
            let repositories: Vec<Value> = reached.into_iter().map(|item| repository(github, item)).collect();
            object.insert("repositories".to_owned(), json!(repositories));
        }
        if let Some(requester) = requester_id {
            object.insert("requester".to_owned(), account(github, requester));
        }
    }
    Some(body)
}

/// The body of a `github_app_authorization` event: it names the user alone.
pub(crate) fn authorization_revoked(shared: &Shared, user_id: u64) -> Value {
    let world = shared.world();
    json!({ "action": "revoked", "sender": account(&world.github, user_id) })
}

/// A webhook with a delivery id of its own, signed.
pub(crate) fn webhook(shared: &Shared, event: &str, body: &Value) -> Webhook {
    let delivery = secret::secret("delivery-", 24);
    Webhook::github(&shared.settings.github_app.webhook_secret, event, &delivery, body)
}

/// Sends an event, where there is one and webhooks go by themselves.
pub(crate) fn tell(shared: &Shared, event: &str, body: Option<Value>) {
    if let Some(body) = body {
        shared.announce(webhook(shared, event, &body));
    }
}
