//! The consent page: an account, and the sites that the app may use.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Bytes};

use super::{Code, Grant};
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
    if let Some(answer) = shared.take_consent(Provider::Atlassian) {
        return finish(&shared, &query, &answer);
    }
    let world = shared.world();
    let accounts = world.atlassian.accounts.iter().map(|account| (account.id.clone(), account.name.clone()));
    let sites = world.atlassian.sites.iter().map(|site| (site.cloud_id.clone(), site.name.clone()));
    let choices = [
        Choice { name: "account", label: "Signed in as", options: accounts.collect(), is_multiple: false },
        Choice { name: "site", label: "Use app on", options: sites.collect(), is_multiple: true },
    ];
    consent("Example App is requesting access to your Atlassian account", "", &query, &choices)
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
    let wrong = |detail: &str| Err(refusal(StatusCode::BAD_REQUEST, "Something went wrong", detail));
    if query.get("client_id") != Some(shared.settings.atlassian.id.as_str()) {
        return wrong("Unknown client.");
    }
    let uri = query.get("redirect_uri").unwrap_or_default();
    if !shared.world().atlassian.callback_urls.iter().any(|known| known == uri) {
        return wrong("redirect_uri is not registered for client.");
    }
    if query.get("response_type") != Some("code") {
        return wrong("The response_type has to be code.");
    }
    if query.get("audience").is_some_and(|audience| audience != "api.atlassian.com") {
        return wrong("The audience has to be api.atlassian.com.");
    }
    if query.get("scope").is_none() {
        return wrong("No scope was asked for.");
    }
    Ok(())
}

fn finish(shared: &Shared, query: &Fields, answer: &Fields) -> HttpResponse {
    let address = query.get("redirect_uri").unwrap_or_default();
    let state = query.get("state");
    if answer.get("decision") == Some("cancel") {
        let description = Some("User did not authorize the request");
        return redirect(
            address,
            &[("error", Some("access_denied")), ("error_description", description), ("state", state)],
        );
    }
    if let Some(state) = state {
        shared.journal.secret(state);
    }
    let mut world = shared.world();
    let atlassian = &mut world.atlassian;
    let wanted = answer.get("account");
    let Some(account) = atlassian.accounts.iter().find(|account| wanted.is_none_or(|id| account.id == id))
    else {
        return refusal(StatusCode::NOT_FOUND, "Something went wrong", "There is no such account.");
    };
    let account_id = account.id.clone();
    let scopes: Vec<String> =
        query.get("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let chosen: Vec<String> = answer.all("site").filter(|site| !site.is_empty()).map(str::to_owned).collect();
    widen(&mut atlassian.grants, &account_id, &chosen, &scopes);
    let code = shared.journal.secret(secret::secret("eyJhbGciOi.", 320));
    atlassian.codes.push(Code {
        value: code.clone(),
        account_id,
        redirect_uri: address.to_owned(),
        challenge: query.get("code_challenge").map(str::to_owned),
        scopes,
        at: shared.clock.now(),
        is_used: false,
    });
    redirect(address, &[("code", Some(&code)), ("state", state)])
}

/// One grant for each account: what is chosen now joins what was chosen before.
fn widen(grants: &mut Vec<Grant>, account_id: &str, cloud_ids: &[String], scopes: &[String]) {
    if let Some(grant) = grants.iter_mut().find(|grant| grant.account_id == account_id) {
        join(&mut grant.cloud_ids, cloud_ids);
        join(&mut grant.scopes, scopes);
        return;
    }
    grants.push(Grant {
        account_id: account_id.to_owned(),
        cloud_ids: cloud_ids.to_vec(),
        scopes: scopes.to_vec(),
    });
}

fn join(known: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !known.contains(item) {
            known.push(item.clone());
        }
    }
}
