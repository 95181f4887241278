//! The token endpoint: 200 whatever goes wrong, and a form unless JSON is asked for.

use actix_web::{HttpRequest, HttpResponse, web::Bytes};
use serde_json::{Value, json};

use super::{UserToken, authorize::is_registered, is_app, secret_of};
use crate::{
    fields::Fields,
    secret::{self, pkce_holds},
    world::{Shared, State, basic, body, header_text},
};

const CODE_SECONDS: i64 = 600;
const REFRESH_SECONDS: i64 = 15_811_200;
/// How many tokens of one user, client and scope live; more revoke the oldest.
const LIVE_TOKENS: usize = 10;

/// An error code and its description.
type Refusal = (&'static str, &'static str);

pub(super) async fn exchange(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let mut fields = body(&request, &content);
    if content.is_empty() {
        fields = Fields::from_form(request.query_string());
    }
    for name in ["client_secret", "code_verifier", "refresh_token", "code"] {
        if let Some(value) = fields.get(name) {
            shared.journal.secret(value);
        }
    }
    let grant = fields.get("grant_type").unwrap_or("authorization_code");
    shared.journal.note(&request, grant);
    let reply = client(&shared, &request, &fields).and_then(|client_id| match grant {
        "authorization_code" => redeem(&shared, &client_id, &fields),
        "refresh_token" => refresh(&shared, &client_id, &fields),
        _ => Err(("unsupported_grant_type", "The grant type is not supported.")),
    });
    let reply = reply.unwrap_or_else(|(error, description)| {
        json!({
            "error": error, "error_description": description,
            "error_uri": "https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting",
        })
    });
    if header_text(&request, "accept").contains("json") {
        return HttpResponse::Ok().json(reply);
    }
    HttpResponse::Ok()
        .content_type("application/x-www-form-urlencoded; charset=utf-8")
        .body(Fields::from_json(&reply).to_query())
}

/// The client, from the body or from `Authorization: Basic`.
fn client(shared: &Shared, request: &HttpRequest, fields: &Fields) -> Result<String, Refusal> {
    let basic = basic(request);
    let id = fields.get("client_id").or(basic.as_ref().map(|client| client.id.as_str()));
    let secret = fields.get("client_secret").or(basic.as_ref().map(|client| client.secret.as_str()));
    let id = id.unwrap_or_default();
    if secret.is_some() && secret_of(shared, id) == secret {
        Ok(id.to_owned())
    } else {
        Err(("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect."))
    }
}

fn redeem(shared: &Shared, client_id: &str, fields: &Fields) -> Result<Value, Refusal> {
    let bad = ("bad_verification_code", "The code passed is incorrect or expired.");
    let mismatch = (
        "redirect_uri_mismatch",
        "The redirect_uri MUST match the registered callback URL for this application.",
    );
    let now = shared.clock.now();
    let mut world = shared.world();
    let registered = world.github.callbacks(is_app(shared, client_id));
    let presented = fields.get("code").unwrap_or_default();
    let code = world.github.codes.iter_mut().find(|code| code.value == presented).ok_or(bad)?;
    if code.is_used || code.client_id != client_id || now >= code.at + CODE_SECONDS {
        return Err(bad);
    }
    if let Some(uri) = fields.get("redirect_uri") {
        let is_right = match &code.redirect_uri {
            Some(known) => known == uri,
            None => is_registered(&registered, uri, is_app(shared, client_id)),
        };
        if !is_right {
            return Err(mismatch);
        }
    }
    code.is_used = true;
    if !pkce_holds(code.challenge.as_deref(), fields.get("code_verifier")) {
        return Err(bad);
    }
    let (user_id, scope) = (code.user_id, code.scope.clone());
    let same = |token: &&mut UserToken| {
        token.user_id == user_id && token.client_id == client_id && token.scope == scope && !token.is_revoked
    };
    let mut live: Vec<&mut UserToken> = world.github.user_tokens.iter_mut().filter(same).collect();
    let surplus = (live.len() + 1).saturating_sub(LIVE_TOKENS);
    live.iter_mut().take(surplus).for_each(|token| token.is_revoked = true);
    drop(world);
    Ok(issue(shared, client_id, user_id, scope))
}

fn refresh(shared: &Shared, client_id: &str, fields: &Fields) -> Result<Value, Refusal> {
    let bad = ("bad_refresh_token", "The refresh token passed is incorrect or expired.");
    let now = shared.clock.now();
    let presented = fields.get("refresh_token").ok_or(bad)?;
    let (user_id, scope) = {
        let mut world = shared.world();
        let is_meant = |token: &&mut UserToken| {
            token.refresh.as_deref() == Some(presented) && token.client_id == client_id && !token.is_revoked
        };
        let token = world.github.user_tokens.iter_mut().find(is_meant).ok_or(bad)?;
        if token.refresh_expires_at.is_some_and(|end| now >= end) {
            return Err(bad);
        }
        // Both die at once: there is no leeway.
        token.is_revoked = true;
        (token.user_id, token.scope.clone())
    };
    Ok(issue(shared, client_id, user_id, scope))
}

fn issue(shared: &Shared, client_id: &str, user_id: u64, scope: String) -> Value {
    let now = shared.clock.now();
    let is_app = is_app(shared, client_id);
    let mut world = shared.world();
    let options = world.github.options.clone();
    let expires = is_app && options.expire_user_tokens;
    let access = shared.journal.secret(secret::secret(if is_app { "ghu_" } else { "gho_" }, 36));
    let refresh = expires.then(|| shared.journal.secret(secret::secret("ghr_", 76)));
    let reply = match &refresh {
        Some(refresh) => json!({
            "access_token": access, "expires_in": options.user_token_seconds, "refresh_token": refresh,
            "refresh_token_expires_in": REFRESH_SECONDS, "scope": scope, "token_type": "bearer",
        }),
        None => json!({ "access_token": access, "scope": scope, "token_type": "bearer" }),
    };
    world.github.user_tokens.push(UserToken {
        access,
        refresh,
        client_id: client_id.to_owned(),
        user_id,
        scope,
        expires_at: expires.then(|| now + options.user_token_seconds),
        refresh_expires_at: expires.then(|| now + REFRESH_SECONDS),
        is_revoked: false,
    });
    reply
}
