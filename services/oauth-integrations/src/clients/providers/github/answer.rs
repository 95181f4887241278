//! What GitHub's answers mean: of the token endpoint, where a refusal has status 200, and of the REST API.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    clients::{
        http::{Reply, unreadable},
        providers::reply::{credential, secret, text},
    },
    domain::provider::{Credential, CredentialKind, Probe, ProviderError},
};

/// How long GitHub wants to be left alone after a secondary rate limit that names no time.
const SECONDARY_LIMIT_PAUSE: Duration = Duration::from_mins(1);

/// An answer of the token endpoint: the error first, whatever the status.
pub(super) fn read_token_answer(reply: &Reply, now: OffsetDateTime) -> Result<Credential, ProviderError> {
    let answer = reply.json_or_form()?;
    if let Some(code) = text(&answer, "/error") {
        return Err(refusal(&code));
    }
    if !reply.status.is_success() {
        return Err(unreadable());
    }
    credential(CredentialKind::User, &answer, "", now)
}

/// A success of the REST API.
pub(super) fn read_rest(reply: &Reply) -> Result<Value, ProviderError> {
    match reply.status {
        status if status.is_success() => reply.json(),
        StatusCode::UNAUTHORIZED => Err(ProviderError::refused("bad_credentials")),
        StatusCode::FORBIDDEN => {
            let message = reply.json().ok().and_then(|answer| text(&answer, "/message")).unwrap_or_default();
            Err(forbidden(&message.to_ascii_lowercase()))
        }
        StatusCode::NOT_FOUND => Err(ProviderError::NotFound),
        StatusCode::UNPROCESSABLE_ENTITY => Err(ProviderError::NotGranted),
        _ => Err(ProviderError::unavailable("an unexpected status")),
    }
}

/// What a 403 means is in its sentence only.
fn forbidden(message: &str) -> ProviderError {
    if message.contains("suspended") {
        ProviderError::Suspended
    } else if message.contains("rate limit") {
        ProviderError::Unavailable { retry_after: Some(SECONDARY_LIMIT_PAUSE), detail: "too many calls" }
    } else {
        ProviderError::refused("forbidden")
    }
}

/// A success or a 404, after which it is gone either way; also what GitHub calls no token of this client.
pub(super) fn read_deletion(reply: &Reply) -> Result<(), ProviderError> {
    match reply.status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Ok(()),
        _ => read_rest(reply).map(drop),
    }
}

/// Of a call as the app: a refused JWT is this service's trouble, and what else is forbidden (an allow-list of addresses, say)
/// says nothing of the installation.
pub(super) fn of_app(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Refused { code } if code == "bad_credentials" => {
            ProviderError::misconfigured("app_key")
        }
        ProviderError::Refused { .. } => ProviderError::unavailable("the app is forbidden to"),
        error => error,
    }
}

/// A minted token. Permissions take the place of scopes: `contents:read`.
pub(super) fn read_minted(answer: &Value) -> Result<Credential, ProviderError> {
    let expires_at = text(answer, "/expires_at").ok_or_else(unreadable)?;
    let permissions = answer.get("permissions").and_then(Value::as_object);
    let scopes = permissions.into_iter().flatten().map(|(name, level)| match level.as_str() {
        Some(level) => format!("{name}:{level}"),
        None => name.clone(),
    });
    Ok(Credential {
        kind: CredentialKind::Installation,
        access_token: secret(answer, "/token").ok_or_else(unreadable)?,
        refresh_token: None,
        token_expires_at: Some(OffsetDateTime::parse(&expires_at, &Rfc3339).map_err(|_| unreadable())?),
        refresh_expires_at: None,
        absolute_expires_at: None,
        scopes: scopes.collect(),
    })
}

/// An installation as the app sees it.
pub(super) fn read_installation(answer: &Value) -> Result<Probe, ProviderError> {
    if answer.get("suspended_at").is_some_and(|at| !at.is_null()) {
        return Err(ProviderError::Suspended);
    }
    Ok(Probe {
        external_org_name: text(answer, "/account/login"),
        permissions: answer.get("permissions").cloned(),
        scopes: None,
    })
}

