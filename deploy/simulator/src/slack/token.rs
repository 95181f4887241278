//! `oauth.v2.access`: 200 whatever goes wrong, and two chains of tokens.

use actix_web::{HttpRequest, HttpResponse, web::Bytes};
use serde_json::{Map, Value, json};

use super::{Access, Chain, Code, Holder, Place, Refresh, Slack};
use crate::{
    fields::Fields,
    secret::{self, pkce_holds},
    world::{Shared, State, basic, body, query},
};

const CODE_SECONDS: i64 = 600;
/// How many access tokens of a chain live; the next one revokes the oldest.
const LIVE_TOKENS: usize = 2;

/// The `app_id` in every reply.
pub(super) const APP_ID: &str = "A0EXAMPLE";

pub(super) async fn access(request: HttpRequest, shared: State, content: Bytes) -> HttpResponse {
    let mut fields = body(&request, &content);
    if content.is_empty() {
        fields = query(&request);
    }
    for name in ["client_secret", "code_verifier", "refresh_token", "code"] {
        if let Some(value) = fields.get(name) {
            shared.journal.secret(value);
        }
    }
    let grant = fields.get("grant_type").unwrap_or("authorization_code");
    shared.journal.note(&request, grant);
    let reply = authenticate(&shared, &request, &fields).and_then(|()| match grant {
        "authorization_code" => redeem(&shared, &fields),
        "refresh_token" => refresh(&shared, &fields),
        _ => Err("invalid_grant_type"),
    });
    HttpResponse::Ok().json(reply.unwrap_or_else(|error| json!({ "ok": false, "error": error })))
}

/// The client, by Basic or in the body. A public client proves itself with PKCE.
pub(super) fn authenticate(
    shared: &Shared,
    request: &HttpRequest,
    fields: &Fields,
) -> Result<(), &'static str> {
    let client = &shared.settings.slack;
    let basic = basic(request);
    let id = fields.get("client_id").or(basic.as_ref().map(|client| client.id.as_str()));
    let secret = fields.get("client_secret").or(basic.as_ref().map(|client| client.secret.as_str()));
    if id != Some(client.id.as_str()) {
        return Err("invalid_client_id");
    }
    let is_public = shared.world().slack.options.pkce && secret.is_none();
    if is_public || secret == Some(client.secret.as_str()) { Ok(()) } else { Err("bad_client_secret") }
}

fn redeem(shared: &Shared, fields: &Fields) -> Result<Value, &'static str> {
    let now = shared.clock.now();
    let mut world = shared.world();
    let slack = &mut world.slack;
    let presented = fields.get("code").unwrap_or_default();
    let code = slack.codes.iter_mut().find(|code| code.value == presented).ok_or("invalid_code")?;
    if code.is_used {
        return Err("code_already_used");
    }
    if now >= code.at + CODE_SECONDS {
        return Err("invalid_code");
    }
    if code.redirect_uri.as_deref() != fields.get("redirect_uri") {
        return Err("bad_redirect_uri");
    }
    code.is_used = true;
    if !pkce_holds(code.challenge.as_deref(), fields.get("code_verifier")) {
        return Err("invalid_code_verifier");
    }
    let code = code.clone();
    let mut reply = frame(slack, &code.place);
    let mut user = json!({ "id": code.user_id });
    if let Some(scope) = &code.scope {
        let number = chain(slack, &code, Holder::Bot, scope);
        merge(&mut reply, issue(shared, slack, number));
    }
    if let Some(scope) = &code.user_scope {
        let number = chain(slack, &code, Holder::User(code.user_id.clone()), scope);
        merge(&mut user, issue(shared, slack, number));
    }
    merge(&mut reply, json!({ "authed_user": user }));
    Ok(reply)
}

fn refresh(shared: &Shared, fields: &Fields) -> Result<Value, &'static str> {
    let invalid = "invalid_refresh_token";
    let now = shared.clock.now();
    let mut world = shared.world();
    let slack = &mut world.slack;
    let presented = fields.get("refresh_token").ok_or(invalid)?;
    let is_good =
        |refresh: &Refresh| refresh.token == presented && refresh.ends_at.is_none_or(|end| now < end);
    let number = slack.chains.iter().position(|chain| chain.refresh.iter().any(is_good)).ok_or(invalid)?;
    let chain = slack.chains.get(number).ok_or(invalid)?;
    let (place, user_id) = (chain.place.clone(), chain.user_id.clone());
    let mut reply = frame(slack, &place);
    merge(&mut reply, issue(shared, slack, number));
    merge(&mut reply, json!({ "authed_user": { "id": user_id } }));
    Ok(reply)
}

