//! The consent page: a workspace, or a whole enterprise.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Bytes};

use super::{Code, Place, Slack};
use crate::{
    fields::Fields,
    journal::Provider,
    page::{Choice, consent, redirect, refusal},
    secret,
    world::{Shared, State, body, query},
};

pub(super) async fn show(request: HttpRequest, shared: State) -> HttpResponse {
    let query = query(&request);
    if let Err(refusal) = check(&shared, &query) {
        return refusal;
    }
    if let Some(answer) = shared.take_consent(Provider::Slack) {
        return finish(&shared, &query, &answer);
    }
    let world = shared.world();
    let slack = &world.slack;
    let team = query.get("team");
    let mut places: Vec<(String, String)> =
        slack.workspaces.iter().map(|workspace| (workspace.id.clone(), workspace.name.clone())).collect();
    places.sort_by_key(|(id, _)| Some(id.as_str()) != team);
    places.extend(
        slack.enterprises.iter().map(|org| (org.id.clone(), format!("{} (whole organization)", org.name))),
    );
    let users = slack.users.iter().map(|user| (user.id.clone(), user.name.clone())).collect();
    let choices = [
        Choice { name: "workspace", label: "Workspace", options: places, is_multiple: false },
        Choice { name: "user", label: "Signed in as", options: users, is_multiple: false },
    ];
    consent("Example App is requesting permission to access your Slack workspace", "", &query, &choices)
}

pub(super) async fn submit(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let answer = body(&request, &content);
    let query = Fields::from_form(answer.get("request").unwrap_or_default());
    match check(&shared, &query) {
        Ok(()) => finish(&shared, &query, &answer),
        Err(refusal) => refusal,
    }
}

fn check(shared: &Shared, query: &Fields) -> Result<(), HttpResponse> {
    let wrong = |detail: &str| Err(refusal(StatusCode::OK, "Something went wrong", detail));
    if query.get("client_id") != Some(shared.settings.slack.id.as_str()) {
        return wrong("invalid_client_id");
    }
    let world = shared.world();
    let registered = &world.slack.callback_urls;
    if query.get("redirect_uri").is_some_and(|uri| !is_registered(registered, uri)) {
        return wrong("redirect_uri did not match any configured URIs.");
    }
    if query.get("scope").is_none() && query.get("user_scope").is_none() {
        return wrong("no_scopes");
    }
    if query.has("code_challenge") && query.get("code_challenge_method") != Some("S256") {
        return wrong("invalid_code_challenge_method");
    }
    if world.slack.options.pkce && !query.has("code_challenge") {
        return wrong("missing_code_challenge");
    }
    Ok(())
}

/// What is sent may go on below a registered URL.
fn is_registered(registered: &[String], uri: &str) -> bool {
    registered.iter().any(|known| {
        let known = known.trim_end_matches('/');
        uri == known
            || uri.strip_prefix(known).is_some_and(|rest| rest.starts_with('/') || rest.starts_with('?'))
    })
}

fn finish(shared: &Shared, query: &Fields, answer: &Fields) -> HttpResponse {
    let mut world = shared.world();
    let slack = &mut world.slack;
    let first = slack.callback_urls.first().cloned().unwrap_or_default();
    let address = query.get("redirect_uri").map_or(first, str::to_owned);
    let state = query.get("state");
    if answer.get("decision") == Some("cancel") {
        return redirect(&address, &[("error", Some("access_denied")), ("state", state)]);
    }
    let user = slack.users.iter().find(|user| answer.get("user").is_none_or(|id| user.id == id));
    let Some((place, user)) = place(slack, answer.get("workspace").or(query.get("team"))).zip(user) else {
        return refusal(StatusCode::OK, "Something went wrong", "There is no such workspace.");
    };
    if let Some(state) = state {
        shared.journal.secret(state);
    }
    let code = shared.journal.secret(secret::secret("1111.2222.", 64));
    let code_record = Code {
        value: code.clone(),
        place,
        user_id: user.id.clone(),
        scope: query.get("scope").map(str::to_owned),
        user_scope: query.get("user_scope").map(str::to_owned),
        redirect_uri: query.get("redirect_uri").map(str::to_owned),
        challenge: query.get("code_challenge").map(str::to_owned),
        at: shared.clock.now(),
        is_used: false,
    };
    slack.codes.push(code_record);
    redirect(&address, &[("code", Some(&code)), ("state", state)])
}

/// The workspace or enterprise of this id; the first workspace without one.
fn place(slack: &Slack, id: Option<&str>) -> Option<Place> {
    let Some(id) = id else {
        return slack.workspaces.first().map(|workspace| Place::Workspace(workspace.id.clone()));
    };
    if slack.workspaces.iter().any(|workspace| workspace.id == id) {
        return Some(Place::Workspace(id.to_owned()));
    }
    slack.enterprises.iter().any(|org| org.id == id).then(|| Place::Enterprise(id.to_owned()))
}
