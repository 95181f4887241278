//! The hand-out of tokens to services of the platform.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, Query},
};
use common_auth::{
    extract::{RequireScope, Right},
    problem::current_request_id,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Limits,
    request::{Guarded, PlatformPath},
};
use crate::{
    domain::{
        Integrations,
        credential::{self, CredentialError, HandOut, Wish},
        provider::Narrowing,
    },
    error::{ApiError, ProblemBody},
};

const DEFAULT_MIN_TTL_SECONDS: u32 = 60;
/// Less than the shortest life that a provider gives a token.
const MAX_MIN_TTL_SECONDS: u32 = 3000;
/// What GitHub takes at most.
const MAX_REPOSITORIES: usize = 500;
const MAX_REASON_CHARS: usize = 100;

/// Services that use the connections of organizations.
pub(super) struct TokenRead;

impl Right for TokenRead {
    const NAME: &'static str = "integrations:token:read";
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenQuery {
    /// The organization. Needed unless the service is bound to exactly one.
    org_id: Option<Uuid>,
    /// Which connection, where there are several.
    installation_id: Option<Uuid>,
    /// `installation`, `user` or `bot`; the connection's own where it is not given.
    kind: Option<String>,
    /// GitHub App: only these repositories, by name, separated by commas.
    repositories: Option<String>,
    /// GitHub App: only these permissions, such as `contents:read,issues:write`.
    permissions: Option<String>,
    /// Seconds that the token has to last, 0 to 3000; 60 where it is not given.
    #[param(minimum = 0, maximum = 3000)]
    min_ttl: Option<u32>,
    /// What it is for, up to 100 characters; goes into the audit.
    #[param(max_length = 100)]
    reason: Option<String>,
}

/// A token to call the provider with. Keep it no longer than `expires_at`, and nowhere but in memory.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenResponse {
    #[schema(format = Password)]
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// `null` where it does not expire.
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    scopes: Vec<String>,
    installation_id: Uuid,
    external_org_id: Option<String>,
    #[schema(example = "github")]
    platform: &'static str,
}

/// A token of the organization's connection, fresh for `min_ttl` seconds at least.
#[utoipa::path(
    get, path = "/oauth/token/{platform}", tag = "tokens", security(("bearer" = [])),
    params(("platform" = String, Path, description = "`github`, `jira` (or `confluence`), `slack`"), TokenQuery),
    responses(
        (status = 200, description = "The token", body = TokenResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "insufficient_scope, permission_denied: not this platform", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_connected, provider_not_configured, not_found: another organization", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "needs_reconnect, several_installations", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "temporarily_unavailable, dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_token(
    integrations: Data<Integrations>,
    limits: Data<Limits>,
    asked: Guarded<RequireScope<TokenRead>, (PlatformPath, Query<TokenQuery>)>,
) -> Result<HttpResponse, ApiError> {
    let Guarded(caller, (PlatformPath(platform), Query(query))) = asked;
    // The guard lets services through and nobody else.
    let client_id = &caller.service().ok_or(ApiError::PermissionDenied)?.client_id;
    let tenant = caller.principal().tenant(query.org_id)?;
    limits.hand_out(client_id)?;
    if !integrations.settings.hand_out_platforms.allow(client_id, platform) {
        return Err(ApiError::PermissionDenied);
    }
    let request_id = current_request_id();
    let wish = Wish {
        platform,
        installation_id: query.installation_id,
        kind: query.kind.as_deref().map(str::parse).transpose().map_err(|error| invalid("kind", &error))?,
        narrowing: parse_narrowing(query.repositories.as_deref(), query.permissions.as_deref())?,
        min_ttl: parse_min_ttl(query.min_ttl)?,
        client_id,
        reason: parse_reason(query.reason.as_deref())?,
        request_id: request_id.as_deref(),
    };
    let token = credential::hand_out(&integrations.into_inner(), &tenant, &wish).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"))
        .json(TokenResponse::from(token)))
}

impl From<HandOut> for TokenResponse {
    fn from(token: HandOut) -> Self {
        Self {
            access_token: token.access_token.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_at: token.expires_at,
            scopes: token.scopes,
            installation_id: token.installation_id,
            external_org_id: token.external_org_id,
            platform: token.platform.as_str(),
        }
    }
}

impl From<CredentialError> for ApiError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::NotConnected => Self::NotConnected,
            CredentialError::NeedsReconnect { status_reason } => Self::NeedsReconnect { status_reason },
            CredentialError::Several(ids) => Self::SeveralInstallations(ids),
            CredentialError::TemporarilyUnavailable { retry_after } => {
                Self::TemporarilyUnavailable { retry_after }
            }
            CredentialError::ProviderNotConfigured => Self::ProviderNotConfigured,
            CredentialError::Invalid(reason) => Self::Validation(reason.into()),
            CredentialError::Cipher(error) => {
                tracing::error!(%error, "a stored token cannot be decrypted");
                Self::Unavailable
            }
            CredentialError::Store(error) => error.into(),
        }
    }
}

