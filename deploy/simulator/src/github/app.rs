//! What the App does as itself, with its JSON Web Token.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Path},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::jws::{self, RS256};
use serde_json::{Map, Value, json};

use super::{
    InstallationToken,
    notice::{installation_event, tell},
    rest::{edge, error, installation, repository, selection},
};
use crate::{
    clock::{rfc3339, wall},
    secret,
    world::{Shared, State, bearer, header_text, json as answer},
};

/// The most seconds between now and a token's `exp`.
const LONGEST_JWT: i64 = 600;
/// The most repositories that a token can be narrowed to by id.
const MOST_REPOSITORIES: usize = 500;

/// Checks the App's token against the wall clock: it is signed elsewhere.
fn authenticate(shared: &Shared, request: &HttpRequest) -> Result<(), HttpResponse> {
    edge(request)?;
    let undecodable = || error(401, "A JSON web token could not be decoded");
    let token = bearer(request).ok_or_else(undecodable)?;
    let app = &shared.settings.github_app;
    let verifier = RS256.verifier_from_pem(&app.public_key_pem).map_err(|_| undecodable())?;
    let (payload, header) = jws::deserialize_compact(token, &verifier).map_err(|_| undecodable())?;
    if header.claim("alg").and_then(Value::as_str) != Some("RS256") {
        return Err(undecodable());
    }
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| undecodable())?;
    let issuer = claims.get("iss").map(|iss| iss.as_str().map_or_else(|| iss.to_string(), str::to_owned));
    if !issuer.is_some_and(|issuer| issuer == app.id.to_string() || issuer == app.client.id) {
        return Err(error(404, "Integration not found"));
    }
    let number = |name: &str| claims.get(name).and_then(Value::as_i64);
    let now = wall();
    let Some(exp) = number("exp").filter(|exp| *exp > now) else {
        return Err(error(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
        ));
    };
    if exp > now + LONGEST_JWT {
        return Err(error(401, "'Expiration time' claim ('exp') is too far in the future"));
    }
    if number("iat").is_none_or(|iat| iat > now) {
        return Err(error(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        ));
    }
    Ok(())
}

pub(super) async fn get_app(request: HttpRequest, shared: State) -> HttpResponse {
    if let Err(refusal) = authenticate(&shared, &request) {
        return refusal;
    }
    let app = &shared.settings.github_app;
    let permissions = shared.world().github.permissions.clone();
    let body = json!({
        "id": app.id, "slug": app.slug, "client_id": app.client.id, "name": "Example App", "permissions": permissions,
        "events": ["push"],
    });
    answer(200, &body)
}

pub(super) async fn list_installations(request: HttpRequest, shared: State) -> HttpResponse {
    if let Err(refusal) = authenticate(&shared, &request) {
        return refusal;
    }
    let items: Vec<Value> = {
        let world = shared.world();
        let github = &world.github;
        github.installations.iter().map(|item| installation(&shared, github, item)).collect()
    };
    super::rest::bare_page(&shared, &request, &items)
}

pub(super) async fn get_installation(request: HttpRequest, shared: State, id: Path<u64>) -> HttpResponse {
    if let Err(refusal) = authenticate(&shared, &request) {
        return refusal;
    }
    let world = shared.world();
    match world.github.installation(*id) {
        Some(found) => answer(200, &installation(&shared, &world.github, found)),
        None => error(404, "Not Found"),
    }
}

pub(super) async fn delete_installation(request: HttpRequest, shared: State, id: Path<u64>) -> HttpResponse {
    if let Err(refusal) = authenticate(&shared, &request) {
        return refusal;
    }
    let event = installation_event(&shared, "deleted", *id, None);
    if !shared.world().github.uninstall(*id) {
        return error(404, "Not Found");
    }
    tell(&shared, "installation", event);
    HttpResponse::NoContent().finish()
}

pub(super) async fn suspend(request: HttpRequest, shared: State, id: Path<u64>) -> HttpResponse {
    set_suspended(&shared, &request, *id, Some(shared.clock.now()))
}

pub(super) async fn unsuspend(request: HttpRequest, shared: State, id: Path<u64>) -> HttpResponse {
    set_suspended(&shared, &request, *id, None)
}

fn set_suspended(shared: &Shared, request: &HttpRequest, id: u64, at: Option<i64>) -> HttpResponse {
    if let Err(refusal) = authenticate(shared, request) {
        return refusal;
    }
    match shared.world().github.installation_mut(id) {
        Some(installation) => installation.suspended_at = at,
        None => return error(404, "Not Found"),
    }
    let action = if at.is_some() { "suspend" } else { "unsuspend" };
    tell(shared, "installation", installation_event(shared, action, id, None));
    HttpResponse::NoContent().finish()
}