/// The words of the token endpoint. An unknown one is no reason to give a connection up.
fn refusal(code: &str) -> ProviderError {
    match code {
        "bad_verification_code"
        | "bad_refresh_token"
        | "unverified_user_email"
        | "invalid_grant"
        | "access_denied" => ProviderError::refused(code),
        "incorrect_client_credentials"
        | "redirect_uri_mismatch"
        | "unauthorized_client"
        | "invalid_client"
        | "application_suspended"
        | "unsupported_grant_type" => ProviderError::misconfigured(code),
        _ => ProviderError::unavailable("an unknown error code"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    #[test]
    fn a_form_with_an_error_and_status_200_is_a_refusal() {
        let reply = Reply::of(200, "error=bad_verification_code&error_description=expired");
        assert_eq!(
            read_token_answer(&reply, NOW).unwrap_err(),
            ProviderError::refused("bad_verification_code")
        );
        let reply = Reply::of(200, r#"{"error":"incorrect_client_credentials"}"#);
        let error = read_token_answer(&reply, NOW).unwrap_err();
        assert_eq!(error, ProviderError::misconfigured("incorrect_client_credentials"));
        let reply = Reply::of(200, r#"{"error":"brand_new"}"#);
        assert!(read_token_answer(&reply, NOW).unwrap_err().is_transient());
    }

    #[test]
    fn both_bodies_of_a_success_are_read() {
        for body in [
            "access_token=gho_1&scope=repo%2Cgist&token_type=bearer",
            r#"{"access_token":"gho_1","scope":"repo,gist"}"#,
        ] {
            let read = read_token_answer(&Reply::of(200, body), NOW).unwrap();
            assert_eq!(read.access_token.expose_secret(), "gho_1");
            assert_eq!(read.scopes, ["repo", "gist"]);
            assert!(read.token_expires_at.is_none() && read.refresh_token.is_none());
        }
    }

    #[test]
    fn what_is_no_answer_of_github_costs_nothing() {
        for body in ["<html>oops</html>", "", "{\"access_token\":\"gh", "[]"] {
            assert!(read_token_answer(&Reply::of(200, body), NOW).unwrap_err().is_transient(), "{body}");
        }
    }

    #[test]
    fn installation_tokens_of_any_length_are_read() {
        let long = format!("ghs_12345_{}.{}.{}", "a".repeat(100), "b".repeat(300), "c".repeat(100));
        for token in ["ghs_short", long.as_str()] {
            let answer = json!({ "token": token, "expires_at": "2026-11-21T13:00:00Z",
                "permissions": { "contents": "read", "metadata": "read" }, "repository_selection": "all" });
            let read = read_minted(&answer).unwrap();
            assert_eq!(read.access_token.expose_secret(), token);
            assert_eq!(read.token_expires_at, Some(datetime!(2026-11-21 13:00 UTC)));
            assert_eq!(read.scopes, ["contents:read", "metadata:read"]);
        }
    }

    #[test]
    fn too_many_calls_without_a_header_that_says_so_are_no_refusal() {
        let body = r#"{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}"#;
        assert!(read_rest(&Reply::of(403, body)).unwrap_err().is_transient());
    }

    #[test]
    fn suspended_gone_and_broken_are_told_apart() {
        let suspended = r#"{"message":"This installation has been suspended","status":"403"}"#;
        assert_eq!(read_rest(&Reply::of(403, suspended)).unwrap_err(), ProviderError::Suspended);
        assert_eq!(read_rest(&Reply::of(404, "{}")).unwrap_err(), ProviderError::NotFound);
        assert!(of_app(read_rest(&Reply::of(401, "{}")).unwrap_err()).is_transient());
        assert!(of_app(read_rest(&Reply::of(403, "{}")).unwrap_err()).is_transient());
        assert_eq!(read_deletion(&Reply::of(404, "")), Ok(()));
    }
}
