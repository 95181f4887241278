//! What REST answers look like, and the routes of an installation's own token.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Path};
use serde_json::{Value, json};

use super::{GitHub, Installation, InstallationToken, Repository};
use crate::{
    clock::rfc3339,
    fields::Fields,
    world::{Shared, State, bearer, header_text, json as answer, query},
};

const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// An error in GitHub's form.
pub(super) fn error(status: u16, message: &str) -> HttpResponse {
    let body =
        json!({ "message": message, "documentation_url": DOCUMENTATION, "status": status.to_string() });
    answer(status, &body)
}

/// Refuses what GitHub's edge refuses: a request without `User-Agent`.
pub(super) fn edge(request: &HttpRequest) -> Result<(), HttpResponse> {
    if header_text(request, "user-agent").is_empty() {
        let text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.";
        return Err(HttpResponse::Forbidden().content_type("text/html").body(text));
    }
    Ok(())
}

/// One page of a list as `{total_count, <name>: […]}`, with its `Link` header.
pub(super) fn page(shared: &Shared, request: &HttpRequest, name: &str, items: &[Value]) -> HttpResponse {
    let (slice, link) = slice(shared, request, items);
    let mut response = HttpResponse::Ok();
    if let Some(link) = link {
        response.insert_header((header::LINK, link));
    }
    let mut body = json!({ "total_count": items.len() });
    if let Some(object) = body.as_object_mut() {
        object.insert(name.to_owned(), json!(slice));
    }
    response.json(body)
}

/// One page of a list that is a bare array.
pub(super) fn bare_page(shared: &Shared, request: &HttpRequest, items: &[Value]) -> HttpResponse {
    let (slice, link) = slice(shared, request, items);
    let mut response = HttpResponse::Ok();
    if let Some(link) = link {
        response.insert_header((header::LINK, link));
    }
    response.json(slice)
}

fn slice<'a>(shared: &Shared, request: &HttpRequest, items: &'a [Value]) -> (&'a [Value], Option<String>) {
    let query = query(request);
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let most = shared.world().github.options.page_size.max(1);
    let per_page = number("per_page").unwrap_or(30).clamp(1, most);
    let page = number("page").unwrap_or(1).max(1);
    let start = ((page - 1) * per_page).min(items.len());
    let end = (start + per_page).min(items.len());
    let link = (end < items.len()).then(|| {
        let address = |page: usize| {
            let next =
                Fields::from([("per_page", per_page.to_string()), ("page", page.to_string())]).to_query();
            format!("{}{}?{next}", shared.urls.github, request.path())
        };
        let last = items.len().div_ceil(per_page);
        format!("<{}>; rel=\"next\", <{}>; rel=\"last\"", address(page + 1), address(last))
    });
    (items.get(start..end).unwrap_or_default(), link)
}

/// A user or an organization.
pub(super) fn account(github: &GitHub, id: u64) -> Value {
    let user = github.user(id).map(|user| (&user.login, "User"));
    let org = || github.orgs.iter().find(|org| org.id == id).map(|org| (&org.login, "Organization"));
    let Some((login, kind)) = user.or_else(org) else { return Value::Null };
    json!({
        "login": login, "id": id, "node_id": format!("N_{id}"), "type": kind, "site_admin": false,
        "url": format!("https://api.github.com/users/{login}"), "html_url": format!("https://github.com/{login}"),
    })
}

/// An installation as every route shows it.
pub(super) fn installation(shared: &Shared, github: &GitHub, installation: &Installation) -> Value {
    let id = installation.id;
    let account = account(github, installation.account_id);
    let app = &shared.settings.github_app;
    let base = &shared.urls.github;
    json!({
        "id": id, "account": account, "app_id": app.id, "app_slug": app.slug, "client_id": app.client.id,
        "target_id": installation.account_id, "target_type": account.get("type"),
        "repository_selection": selection(installation.repositories.as_ref()),
        "permissions": installation.permissions, "events": ["push"], "single_file_name": null,
        "access_tokens_url": format!("{base}/app/installations/{id}/access_tokens"),
        "repositories_url": format!("{base}/installation/repositories"),
        "html_url": format!("{base}/settings/installations/{id}"),
        "created_at": rfc3339(installation.created_at), "updated_at": rfc3339(installation.updated_at),
        "suspended_at": installation.suspended_at.map(rfc3339),
        "suspended_by": installation.suspended_at.map(|_| account.clone()),
    })
}

pub(super) fn selection(repositories: Option<&Vec<u64>>) -> &'static str {
    if repositories.is_some() { "selected" } else { "all" }
}

pub(super) fn repository(github: &GitHub, repository: &Repository) -> Value {
    let owner = account(github, repository.owner_id);
    let login = owner.get("login").and_then(Value::as_str).unwrap_or_default().to_owned();
    json!({
        "id": repository.id, "name": repository.name, "full_name": format!("{login}/{}", repository.name),
        "private": true, "owner": owner, "default_branch": "main",
        "html_url": format!("https://github.com/{login}/{}", repository.name),
    })
}

/// The live token that came with a request, with its installation.
fn installation_token(shared: &Shared, request: &HttpRequest) -> Result<InstallationToken, HttpResponse> {
    edge(request)?;
    let bearer = bearer(request).ok_or_else(|| error(401, "Requires authentication"))?;
    let now = shared.clock.now();
    let world = shared.world();
    let token =
        world.github.installation_tokens.iter().find(|known| known.token == bearer && known.expires_at > now);
    let token = token.cloned().ok_or_else(|| error(401, "Bad credentials"))?;
    match world.github.installation(token.installation_id) {
        Some(installation) if installation.suspended_at.is_some() => {
            Err(error(403, "This installation has been suspended"))
        }
        Some(_) => Ok(token),
        None => Err(error(401, "Bad credentials")),
    }
}

pub(super) async fn revoke_token(request: HttpRequest, shared: State) -> HttpResponse {
    match installation_token(&shared, &request) {
        Ok(token) => {
            shared.world().github.installation_tokens.retain(|known| known.token != token.token);
            HttpResponse::NoContent().finish()
        }
        Err(refusal) => refusal,
    }
}

pub(super) async fn list_repositories(request: HttpRequest, shared: State) -> HttpResponse {
    match installation_token(&shared, &request) {
        Ok(token) => {
            let items = reached(&shared.world().github, &token);
            page(&shared, &request, "repositories", &items)
        }
        Err(refusal) => refusal,
    }
}

pub(super) async fn get_repository(
    request: HttpRequest,
    shared: State,
    path: Path<(String, String)>,
) -> HttpResponse {
    let (owner, name) = path.into_inner();
    let wanted = json!(format!("{owner}/{name}"));
    match installation_token(&shared, &request) {
        Ok(token) => {
            let items = reached(&shared.world().github, &token);
            let found = items.into_iter().find(|item| item.get("full_name") == Some(&wanted));
            found.map_or_else(|| error(404, "Not Found"), |repository| answer(200, &repository))
        }
        Err(refusal) => refusal,
    }
}

/// The repositories that a token reaches.
fn reached(github: &GitHub, token: &InstallationToken) -> Vec<Value> {
    let Some(installation) = github.installation(token.installation_id) else { return Vec::new() };
    let is_in = |item: &&Repository| token.repositories.as_ref().is_none_or(|ids| ids.contains(&item.id));
    github
        .repositories_of(installation)
        .into_iter()
        .filter(is_in)
        .map(|item| repository(github, item))
        .collect()
}
