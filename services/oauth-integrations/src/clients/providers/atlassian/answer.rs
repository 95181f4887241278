//! What Atlassian's answers mean: refusals have statuses of their own, and sites are listed once per family of products.

use reqwest::StatusCode;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::{
    clients::{
        http::{Reply, unreadable},
        providers::reply::{credential, scopes, text},
    },
    domain::provider::{Credential, CredentialKind, ProviderError},
};

/// A refresh token that is not used ends after so long.
const INACTIVITY: Duration = Duration::days(90);
/// How long an access token lasts where an answer does not say so.
const ACCESS_TOKEN_LIFE: Duration = Duration::hours(1);

/// A site that the grant reaches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) id: String,
    url: Option<String>,
    name: Option<String>,
    scopes: Vec<String>,
}

impl Site {
    pub(super) fn to_json(&self) -> Value {
        json!({ "id": self.id, "url": self.url, "name": self.name, "scopes": self.scopes })
    }
}

/// An answer of the token endpoint. A refresh token is refused with 403, as `invalid_grant` or, from time to time, as
/// `unauthorized_client` whose description names it (raycast/extensions#11836); other refusals are about this client.
pub(super) fn read_token_answer(reply: &Reply, now: OffsetDateTime) -> Result<Credential, ProviderError> {
    let answer = reply.json()?;
    if let Some(code) = text(&answer, "/error") {
        let is_about_token = text(&answer, "/error_description")
            .is_some_and(|description| description.contains("refresh_token"));
        return Err(refusal(&code, reply.status, is_about_token));
    }
    if !reply.status.is_success() {
        return Err(unreadable());
    }
    let mut read = credential(CredentialKind::User, &answer, "", now)?;
    read.token_expires_at = read.token_expires_at.or_else(|| now.checked_add(ACCESS_TOKEN_LIFE));
    read.refresh_expires_at = now.checked_add(INACTIVITY);
    Ok(read)
}

fn refusal(code: &str, status: StatusCode, is_about_token: bool) -> ProviderError {
    match code {
        "invalid_grant" => ProviderError::refused(code),
        "unauthorized_client" if is_about_token && status == StatusCode::FORBIDDEN => {
            ProviderError::refused(code)
        }
        "unauthorized_client" | "invalid_client" | "invalid_request" | "unsupported_grant_type" => {
            ProviderError::misconfigured(code)
        }
        _ if status == StatusCode::UNAUTHORIZED => ProviderError::misconfigured(code),
        "access_denied" => ProviderError::refused(code),
        _ => ProviderError::unavailable("an unknown error code"),
    }
}

/// A success of the API.
pub(super) fn read_api(reply: &Reply) -> Result<Value, ProviderError> {
    match reply.status {
        status if status.is_success() => reply.json(),
        StatusCode::UNAUTHORIZED => Err(ProviderError::refused("unauthorized")),
        StatusCode::FORBIDDEN => Err(ProviderError::refused("forbidden")),
        _ => Err(ProviderError::unavailable("an unexpected status")),
    }
}

/// The sites, each once: one comes again for each family of products.
pub(super) fn read_sites(answer: &Value) -> Result<Vec<Site>, ProviderError> {
    let mut sites: Vec<Site> = Vec::new();
    for resource in answer.as_array().ok_or_else(unreadable)? {
        let id = text(resource, "/id").ok_or_else(unreadable)?;
        let granted = resource
            .get("scopes")
            .and_then(Value::as_array)
            .map(|listed| listed.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>());
        let granted = granted.unwrap_or_else(|| scopes(resource, "/scopes"));
        if let Some(known) = sites.iter_mut().find(|site| site.id == id) {
            known.scopes.extend(granted);
            known.scopes.sort();
            known.scopes.dedup();
        } else {
            let (url, name) = (text(resource, "/url"), text(resource, "/name"));
            sites.push(Site { id, url, name, scopes: granted });
        }
    }
    Ok(sites)
}

/// The sites' names, for people.
pub(super) fn names(sites: &[Site]) -> String {
    let names: Vec<_> = sites.iter().map(|site| site.name.as_deref().unwrap_or(&site.id)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    #[test]
    fn the_inactivity_starts_anew_with_each_answer() {
        let body = r#"{"access_token":"a","refresh_token":"r","expires_in":3600,"scope":"a b","token_type":"Bearer"}"#;
        let read = read_token_answer(&Reply::of(200, body), NOW).unwrap();
        assert_eq!(read.refresh_expires_at, Some(datetime!(2027-02-19 12:00 UTC)));
        assert_eq!(read.scopes, ["a", "b"]);
        assert!(read.absolute_expires_at.is_none(), "the family's end is set once, when the code is traded");
    }

    #[test]
    fn an_answer_without_a_refresh_token_is_one() {
        let read = read_token_answer(&Reply::of(200, r#"{"access_token":"a"}"#), NOW).unwrap();
        assert!(read.refresh_token.is_none());
    }

    #[test]
    fn a_token_whose_life_is_not_said_is_not_taken_for_an_endless_one() {
        for expires_in in ["", r#","expires_in":null"#, r#","expires_in":"soon""#, r#","expires_in":[3600]"#]
        {
            let body = format!(r#"{{"access_token":"a"{expires_in}}}"#);
            let read = read_token_answer(&Reply::of(200, &body), NOW).unwrap();
            assert_eq!(read.token_expires_at, Some(datetime!(2026-11-21 13:00 UTC)), "{body}");
        }
    }

    #[test]
    fn a_refresh_token_that_does_not_count_is_said_in_two_ways() {
        let body = r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#;
        let error = read_token_answer(&Reply::of(403, body), NOW).unwrap_err();
        assert_eq!(error, ProviderError::refused("unauthorized_client"));
        let body = r#"{"error":"unauthorized_client","error_description":"Grant type is not allowed"}"#;
        let error = read_token_answer(&Reply::of(403, body), NOW).unwrap_err();
        assert_eq!(error, ProviderError::misconfigured("unauthorized_client"));
    }

    #[test]
    fn refusals_are_told_apart() {
        let of = |status, code: &str| {
            let body = json!({ "error": code, "error_description": "Unknown or invalid refresh token." });
            read_token_answer(&Reply::of(status, &body.to_string()), NOW).unwrap_err()
        };
        assert_eq!(of(403, "invalid_grant"), ProviderError::refused("invalid_grant"));
        assert_eq!(of(401, "access_denied"), ProviderError::misconfigured("access_denied"));
        assert!(of(400, "brand_new").is_transient());
        assert!(read_token_answer(&Reply::of(403, "<html>"), NOW).unwrap_err().is_transient());
    }

    #[test]
    fn a_site_that_is_listed_twice_is_one() {
        let answer = json!([
            { "id": "1", "url": "https://a.atlassian.net", "name": "a", "scopes": ["read:jira-work"] },
            { "id": "2", "url": "https://b.atlassian.net", "name": "b", "scopes": [] },
            { "id": "1", "url": "https://a.atlassian.net", "name": "a", "scopes": ["read:page"] },
        ]);
        let sites = read_sites(&answer).unwrap();
        assert_eq!(sites.len(), 2);
        assert_eq!(sites[0].scopes, ["read:jira-work", "read:page"]);
        assert_eq!(names(&sites), "a, b");
        assert!(read_sites(&json!({ "message": "no" })).is_err());
    }
}
