//! What a user's token may read.

use actix_web::{HttpRequest, HttpResponse, web::Path};
use serde_json::{Value, json};

use super::{
    GitHub, Org, OrgRole, UserToken, is_app,
    rest::{account, bare_page, edge, error, installation, page, repository},
};
use crate::world::{Shared, State, bearer, json as answer};

/// The live user token that came with a request.
fn user_token(shared: &Shared, request: &HttpRequest) -> Result<UserToken, HttpResponse> {
    edge(request)?;
    let bearer = bearer(request).ok_or_else(|| error(401, "Requires authentication"))?;
    let now = shared.clock.now();
    let world = shared.world();
    let is_live = |token: &&UserToken| {
        token.access == bearer && !token.is_revoked && token.expires_at.is_none_or(|end| end > now)
    };
    world.github.user_tokens.iter().find(is_live).cloned().ok_or_else(|| error(401, "Bad credentials"))
}

pub(super) async fn get_user(request: HttpRequest, shared: State) -> HttpResponse {
    match user_token(&shared, &request) {
        Ok(token) => answer(200, &account(&shared.world().github, token.user_id)),
        Err(refusal) => refusal,
    }
}

/// The App's installations that the user can see: the own account's, and those of every organization the user belongs to.
pub(super) async fn list_installations(request: HttpRequest, shared: State) -> HttpResponse {
    let token = match user_token(&shared, &request) {
        Ok(token) => token,
        Err(refusal) => return refusal,
    };
    if !is_app(&shared, &token.client_id) {
        return error(
            403,
            "You must authenticate with an access token authorized to a GitHub App in order to list installations",
        );
    }
    let items: Vec<Value> = {
        let world = shared.world();
        let github = &world.github;
        let visible =
            github.installations.iter().filter(|item| github.role(token.user_id, item.account_id).is_some());
        visible.map(|item| installation(&shared, github, item)).collect()
    };
    page(&shared, &request, "installations", &items)
}

pub(super) async fn list_repositories(request: HttpRequest, shared: State, id: Path<u64>) -> HttpResponse {
    let token = match user_token(&shared, &request) {
        Ok(token) => token,
        Err(refusal) => return refusal,
    };
    let items: Option<Vec<Value>> = {
        let world = shared.world();
        let github = &world.github;
        let found = github.installation(*id);
        let role = found.and_then(|found| github.role(token.user_id, found.account_id));
        found.zip(role).map(|(found, role)| {
            let with_permissions = |item| {
                let mut shown = repository(github, item);
                if let Some(object) = shown.as_object_mut() {
                    let permissions = json!({ "admin": role == OrgRole::Admin, "push": true, "pull": true });
                    object.insert("permissions".to_owned(), permissions);
                }
                shown
            };
            github.repositories_of(found).into_iter().map(with_permissions).collect()
        })
    };
    items.map_or_else(|| error(404, "Not Found"), |items| page(&shared, &request, "repositories", &items))
}

pub(super) async fn list_orgs(request: HttpRequest, shared: State) -> HttpResponse {
    listed(&shared, &request, |github, org, _| account(github, org.id))
}

pub(super) async fn list_memberships(request: HttpRequest, shared: State) -> HttpResponse {
    listed(&shared, &request, membership)
}

pub(super) async fn get_membership(request: HttpRequest, shared: State, org: Path<String>) -> HttpResponse {
    match user_token(&shared, &request) {
        Ok(token) => membership_in(&shared, &org, token.user_id),
        Err(refusal) => refusal,
    }
}

pub(super) async fn get_membership_of(
    request: HttpRequest,
    shared: State,
    path: Path<(String, String)>,
) -> HttpResponse {
    let (org, login) = path.into_inner();
    let token = match user_token(&shared, &request) {
        Ok(token) => token,
        Err(refusal) => return refusal,
    };
    let member = {
        let world = shared.world();
        let is_member =
            world.github.account_id(&org).and_then(|org| world.github.role(token.user_id, org)).is_some();
        is_member.then(|| world.github.account_id(&login)).flatten()
    };
    member.map_or_else(|| error(404, "Not Found"), |member| membership_in(&shared, &org, member))
}

pub(super) async fn get_org(request: HttpRequest, shared: State, org: Path<String>) -> HttpResponse {
    if let Err(refusal) = user_token(&shared, &request) {
        return refusal;
    }
    let world = shared.world();
    match world.github.orgs.iter().find(|known| known.login == *org) {
        Some(org) => answer(200, &account(&world.github, org.id)),
        None => error(404, "Not Found"),
    }
}

fn listed(
    shared: &Shared,
    request: &HttpRequest,
    show: impl Fn(&GitHub, &Org, u64) -> Value,
) -> HttpResponse {
    let token = match user_token(shared, request) {
        Ok(token) => token,
        Err(refusal) => return refusal,
    };
    let items: Vec<Value> = {
        let world = shared.world();
        let github = &world.github;
        let mine = github.orgs.iter().filter(|org| github.role(token.user_id, org.id).is_some());
        mine.map(|org| show(github, org, token.user_id)).collect()
    };
    bare_page(shared, request, &items)
}

fn membership_in(shared: &Shared, org: &str, user_id: u64) -> HttpResponse {
    let world = shared.world();
    let github = &world.github;
    let org = github.orgs.iter().find(|known| known.login == org);
    match org.filter(|org| github.role(user_id, org.id).is_some()) {
        Some(org) => answer(200, &membership(github, org, user_id)),
        None => error(404, "Not Found"),
    }
}

fn membership(github: &GitHub, org: &Org, user_id: u64) -> Value {
    let role = match github.role(user_id, org.id) {
        Some(OrgRole::Admin) => "admin",
        _ => "member",
    };
    json!({
        "state": "active", "role": role, "organization": account(github, org.id), "user": account(github, user_id),
        "organization_url": format!("https://api.github.com/orgs/{}", org.login),
    })
}
