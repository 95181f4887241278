//! The web flow's consent page, and the codes that it ends with.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Bytes};
use url::Url;

use super::{Code, is_app, secret_of};
use crate::{
    fields::Fields,
    journal::Provider,
    page::{Choice, consent, redirect, refusal},
    secret,
    world::{Shared, State, body, query},
};

/// How many authorizations an hour go through without another look at the page.
const HOURLY: usize = 10;
const HOUR: i64 = 3600;

pub(super) async fn show(request: HttpRequest, shared: State) -> HttpResponse {
    let query = query(&request);
    if let Err(refusal) = check(&shared, &query) {
        return refusal;
    }
    let client_id = query.get("client_id").unwrap_or_default();
    let now = shared.clock.now();
    let recent = {
        let world = shared.world();
        let codes = world.github.codes.iter();
        codes.filter(|code| code.client_id == client_id && code.at > now - HOUR).count()
    };
    let is_frequent = recent >= HOURLY;
    if let Some(answer) = (!is_frequent).then(|| shared.take_consent(Provider::Github)).flatten() {
        return finish(&shared, &query, &answer);
    }
    let notice = if is_frequent {
        "Reauthorization required: this application has made an unusually high number of requests."
    } else {
        ""
    };
    let world = shared.world();
    let login = query.get("login");
    let mut users: Vec<_> =
        world.github.users.iter().map(|user| (user.login.clone(), user.name.clone())).collect();
    users.sort_by_key(|(user, _)| Some(user.as_str()) != login);
    let choices = [Choice { name: "user", label: "Signed in as", options: users, is_multiple: false }];
    consent("Authorize Example App", notice, &query, &choices)
}

pub(super) async fn submit(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let answer = body(&request, &content);
    let query = Fields::from_form(answer.get("request").unwrap_or_default());
    match check(&shared, &query) {
        Ok(()) => finish(&shared, &query, &answer),
        Err(refusal) => refusal,
    }
}

/// Client, redirect URI and PKCE method of an authorization request.
fn check(shared: &Shared, query: &Fields) -> Result<(), HttpResponse> {
    let client_id = query.get("client_id").unwrap_or_default();
    if secret_of(shared, client_id).is_none() {
        return Err(refusal(StatusCode::NOT_FOUND, "Page not found", "There is no such application."));
    }
    let registered = shared.world().github.callbacks(is_app(shared, client_id));
    let first = registered.first().cloned().unwrap_or_default();
    if let Some(uri) = query.get("redirect_uri")
        && !is_registered(&registered, uri, is_app(shared, client_id))
    {
        let description = "The redirect_uri MUST match the registered callback URL for this application.";
        return Err(redirect(
            &first,
            &[
                ("error", Some("redirect_uri_mismatch")),
                ("error_description", Some(description)),
                ("state", query.get("state")),
            ],
        ));
    }
    if query.has("code_challenge") && query.get("code_challenge_method") != Some("S256") {
        return Err(refusal(StatusCode::BAD_REQUEST, "Invalid request", "Only S256 is supported."));
    }
    Ok(())
}

/// A GitHub App's callback is matched exactly; an OAuth App's may go on below the registered path.
pub(super) fn is_registered(registered: &[String], uri: &str, is_exact: bool) -> bool {
    registered.iter().any(|known| {
        if is_exact {
            return known == uri;
        }
        let (Ok(known), Ok(uri)) = (Url::parse(known), Url::parse(uri)) else { return false };
        let beneath = format!("{}/", known.path().trim_end_matches('/'));
        known.origin() == uri.origin() && (uri.path() == known.path() || uri.path().starts_with(&beneath))
    })
}

fn finish(shared: &Shared, query: &Fields, answer: &Fields) -> HttpResponse {
    let (address, user_id) = {
        let world = shared.world();
        let is_app = query.get("client_id").is_some_and(|id| is_app(shared, id));
        let first = world.github.callbacks(is_app).first().cloned().unwrap_or_default();
        let login = answer.get("user");
        let mut users = world.github.users.iter();
        let user = users.find(|user| login.is_none_or(|login| user.login == login)).map(|user| user.id);
        (query.get("redirect_uri").map_or(first, str::to_owned), user)
    };
    let state = query.get("state");
    if answer.get("decision") == Some("cancel") {
        return denied(&address, state);
    }
    let Some(user_id) = user_id else {
        return refusal(StatusCode::NOT_FOUND, "Page not found", "There is no such user.");
    };
    let code = issue_code(shared, query.get("client_id").unwrap_or_default(), user_id, query);
    redirect(&address, &[("code", Some(&code)), ("state", state)])
}

/// A code for these parameters of an authorization request.
pub(super) fn issue_code(shared: &Shared, client_id: &str, user_id: u64, query: &Fields) -> String {
    if let Some(state) = query.get("state") {
        shared.journal.secret(state);
    }
    let code = shared.journal.secret(secret::secret("", 20));
    let scope = query.get("scope").map(|scope| scope.split_whitespace().collect::<Vec<_>>().join(","));
    let mut world = shared.world();
    let github = &mut world.github;
    // An OAuth App that asks for nothing gets what it had.
    let earlier = || {
        let mut tokens = github.user_tokens.iter().rev();
        let of_client = tokens.find(|token| token.client_id == client_id && token.user_id == user_id);
        of_client.map(|token| token.scope.clone()).unwrap_or_default()
    };
    let scope = if is_app(shared, client_id) { String::new() } else { scope.unwrap_or_else(earlier) };
    github.codes.push(Code {
        value: code.clone(),
        client_id: client_id.to_owned(),
        user_id,
        redirect_uri: query.get("redirect_uri").map(str::to_owned),
        challenge: query.get("code_challenge").map(str::to_owned),
        scope,
        at: shared.clock.now(),
        is_used: false,
    });
    code
}

/// The way back of somebody who refused.
pub(super) fn denied(address: &str, state: Option<&str>) -> HttpResponse {
    redirect(
        address,
        &[
            ("error", Some("access_denied")),
            ("error_description", Some("The user has denied your application access.")),
            ("error_uri", Some("https://docs.github.com/apps/troubleshooting-authorization-request-errors")),
            ("state", state),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oauth_app_may_return_beneath_its_callback_and_an_app_may_not() {
        let registered = ["http://127.0.0.1:8010/oauth/callback/github".to_owned()];
        let beneath = "http://127.0.0.1:8010/oauth/callback/github/app";
        assert!(is_registered(&registered, beneath, false));
        assert!(!is_registered(&registered, beneath, true));
        for other in [
            "http://127.0.0.1:8010/oauth/callback/githubby",
            "http://127.0.0.1:8011/oauth/callback/github",
            "no url",
        ] {
            assert!(!is_registered(&registered, other, false), "{other}");
        }
    }
}
