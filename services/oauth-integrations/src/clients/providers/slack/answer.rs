//! What Slack's answers mean: refusals come with status 200, and a success may hold one chain of tokens or two.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    clients::{
        http::{Reply, unreadable},
        providers::reply::{credential, text},
    },
    domain::provider::{Credential, CredentialKind, InstallationInfo, OAuthTokens, ProviderError},
};

/// An answer of any method: the error first, whatever the status.
pub(super) fn read_ok(reply: &Reply) -> Result<Value, ProviderError> {
    let answer = reply.json()?;
    match (answer.get("ok").and_then(Value::as_bool), text(&answer, "/error")) {
        (Some(true), _) => Ok(answer),
        (_, Some(code)) => Err(refusal(&code)),
        _ => Err(unreadable()),
    }
}

/// Both chains of a new consent: the bot's on top, the user's beneath `authed_user`.
pub(super) fn read_exchange(answer: &Value, now: OffsetDateTime) -> Result<OAuthTokens, ProviderError> {
    let mut credentials = Vec::new();
    if text(answer, "/access_token").is_some() {
        credentials.push(top_level(answer, now)?);
    }
    if text(answer, "/authed_user/access_token").is_some() {
        credentials.push(credential(CredentialKind::User, answer, "/authed_user", now)?);
    }
    if credentials.is_empty() {
        return Err(unreadable());
    }
    let metadata = json!({
        "team_id": answer.pointer("/team/id"),
        "team_name": answer.pointer("/team/name"),
        "enterprise_id": answer.pointer("/enterprise/id"),
        "enterprise_name": answer.pointer("/enterprise/name"),
        "is_enterprise_install": answer.get("is_enterprise_install").and_then(Value::as_bool).unwrap_or(false),
        "bot_user_id": answer.get("bot_user_id"),
        "authed_user_id": answer.pointer("/authed_user/id"),
        "app_id": answer.get("app_id"),
    });
    Ok(OAuthTokens { credentials, metadata })
}

/// The chain that was refreshed, wherever it stands.
pub(super) fn read_refresh(
    kind: CredentialKind,
    answer: &Value,
    now: OffsetDateTime,
) -> Result<OAuthTokens, ProviderError> {
    let mut tokens = read_exchange(answer, now)?;
    tokens.credentials.retain(|credential| credential.kind == kind);
    if tokens.credentials.is_empty() { Err(unreadable()) } else { Ok(tokens) }
}

/// What was connected: a workspace, or a whole enterprise.
pub(super) fn read_installation(tokens: &OAuthTokens) -> Result<InstallationInfo, ProviderError> {
    let metadata = &tokens.metadata;
    let is_enterprise = metadata.get("is_enterprise_install").and_then(Value::as_bool) == Some(true);
    let account = if is_enterprise { "enterprise" } else { "team" };
    let external_org_id = text(metadata, &format!("/{account}_id")).ok_or(ProviderError::NothingGranted)?;
    let mut scopes: Vec<_> =
        tokens.credentials.iter().flat_map(|credential| credential.scopes.iter().cloned()).collect();
    scopes.sort();
    scopes.dedup();
    Ok(InstallationInfo {
        external_org_id,
        external_org_name: text(metadata, &format!("/{account}_name")),
        external_install_id: None,
        scopes,
        permissions: json!({}),
        metadata: metadata.clone(),
        aliases: Vec::new(),
    })
}

fn top_level(answer: &Value, now: OffsetDateTime) -> Result<Credential, ProviderError> {
    let kind = match text(answer, "/token_type").as_deref() {
        Some("user") => CredentialKind::User,
        _ => CredentialKind::Bot,
    };
    credential(kind, answer, "", now)
}