fn parse_narrowing(repositories: Option<&str>, permissions: Option<&str>) -> Result<Narrowing, ApiError> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let mut narrowing = Narrowing::default();
    for name in listed(repositories) {
        if !is_name(name) || narrowing.repositories.len() >= MAX_REPOSITORIES {
            return Err(invalid("repositories", &"names without owners, 500 at most"));
        }
        narrowing.repositories.push(name.to_owned());
    }
    let mut named = BTreeMap::new();
    for permission in listed(permissions) {
        match permission.split_once(':') {
            Some((name, level @ ("read" | "write" | "admin"))) if is_name(name) => {
                named.insert(name.to_owned(), level.to_owned());
            }
            _ => return Err(invalid("permissions", &"name:level, with read, write or admin as level")),
        }
    }
    narrowing.permissions = named;
    Ok(narrowing)
}

/// What is there but names nothing asks for nothing less than everything, which nobody means.
fn listed(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(|list| list.split(',')).map(str::trim)
}

fn parse_min_ttl(seconds: Option<u32>) -> Result<Duration, ApiError> {
    match seconds.unwrap_or(DEFAULT_MIN_TTL_SECONDS) {
        seconds @ 0..=MAX_MIN_TTL_SECONDS => Ok(Duration::from_secs(seconds.into())),
        _ => Err(invalid("min_ttl", &"0 to 3000 seconds")),
    }
}

fn parse_reason(reason: Option<&str>) -> Result<&str, ApiError> {
    match reason.filter(|reason| !reason.is_empty()) {
        None => Ok("unspecified"),
        Some(reason) if reason.chars().count() <= MAX_REASON_CHARS && !reason.contains(char::is_control) => {
            Ok(reason)
        }
        Some(_) => Err(invalid("reason", &"up to 100 characters")),
    }
}

fn invalid(name: &str, expected: &dyn std::fmt::Display) -> ApiError {
    ApiError::Validation(format!("{name}: {expected}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrowing_is_read_name_by_name() {
        let narrowing = parse_narrowing(Some("api, web.site"), Some("contents:read,issues:write")).unwrap();
        assert_eq!(narrowing.repositories, ["api", "web.site"]);
        assert_eq!(narrowing.permissions.get("issues").map(String::as_str), Some("write"));
        assert!(parse_narrowing(None, None).unwrap().is_empty());
    }

    #[test]
    fn an_unclear_narrowing_is_refused_rather_than_taken_for_none() {
        for (repositories, permissions) in [
            (Some(""), None),
            (Some("owner/api"), None),
            (Some("api,"), None),
            (None, Some("contents")),
            (None, Some("contents:all")),
            (None, Some("")),
        ] {
            assert!(parse_narrowing(repositories, permissions).is_err(), "{repositories:?} {permissions:?}");
        }
    }

    #[test]
    fn the_shortest_life_and_the_reason_have_bounds() {
        assert_eq!(parse_min_ttl(None).unwrap(), Duration::from_mins(1));
        assert!(parse_min_ttl(Some(3001)).is_err());
        assert_eq!(parse_reason(Some("nightly index")).unwrap(), "nightly index");
        assert!(parse_reason(Some(&"x".repeat(101))).is_err());
        assert!(parse_reason(Some("a\nb")).is_err());
    }
}