/// What every reply begins with.
fn frame(slack: &Slack, place: &Place) -> Value {
    let enterprise = |id: &str| {
        let found = slack.enterprises.iter().find(|org| org.id == id);
        found.map(|org| json!({ "id": org.id, "name": org.name }))
    };
    let (team, enterprise) = match place {
        Place::Workspace(id) => {
            let found = slack.workspaces.iter().find(|workspace| workspace.id == *id);
            let owner = found.and_then(|workspace| workspace.enterprise_id.as_deref()).and_then(enterprise);
            (found.map(|workspace| json!({ "id": workspace.id, "name": workspace.name })), owner)
        }
        Place::Enterprise(id) => (None, enterprise(id)),
    };
    let is_org_wide = matches!(place, Place::Enterprise(_));
    json!({ "ok": true, "app_id": APP_ID, "team": team, "enterprise": enterprise, "is_enterprise_install": is_org_wide })
}

/// The chain that a code continues, or begins; scopes only ever grow.
fn chain(slack: &mut Slack, code: &Code, holder: Holder, scope: &str) -> usize {
    let is_meant = |chain: &Chain| chain.place == code.place && chain.holder == holder;
    if let Some(number) = slack.chains.iter().position(is_meant) {
        if let Some(chain) = slack.chains.get_mut(number) {
            let new = scope.split(',').filter(|new| !chain.scope.split(',').any(|old| old == *new));
            let all: Vec<&str> =
                chain.scope.split(',').chain(new).filter(|scope| !scope.is_empty()).collect();
            chain.scope = all.join(",");
            chain.user_id.clone_from(&code.user_id);
        }
        return number;
    }
    slack.serial += 1;
    slack.chains.push(Chain {
        place: code.place.clone(),
        holder,
        bot_user_id: format!("U0BOT{}", slack.serial),
        user_id: code.user_id.clone(),
        scope: scope.to_owned(),
        access: Vec::new(),
        refresh: Vec::new(),
    });
    slack.chains.len() - 1
}

/// The next token of a chain. What was there stays, as long as no more than two live; without rotation it is the same again.
fn issue(shared: &Shared, slack: &mut Slack, number: usize) -> Value {
    let now = shared.clock.now();
    let options = slack.options.clone();
    let Some(chain) = slack.chains.get_mut(number) else { return Value::Null };
    let (kind, prefix) = match chain.holder {
        Holder::Bot => ("bot", "xoxb-"),
        Holder::User(_) => ("user", "xoxp-"),
    };
    let mut reply = json!({ "token_type": kind, "scope": chain.scope });
    if chain.holder == Holder::Bot {
        merge(&mut reply, json!({ "bot_user_id": chain.bot_user_id }));
    }
    if !options.rotation {
        let live = chain.access.iter().find(|access| !access.is_revoked && access.expires_at.is_none());
        let token = live.map(|access| access.token.clone());
        let token = token.unwrap_or_else(|| {
            let token = shared.journal.secret(secret::secret(prefix, 48));
            chain.access.push(Access { token: token.clone(), expires_at: None, is_revoked: false });
            token
        });
        merge(&mut reply, json!({ "access_token": token }));
        return reply;
    }
    let token = shared.journal.secret(secret::secret(&format!("xoxe.{prefix}1-"), 160));
    let refresh = shared.journal.secret(secret::secret("xoxe-1-", 140));
    let is_live = |access: &&mut Access| !access.is_revoked && access.expires_at.is_none_or(|end| end > now);
    let mut live: Vec<&mut Access> = chain.access.iter_mut().filter(is_live).collect();
    let surplus = (live.len() + 1).saturating_sub(LIVE_TOKENS);
    live.iter_mut().take(surplus).for_each(|access| access.is_revoked = true);
    let expires_at = Some(now + options.access_token_seconds);
    chain.access.push(Access { token: token.clone(), expires_at, is_revoked: false });
    for old in &mut chain.refresh {
        old.ends_at.get_or_insert(now + options.grace_seconds);
    }
    chain.refresh.push(Refresh { token: refresh.clone(), ends_at: None });
    let rest = json!({ "access_token": token, "refresh_token": refresh, "expires_in": options.access_token_seconds });
    merge(&mut reply, rest);
    reply
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend::<Map<String, Value>>(from);
    }
}
