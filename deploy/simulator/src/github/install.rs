//! The page on which the App is installed, and its five ways back.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Bytes, Path},
};

use super::{
    GitHub, OrgRole, Request,
    authorize::{denied, issue_code},
    notice::{installation_event, tell},
};
use crate::{
    fields::Fields,
    journal::Provider,
    page::{Choice, consent, redirect, refusal},
    world::{Shared, State, body, query},
};

/// How the browser comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    Install,
    InstallWithoutCode,
    Update,
    Request,
}

pub(super) async fn show(request: HttpRequest, shared: State, slug: Path<String>) -> HttpResponse {
    if *slug != shared.settings.github_app.slug {
        return refusal(StatusCode::NOT_FOUND, "Page not found", "There is no such app.");
    }
    let query = query(&request);
    if let Some(answer) = shared.take_consent(Provider::Github) {
        return finish(&shared, &query, &answer);
    }
    let world = shared.world();
    let github = &world.github;
    let users = github.users.iter().map(|user| (user.login.clone(), user.name.clone())).collect();
    let accounts =
        github.orgs.iter().map(|org| &org.login).chain(github.users.iter().map(|user| &user.login));
    let repositories =
        github.repositories.iter().map(|item| (item.name.clone(), format!("Only {}", item.name)));
    let all = ("all".to_owned(), "All repositories".to_owned());
    let shapes = [
        ("", "As GitHub decides"),
        ("install", "Installed, with a code"),
        ("install_without_code", "Installed, without a code"),
        ("update", "Repositories changed"),
        ("request", "Asked an owner to install it"),
    ];
    let choices = [
        Choice { name: "user", label: "Signed in as", options: users, is_multiple: false },
        Choice {
            name: "account",
            label: "Install on",
            options: accounts.map(|login| (login.clone(), login.clone())).collect(),
            is_multiple: false,
        },
        Choice {
            name: "repositories",
            label: "Repository access",
            options: std::iter::once(all).chain(repositories).collect(),
            is_multiple: false,
        },
        Choice {
            name: "shape",
            label: "Return",
            options: shapes.map(|(value, text)| (value.to_owned(), text.to_owned())).to_vec(),
            is_multiple: false,
        },
    ];
    consent("Install Example App", "", &query, &choices)
}

pub(super) async fn submit(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let answer = body(&request, &content);
    let query = Fields::from_form(answer.get("request").unwrap_or_default());
    finish(&shared, &query, &answer)
}

fn finish(shared: &Shared, query: &Fields, answer: &Fields) -> HttpResponse {
    let state = query.get("state");
    let (callback, setup) = {
        let world = shared.world();
        (world.github.callback_urls.first().cloned().unwrap_or_default(), world.github.setup_url.clone())
    };
    if answer.get("decision") == Some("cancel") {
        return denied(&callback, state);
    }
    let Some((user_id, account_id)) = chosen(&shared.world().github, answer) else {
        return refusal(StatusCode::NOT_FOUND, "Page not found", "There is no such account.");
    };
    let shape = match answer.get("shape") {
        Some("install") => Return::Install,
        Some("install_without_code") => Return::InstallWithoutCode,
        Some("update") => Return::Update,
        Some("request") => Return::Request,
        _ => match decide(&shared.world().github, user_id, account_id) {
            Some(shape) => shape,
            None => {
                return refusal(
                    StatusCode::FORBIDDEN,
                    "Forbidden",
                    "You are no member of this organization.",
                );
            }
        },
    };
    if shape == Return::Request {
        shared.world().github.requests.push(Request { account_id, requester_id: user_id });
        return redirect(&callback, &[("setup_action", Some("request")), ("state", state)]);
    }
    let installation_id = install(shared, account_id, answer.get("repositories")).to_string();
    let has_code = match shape {
        Return::Install => true,
        Return::Update => shared.world().github.options.authorize_during_update,
        _ => false,
    };
    let code = has_code.then(|| {
        let client_id = &shared.settings.github_app.client.id;
        issue_code(shared, client_id, user_id, &Fields::default())
    });
    let action = if shape == Return::Update { "update" } else { "install" };
    let parameters = [
        ("code", code.as_deref()),
        ("installation_id", Some(installation_id.as_str())),
        ("setup_action", Some(action)),
        ("state", state),
    ];
    redirect(if code.is_some() { &callback } else { &setup }, &parameters)
}

/// The user and the account that an answer names; the first user, and the user's own account without a name.
fn chosen(github: &GitHub, answer: &Fields) -> Option<(u64, u64)> {
    let user = match answer.get("user") {
        Some(login) => github.users.iter().find(|user| user.login == login)?,
        None => github.users.first()?,
    };
    let account = answer.get("account").map_or(Some(user.id), |login| github.account_id(login))?;
    Some((user.id, account))
}

/// What GitHub does: owners install or change, members ask, strangers get nothing.
fn decide(github: &GitHub, user_id: u64, account_id: u64) -> Option<Return> {
    let is_installed = github.installations.iter().any(|known| known.account_id == account_id);
    Some(match github.role(user_id, account_id)? {
        OrgRole::Member => Return::Request,
        OrgRole::Admin if is_installed => Return::Update,
        OrgRole::Admin if github.options.authorize_during_install => Return::Install,
        OrgRole::Admin => Return::InstallWithoutCode,
    })
}

/// The account's installation, made where there is none; its id.
fn install(shared: &Shared, account_id: u64, repositories: Option<&str>) -> u64 {
    let now = shared.clock.now();
    let (id, is_new) = {
        let mut world = shared.world();
        let github = &mut world.github;
        let named = github.repositories.iter().find(|item| Some(item.name.as_str()) == repositories);
        let selected = named.map(|item| vec![item.id]);
        match github.installations.iter_mut().find(|known| known.account_id == account_id) {
            Some(known) => {
                known.repositories = selected;
                known.updated_at = now;
                (known.id, false)
            }
            None => (github.install(account_id, selected, now), true),
        }
    };
    if is_new {
        tell(shared, "installation", installation_event(shared, "created", id, None));
    }
    id
}

/// An owner approves what was asked for: the address that the owner's browser is sent to, without a state.
pub(crate) fn approve_request(shared: &Shared, account: &str) -> Option<String> {
    let now = shared.clock.now();
    let (id, requester, setup) = {
        let mut world = shared.world();
        let github = &mut world.github;
        let account_id = github.account_id(account)?;
        let index = github.requests.iter().position(|request| request.account_id == account_id)?;
        let request = github.requests.remove(index);
        (github.install(account_id, None, now), request.requester_id, github.setup_url.clone())
    };
    tell(shared, "installation", installation_event(shared, "created", id, Some(requester)));
    let fields = Fields::from([("installation_id", id.to_string()), ("setup_action", "install".to_owned())]);
    Some(format!("{setup}?{}", fields.to_query()))
}
