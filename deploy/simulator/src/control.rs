//! The simulator steered over HTTP, for whoever runs in another process.

use actix_web::{
    HttpResponse,
    web::{Json, Path, ServiceConfig, delete, get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    fault::Fault,
    fields::Fields,
    github::{approve_request, authorization_revoked, installation_event, tell},
    journal::Provider,
    slack,
    world::{Shared, State, json as answer},
};

#[derive(Deserialize)]
struct Advance {
    seconds: i64,
}

/// The fields of the provider's consent form, as `{"decision": "approve", "user": "alice"}`.
#[derive(Deserialize)]
struct Consent {
    provider: Provider,
    fields: Value,
}

#[derive(Deserialize)]
struct InstallationWebhook {
    action: String,
    installation_id: u64,
}

#[derive(Deserialize)]
struct SlackEvent {
    /// `app_uninstalled` or `tokens_revoked`.
    event: String,
    place_id: String,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    bots: Vec<String>,
    /// When it happened; now without.
    at: Option<i64>,
}

#[derive(Deserialize)]
struct Revoked {
    user: String,
}

pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .route("/health", get().to(health))
        .route("/clock/advance", post().to(advance))
        .route("/reset", post().to(reset))
        .route("/calls", get().to(list_calls))
        .route("/canaries", get().to(list_canaries))
        .route("/consents", post().to(preset_consent))
        .route("/options/{provider}", post().to(set_options))
        .route("/faults", post().to(add_fault))
        .route("/faults", delete().to(clear_faults))
        .route("/github/installations", get().to(list_installations))
        .route("/github/installations/{id}", delete().to(delete_installation))
        .route("/github/installations/{id}/suspend", post().to(suspend))
        .route("/github/installations/{id}/unsuspend", post().to(unsuspend))
        .route("/github/requests/{account}/approve", post().to(approve))
        .route("/webhooks/github/installation", post().to(send_installation))
        .route("/webhooks/github/authorization-revoked", post().to(send_authorization_revoked))
        .route("/webhooks/slack", post().to(send_slack));
}

async fn health() -> HttpResponse {
    answer(200, &json!({ "status": "ok" }))
}

async fn advance(shared: State, body: Json<Advance>) -> HttpResponse {
    shared.clock.advance(body.seconds);
    answer(200, &json!({ "now": shared.clock.now() }))
}

async fn reset(shared: State) -> HttpResponse {
    shared.reset();
    HttpResponse::NoContent().finish()
}

async fn list_calls(shared: State) -> HttpResponse {
    answer(200, &json!({ "items": shared.journal.calls(), "counts": shared.journal.counts() }))
}

async fn list_canaries(shared: State) -> HttpResponse {
    answer(200, &json!({ "items": shared.journal.canaries() }))
}

async fn preset_consent(shared: State, body: Json<Consent>) -> HttpResponse {
    shared.preset_consent(body.provider, Fields::from_json(&body.fields));
    HttpResponse::NoContent().finish()
}

/// Changes the options that are named; the others stay.
async fn set_options(shared: State, provider: Path<Provider>, body: Json<Value>) -> HttpResponse {
    let mut world = shared.world();
    let world = &mut *world;
    let outcome = match *provider {
        Provider::Github => change(&mut world.github.options, &body),
        Provider::Atlassian => change(&mut world.atlassian.options, &body),
        Provider::Slack => change(&mut world.slack.options, &body),
    };
    match outcome {
        Ok(options) => answer(200, &options),
        Err(error) => answer(422, &json!({ "error": error.to_string() })),
    }
}

fn change<T: DeserializeOwned + serde::Serialize>(
    options: &mut T,
    wish: &Value,
) -> serde_json::Result<Value> {
    let mut all = serde_json::to_value(&*options)?;
    if let (Some(all), Some(wish)) = (all.as_object_mut(), wish.as_object()) {
        all.extend(wish.clone());
    }
    *options = serde_json::from_value(all)?;
    serde_json::to_value(&*options)
}

async fn add_fault(shared: State, fault: Json<Fault>) -> HttpResponse {
    shared.faults.add(fault.into_inner());
    HttpResponse::NoContent().finish()
}

async fn clear_faults(shared: State) -> HttpResponse {
    shared.faults.clear();
    HttpResponse::NoContent().finish()
}

async fn list_installations(shared: State) -> HttpResponse {
    let world = shared.world();
    let items: Vec<Value> = world.github.installations.iter().map(|known| {
        json!({ "id": known.id, "account_id": known.account_id, "suspended": known.suspended_at.is_some() })
    }).collect();
    answer(200, &json!({ "items": items }))
}

async fn delete_installation(shared: State, id: Path<u64>) -> HttpResponse {
    let event = installation_event(&shared, "deleted", *id, None);
    let is_known = shared.world().github.uninstall(*id);
    tell(&shared, "installation", event);
    done(is_known)
}

async fn suspend(shared: State, id: Path<u64>) -> HttpResponse {
    set_suspended(&shared, *id, Some(shared.clock.now()), "suspend")
}

async fn unsuspend(shared: State, id: Path<u64>) -> HttpResponse {
    set_suspended(&shared, *id, None, "unsuspend")
}

fn set_suspended(shared: &Shared, id: u64, at: Option<i64>, action: &str) -> HttpResponse {
    let is_known = shared.world().github.installation_mut(id).map(|known| known.suspended_at = at).is_some();
    tell(shared, "installation", installation_event(shared, action, id, None));
    done(is_known)
}

/// Approves what was asked for; where the owner's browser goes then.
async fn approve(shared: State, account: Path<String>) -> HttpResponse {
    match approve_request(&shared, &account) {
        Some(location) => answer(200, &json!({ "location": location })),
        None => done(false),
    }
}

async fn send_installation(shared: State, body: Json<InstallationWebhook>) -> HttpResponse {
    let event = installation_event(&shared, &body.action, body.installation_id, None);
    let is_known = event.is_some();
    tell(&shared, "installation", event);
    done(is_known)
}

async fn send_authorization_revoked(shared: State, body: Json<Revoked>) -> HttpResponse {
    let id = shared.world().github.account_id(&body.user);
    let Some(id) = id else { return done(false) };
    let event = authorization_revoked(&shared, id);
    tell(&shared, "github_app_authorization", Some(event));
    done(true)
}

async fn send_slack(shared: State, body: Json<SlackEvent>) -> HttpResponse {
    let at = body.at.unwrap_or_else(|| shared.clock.now());
    let [users, bots] =
        [&body.users, &body.bots].map(|ids| ids.iter().map(String::as_str).collect::<Vec<_>>());
    let event = match body.event.as_str() {
        "app_uninstalled" => slack::app_uninstalled(&shared, &body.place_id, at),
        _ => slack::tokens_revoked(&shared, &body.place_id, at, &users, &bots),
    };
    shared.announce(slack::webhook(&shared, &event));
    done(true)
}

fn done(is_known: bool) -> HttpResponse {
    if is_known { HttpResponse::NoContent().finish() } else { HttpResponse::NotFound().finish() }
}
