//! What a token may ask about itself, and how it ends.

use actix_web::{HttpRequest, HttpResponse, web::Bytes};
use serde_json::{Value, json};

use super::{Chain, Holder, Place, Slack, notice, token::authenticate};
use crate::{
    fields::Fields,
    world::{Shared, State, bearer, body, query},
};

pub(super) async fn test(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let fields = parameters(&request, &content);
    let reply = with_token(&shared, &request, &fields, |slack, number, token| {
        describe(&shared, slack, number, token)
    });
    reply_with(reply)
}

/// Revokes the one token; without rotation that ends the whole authorization.
pub(super) async fn revoke(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let fields = parameters(&request, &content);
    let is_dry = fields.get("test") == Some("1");
    let reply = with_token(&shared, &request, &fields, |slack, number, token| {
        let is_rotating = slack.options.rotation;
        let chain = slack.chains.get_mut(number).ok_or("invalid_auth")?;
        if !is_dry && is_rotating {
            chain
                .access
                .iter_mut()
                .filter(|access| access.token == token)
                .for_each(|access| access.is_revoked = true);
        } else if !is_dry {
            chain.revoke();
        }
        Ok(json!({ "ok": true, "revoked": !is_dry }))
    });
    reply_with(reply)
}

/// Takes the app away from the token's workspace or enterprise.
pub(super) async fn uninstall(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let fields = parameters(&request, &content);
    if let Err(error) = authenticate(&shared, &request, &fields) {
        return reply_with(Err(error));
    }
    let mut place = None;
    let reply = with_token(&shared, &request, &fields, |slack, number, _| {
        let id = slack.chains.get(number).map(|chain| chain.place.id().to_owned()).ok_or("invalid_auth")?;
        slack.uninstall(&id);
        place = Some(id);
        Ok(json!({ "ok": true }))
    });
    if let Some(id) = place {
        let event = notice::app_uninstalled(&shared, &id, shared.clock.now());
        shared.announce(notice::webhook(&shared, &event));
    }
    reply_with(reply)
}

fn parameters(request: &HttpRequest, content: &Bytes) -> Fields {
    if content.is_empty() { query(request) } else { body(request, content) }
}

fn reply_with(reply: Result<Value, &'static str>) -> HttpResponse {
    HttpResponse::Ok().json(reply.unwrap_or_else(|error| json!({ "ok": false, "error": error })))
}

/// Finds the chain of the presented token and lets `act` have it.
fn with_token(
    shared: &Shared,
    request: &HttpRequest,
    fields: &Fields,
    act: impl FnOnce(&mut Slack, usize, &str) -> Result<Value, &'static str>,
) -> Result<Value, &'static str> {
    let token = bearer(request).or(fields.get("token")).ok_or("not_authed")?.to_owned();
    shared.journal.secret(token.clone());
    let now = shared.clock.now();
    let mut world = shared.world();
    let slack = &mut world.slack;
    let is_in = |chain: &Chain| chain.access.iter().any(|access| access.token == token);
    let number = slack.chains.iter().position(is_in).ok_or("invalid_auth")?;
    let chain = slack.chains.get(number).ok_or("invalid_auth")?;
    let access = chain.access.iter().find(|access| access.token == token).ok_or("invalid_auth")?;
    if access.is_revoked {
        return Err("token_revoked");
    }
    if access.expires_at.is_some_and(|end| end <= now) {
        return Err("token_expired");
    }
    if slack.users.iter().any(|user| user.id == chain.user_id && !user.is_active) {
        return Err("account_inactive");
    }
    act(slack, number, &token)
}

fn describe(shared: &Shared, slack: &Slack, number: usize, token: &str) -> Result<Value, &'static str> {
    let chain = slack.chains.get(number).ok_or("invalid_auth")?;
    let (user, is_bot) = match &chain.holder {
        Holder::Bot => (chain.bot_user_id.as_str(), true),
        Holder::User(id) => (id.as_str(), false),
    };
    let workspace = slack.workspaces.iter().find(|workspace| workspace.id == chain.place.id());
    let enterprise = match &chain.place {
        Place::Enterprise(id) => Some(id.as_str()),
        Place::Workspace(_) => workspace.and_then(|workspace| workspace.enterprise_id.as_deref()),
    };
    let mut reply = json!({
        "ok": true, "url": "https://example.slack.com/", "team": workspace.map(|workspace| &workspace.name),
        "user": user.to_lowercase(), "team_id": chain.place.id(), "user_id": user,
        "is_enterprise_install": matches!(chain.place, Place::Enterprise(_)),
    });
    let expires_at =
        chain.access.iter().find(|access| access.token == token).and_then(|access| access.expires_at);
    if let Some(object) = reply.as_object_mut() {
        if is_bot {
            object.insert("bot_id".to_owned(), json!(format!("B{user}")));
        }
        if let Some(enterprise) = enterprise {
            object.insert("enterprise_id".to_owned(), json!(enterprise));
        }
        if let Some(end) = expires_at {
            object.insert("expires_in".to_owned(), json!(end - shared.clock.now()));
        }
    }
    Ok(reply)
}