/// Slack's words. An unknown one is no reason to give a connection up.
fn refusal(code: &str) -> ProviderError {
    match code {
        "invalid_code"
        | "code_already_used"
        | "code_expired"
        | "invalid_refresh_token"
        | "invalid_grant"
        | "invalid_auth"
        | "not_authed"
        | "token_expired"
        | "token_revoked"
        | "account_inactive"
        | "org_login_required"
        | "user_email_unverified"
        | "cannot_install_an_org_installed_app"
        | "access_denied"
        | "team_access_not_granted" => ProviderError::refused(code),
        "bad_client_secret"
        | "invalid_client_id"
        | "bad_redirect_uri"
        | "invalid_grant_type"
        | "no_scopes"
        | "oauth_authorization_url_mismatch"
        | "invalid_client"
        | "pkce_not_allowed" => ProviderError::misconfigured(code),
        "ratelimited" => ProviderError::Unavailable {
            retry_after: Some(std::time::Duration::from_secs(1)),
            detail: "too many calls",
        },
        _ => ProviderError::unavailable("an error of the provider"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    fn both_chains() -> Value {
        json!({
            "ok": true, "access_token": "xoxe.xoxb-1-a", "token_type": "bot", "scope": "commands,chat:write",
            "refresh_token": "xoxe-1-a", "expires_in": 43200, "bot_user_id": "U0", "app_id": "A1",
            "team": { "id": "T1", "name": "Team" }, "enterprise": null, "is_enterprise_install": false,
            "authed_user": { "id": "U1", "scope": "search:read", "access_token": "xoxe.xoxp-1-b",
                "refresh_token": "xoxe-1-b", "expires_in": 43200, "token_type": "user" },
            "incoming_webhook": { "url": "https://hooks.slack.example/canary" },
        })
    }

    #[test]
    fn the_two_chains_are_kept_apart() {
        let tokens = read_exchange(&both_chains(), NOW).unwrap();
        let [bot, user] = tokens.credentials.as_slice() else { panic!("two chains") };
        assert_eq!((bot.kind, bot.access_token.expose_secret()), (CredentialKind::Bot, "xoxe.xoxb-1-a"));
        assert_eq!((user.kind, user.access_token.expose_secret()), (CredentialKind::User, "xoxe.xoxp-1-b"));
        assert_eq!(bot.token_expires_at, Some(datetime!(2026-11-22 0:00 UTC)));
        assert!(!tokens.metadata.to_string().contains("canary"), "a webhook's address is a secret");
        let info = read_installation(&tokens).unwrap();
        assert_eq!(info.external_org_id, "T1");
        assert_eq!(info.scopes, ["chat:write", "commands", "search:read"]);
    }

    #[test]
    fn an_enterprise_is_known_by_its_own_id() {
        let mut answer = both_chains();
        answer["team"] = json!(null);
        answer["enterprise"] = json!({ "id": "E1", "name": "Enterprise" });
        answer["is_enterprise_install"] = json!(true);
        let info = read_installation(&read_exchange(&answer, NOW).unwrap()).unwrap();
        assert_eq!(
            (info.external_org_id.as_str(), info.external_org_name.as_deref()),
            ("E1", Some("Enterprise"))
        );
    }

    #[test]
    fn a_consent_of_the_user_alone_has_no_token_on_top() {
        let answer = json!({ "ok": true, "team": { "id": "T1" }, "authed_user": { "id": "U1", "access_token": "xoxp-1" } });
        let tokens = read_exchange(&answer, NOW).unwrap();
        assert_eq!(tokens.credentials.len(), 1);
        assert_eq!(tokens.credentials[0].kind, CredentialKind::User);
        assert!(tokens.credentials[0].token_expires_at.is_none());
    }

    #[test]
    fn a_refresh_brings_the_chain_that_was_asked_for() {
        let user = json!({ "ok": true, "access_token": "xoxe.xoxp-1-c", "token_type": "user", "refresh_token": "xoxe-1-c" });
        let tokens = read_refresh(CredentialKind::User, &user, NOW).unwrap();
        assert_eq!(tokens.credentials[0].access_token.expose_secret(), "xoxe.xoxp-1-c");
        assert!(read_refresh(CredentialKind::Bot, &user, NOW).unwrap_err().is_transient());
    }

    #[test]
    fn errors_with_status_200_are_told_apart() {
        let of = |code: &str| {
            read_ok(&Reply::of(200, &json!({ "ok": false, "error": code }).to_string())).unwrap_err()
        };
        assert_eq!(of("invalid_refresh_token"), ProviderError::refused("invalid_refresh_token"));
        assert_eq!(of("bad_client_secret"), ProviderError::misconfigured("bad_client_secret"));
        assert!(of("internal_error").is_transient());
        assert!(of("brand_new").is_transient());
        for body in ["<html>", "{\"ok\":tr", "{}", "[]"] {
            assert!(read_ok(&Reply::of(200, body)).unwrap_err().is_transient());
        }
    }
}