/// A token of the installation, as narrow as the body says.
pub(super) async fn mint(request: HttpRequest, shared: State, id: Path<u64>, body: Bytes) -> HttpResponse {
    if let Err(refusal) = authenticate(&shared, &request) {
        return refusal;
    }
    let wish: Value =
        if body.is_empty() { json!({}) } else { serde_json::from_slice(&body).unwrap_or_default() };
    if !wish.is_object() {
        return error(400, "Problems parsing JSON");
    }
    let now = shared.clock.now();
    let mut world = shared.world();
    let github = &mut world.github;
    let Some(found) = github.installation(*id).cloned() else { return error(404, "Not Found") };
    if found.suspended_at.is_some() {
        return error(403, "This installation has been suspended");
    }
    let permissions = match narrow_permissions(&found.permissions, wish.get("permissions")) {
        Ok(permissions) => permissions,
        Err(refusal) => return refusal,
    };
    let repositories = match narrow_repositories(github, &found, &wish) {
        Ok(repositories) => repositories,
        Err(refusal) => return refusal,
    };
    let token = InstallationToken {
        token: shared.journal.secret(new_token(&shared, &request, github.options.stateless_tokens, *id)),
        installation_id: *id,
        expires_at: now + github.options.installation_token_seconds,
        repositories: repositories.clone(),
        permissions,
    };
    let mut reply = json!({
        "token": token.token, "expires_at": rfc3339(token.expires_at), "permissions": token.permissions,
        "repository_selection": selection(repositories.as_ref()),
    });
    if let (Some(ids), Some(object)) = (&repositories, reply.as_object_mut()) {
        let chosen = github.repositories.iter().filter(|item| ids.contains(&item.id));
        let chosen: Vec<Value> = chosen.map(|item| repository(github, item)).collect();
        object.insert("repositories".to_owned(), json!(chosen));
    }
    github.installation_tokens.push(token);
    answer(201, &reply)
}

/// The short form, or about 520 characters with dots; the request may choose.
fn new_token(shared: &Shared, request: &HttpRequest, is_stateless: bool, id: u64) -> String {
    let is_stateless = match header_text(request, "x-github-stateless-s2s-token") {
        "enabled" => true,
        "disabled" => false,
        _ => is_stateless,
    };
    if !is_stateless {
        return secret::secret("ghs_", 36);
    }
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let claims = json!({ "iss": "https://github.com", "sub": id, "jti": secret::secret("", 32) });
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let start = format!("ghs_{}_{header}.{claims}.", shared.settings.github_app.id);
    secret::secret(&start, 520_usize.saturating_sub(start.len()))
}

fn narrow_permissions(
    granted: &Map<String, Value>,
    wish: Option<&Value>,
) -> Result<Map<String, Value>, HttpResponse> {
    let Some(wish) = wish.and_then(Value::as_object) else { return Ok(granted.clone()) };
    let rank = |level: &Value| ["read", "write", "admin"].iter().position(|known| level == known);
    let is_granted = |(name, level): (&String, &Value)| {
        rank(level).is_some_and(|wanted| granted.get(name).and_then(rank).is_some_and(|most| wanted <= most))
    };
    if wish.iter().all(is_granted) {
        Ok(wish.clone())
    } else {
        Err(error(422, "The permissions requested are not granted to this installation."))
    }
}

fn narrow_repositories(
    github: &super::GitHub,
    installation: &super::Installation,
    wish: &Value,
) -> Result<Option<Vec<u64>>, HttpResponse> {
    let list = |name: &str| wish.get(name).and_then(Value::as_array);
    if list("repositories").is_none() && list("repository_ids").is_none() {
        return Ok(installation.repositories.clone());
    }
    if list("repository_ids").is_some_and(|ids| ids.len() > MOST_REPOSITORIES) {
        return Err(error(422, "Too many repositories"));
    }
    let reached = github.repositories_of(installation);
    let by_name = list("repositories")
        .into_iter()
        .flatten()
        .map(|name| reached.iter().find(|item| name == item.name.as_str()).map(|item| item.id));
    let by_id = list("repository_ids")
        .into_iter()
        .flatten()
        .map(|id| reached.iter().find(|item| id.as_u64() == Some(item.id)).map(|item| item.id));
    let chosen: Option<Vec<u64>> = by_name.chain(by_id).collect();
    let message = "There is at least one repository that does not exist or is not accessible to the parent installation.";
    chosen.map(Some).ok_or_else(|| error(422, message))
}
