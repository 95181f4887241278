//! What a client may do about the tokens that it holds: look, and give back.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Path},
};
use serde_json::{Value, json};

use super::{
    UserToken,
    rest::{account, edge, error},
    secret_of,
};
use crate::world::{Shared, State, basic, json as answer};

/// The live token in the body, of the client in the path, which has to be the one that asks.
fn presented(
    shared: &Shared,
    request: &HttpRequest,
    client_id: &str,
    body: &[u8],
) -> Result<UserToken, HttpResponse> {
    edge(request)?;
    let client = basic(request).filter(|client| client.id == client_id);
    if client.is_none_or(|client| secret_of(shared, client_id) != Some(client.secret.as_str())) {
        return Err(error(404, "Not Found"));
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(access) = body.get("access_token").and_then(Value::as_str) else {
        return Err(error(422, "Validation Failed"));
    };
    let now = shared.clock.now();
    let world = shared.world();
    let is_live = |token: &&UserToken| {
        token.access == access
            && token.client_id == client_id
            && !token.is_revoked
            && token.expires_at.is_none_or(|end| end > now)
    };
    world.github.user_tokens.iter().find(is_live).cloned().ok_or_else(|| error(404, "Not Found"))
}

pub(super) async fn check_token(
    request: HttpRequest,
    shared: State,
    id: Path<String>,
    body: Bytes,
) -> HttpResponse {
    match presented(&shared, &request, &id, &body) {
        Ok(token) => {
            let scopes: Vec<&str> = token.scope.split(',').filter(|scope| !scope.is_empty()).collect();
            let user = account(&shared.world().github, token.user_id);
            answer(200, &json!({ "token": token.access, "scopes": scopes, "user": user }))
        }
        Err(refusal) => refusal,
    }
}

pub(super) async fn delete_token(
    request: HttpRequest,
    shared: State,
    id: Path<String>,
    body: Bytes,
) -> HttpResponse {
    revoke(&shared, &request, &id, &body, |gone, token| gone.access == token.access)
}

/// Every token of that user, and the authorization with them.
pub(super) async fn delete_grant(
    request: HttpRequest,
    shared: State,
    id: Path<String>,
    body: Bytes,
) -> HttpResponse {
    revoke(&shared, &request, &id, &body, |gone, token| {
        gone.user_id == token.user_id && gone.client_id == token.client_id
    })
}

fn revoke(
    shared: &Shared,
    request: &HttpRequest,
    client_id: &str,
    body: &[u8],
    is_meant: impl Fn(&UserToken, &UserToken) -> bool,
) -> HttpResponse {
    match presented(shared, request, client_id, body) {
        Ok(token) => {
            let mut world = shared.world();
            let tokens = world.github.user_tokens.iter_mut();
            tokens.filter(|gone| is_meant(gone, &token)).for_each(|gone| gone.is_revoked = true);
            HttpResponse::NoContent().finish()
        }
        Err(refusal) => refusal,
    }
}
