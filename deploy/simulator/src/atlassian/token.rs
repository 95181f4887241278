//! The token endpoint: JSON or a form, real status codes, and families that reuse ends.

use actix_web::{HttpRequest, HttpResponse, web::Bytes};
use serde_json::{Value, json};

use super::{AccessToken, Atlassian, Family, RefreshToken};
use crate::{
    fields::Fields,
    secret::{self, pkce_holds},
    world::{Shared, State, body, json as answer},
};

const CODE_SECONDS: i64 = 600;

/// Status, error and description.
type Refusal = (u16, &'static str, &'static str);

const UNKNOWN_TOKEN: Refusal = (403, "invalid_grant", "Unknown or invalid refresh token.");
const BAD_CODE: Refusal = (403, "invalid_grant", "Invalid authorization code");

pub(super) async fn exchange(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let fields = body(&request, &content);
    for name in ["client_secret", "code_verifier", "refresh_token", "code"] {
        if let Some(value) = fields.get(name) {
            shared.journal.secret(value);
        }
    }
    let grant = fields.get("grant_type").unwrap_or_default();
    shared.journal.note(&request, grant);
    let client = &shared.settings.atlassian;
    let is_client = fields.get("client_id") == Some(client.id.as_str())
        && fields.get("client_secret") == Some(client.secret.as_str());
    let reply = match grant {
        _ if !is_client => Err((401, "access_denied", "Unauthorized")),
        "authorization_code" => redeem(&shared, &fields),
        "refresh_token" => refresh(&shared, &fields),
        _ => Err((400, "unsupported_grant_type", "The grant type is not supported.")),
    };
    match reply {
        Ok(reply) => answer(200, &reply),
        Err((status, error, description)) => {
            answer(status, &json!({ "error": error, "error_description": description }))
        }
    }
}

fn redeem(shared: &Shared, fields: &Fields) -> Result<Value, Refusal> {
    let now = shared.clock.now();
    let mut world = shared.world();
    let atlassian = &mut world.atlassian;
    let presented = fields.get("code").unwrap_or_default();
    let code = atlassian.codes.iter_mut().find(|code| code.value == presented).ok_or(BAD_CODE)?;
    let is_right = !code.is_used
        && now < code.at + CODE_SECONDS
        && fields.get("redirect_uri") == Some(code.redirect_uri.as_str());
    code.is_used = true;
    if !is_right || !pkce_holds(code.challenge.as_deref(), fields.get("code_verifier")) {
        return Err(BAD_CODE);
    }
    let (account_id, scopes) = (code.account_id.clone(), code.scopes.clone());
    atlassian.families.push(Family { account_id, scopes, started_at: now, is_revoked: false });
    let family = atlassian.families.len() - 1;
    Ok(issue(shared, atlassian, family, true))
}

fn refresh(shared: &Shared, fields: &Fields) -> Result<Value, Refusal> {
    let now = shared.clock.now();
    let mut world = shared.world();
    let atlassian = &mut world.atlassian;
    let options = atlassian.options.clone();
    let presented = fields.get("refresh_token").unwrap_or_default();
    let token =
        atlassian.refresh_tokens.iter_mut().find(|token| token.token == presented).ok_or(UNKNOWN_TOKEN)?;
    let number = token.family;
    let family = atlassian.families.get_mut(number).ok_or(UNKNOWN_TOKEN)?;
    let is_over =
        now >= token.at + options.inactivity_seconds || now >= family.started_at + options.absolute_seconds;
    if family.is_revoked || is_over {
        return Err(UNKNOWN_TOKEN);
    }
    if token.used_at.is_some_and(|used| now > used + options.leeway_seconds) {
        // A thief, or a client that lost a reply long ago: nobody may go on.
        family.revoke();
        return Err(UNKNOWN_TOKEN);
    }
    if options.omit_refresh_token {
        token.at = now;
    } else {
        token.used_at.get_or_insert(now);
    }
    Ok(issue(shared, atlassian, number, !options.omit_refresh_token))
}

/// A pair of tokens of a family; without `offline_access`, and where replies leave it out, no refresh token.
fn issue(shared: &Shared, atlassian: &mut Atlassian, family: usize, with_refresh: bool) -> Value {
    let now = shared.clock.now();
    let scopes = atlassian.families.get(family).map(|family| family.scopes.clone()).unwrap_or_default();
    let lifetime = atlassian.options.access_token_seconds;
    let access = shared.journal.secret(secret::secret("eyJraWQiOi.", 900));
    let mut reply = json!({
        "access_token": access, "expires_in": lifetime, "scope": scopes.join(" "), "token_type": "Bearer",
    });
    if with_refresh && scopes.iter().any(|scope| scope == "offline_access") {
        let refresh = shared.journal.secret(secret::secret("eyJhbGciOi.", 700));
        if let Some(object) = reply.as_object_mut() {
            object.insert("refresh_token".to_owned(), json!(refresh));
        }
        atlassian.refresh_tokens.push(RefreshToken { token: refresh, family, at: now, used_at: None });
    }
    atlassian.access_tokens.push(AccessToken { token: access, family, expires_at: now + lifetime });
    reply
}
