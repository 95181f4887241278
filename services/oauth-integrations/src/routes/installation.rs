//! What is connected: seen, checked, ended.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    caller::{Manager, Reader},
    request::{Guarded, circumstances},
};
use crate::{
    domain::{
        Integrations,
        installation::{self, Installation, Page, RevokeError},
    },
    error::{ApiError, ProblemBody},
};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 500;

/// An installation that somebody may see.
type InstallationOfCaller = Guarded<Reader, (Path<Uuid>, Query<OrgQuery>)>;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InstallationListQuery {
    /// `github`, `jira` (or `confluence`), `slack`; all of them where it is not given.
    platform: Option<String>,
    /// For services: the organization. Needed unless the service is bound to exactly one.
    org_id: Option<Uuid>,
    /// The `next` of the page before.
    after: Option<Uuid>,
    /// 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OrgQuery {
    /// For services: the organization. Needed unless the service is bound to exactly one.
    org_id: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct InstallationResponse {
    id: Uuid,
    org_id: Uuid,
    #[schema(example = "github")]
    platform: &'static str,
    /// `active`, `needs_reconnect`, `suspended`, `pending_approval` or `revoked`.
    #[schema(example = "active")]
    status: &'static str,
    /// One machine word that says why.
    status_reason: Option<String>,
    external_org_id: Option<String>,
    external_org_name: Option<String>,
    external_install_id: Option<String>,
    scopes: Vec<String>,
    #[schema(value_type = Object)]
    permissions: Value,
    #[schema(value_type = Object)]
    metadata: Value,
    installed_by: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    last_checked_at: Option<OffsetDateTime>,
    /// When the first of its tokens ends; it is renewed before.
    #[serde(with = "time::serde::rfc3339::option")]
    token_expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    revoked_at: Option<OffsetDateTime>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct InstallationListResponse {
    items: Vec<InstallationResponse>,
    next: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RevokedResponse {
    #[serde(flatten)]
    installation: InstallationResponse,
    /// Whether the provider forgot the connection too.
    provider_revoked: bool,
    /// Where a person can end it there, when no program can.
    help_url: Option<String>,
}

impl From<Installation> for InstallationResponse {
    fn from(installation: Installation) -> Self {
        Self {
            id: installation.id,
            org_id: installation.org_id,
            platform: installation.platform.as_str(),
            status: installation.status.as_str(),
            status_reason: installation.status_reason,
            external_org_id: installation.external_org_id,
            external_org_name: installation.external_org_name,
            external_install_id: installation.external_install_id,
            scopes: installation.scopes,
            permissions: installation.permissions,
            metadata: installation.metadata,
            installed_by: installation.installed_by,
            created_at: installation.created_at,
            updated_at: installation.updated_at,
            last_checked_at: installation.last_checked_at,
            token_expires_at: installation.token_expires_at,
            revoked_at: installation.revoked_at,
        }
    }
}

impl From<RevokeError> for ApiError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotFound => Self::NotFound,
            RevokeError::Store(error) => error.into(),
            RevokeError::Credential(error) => error.into(),
        }
    }
}

/// What the organization has connected, without tokens. What was disconnected is not listed.
#[utoipa::path(
    get, path = "/oauth/installations", tag = "installations", security(("bearer" = [])), params(InstallationListQuery),
    responses(
        (status = 200, description = "A page of them, oldest first", body = InstallationListResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found: another organization", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_installations(
    integrations: Data<Integrations>,
    Guarded(caller, query): Guarded<Reader, Query<InstallationListQuery>>,
) -> Result<HttpResponse, ApiError> {
    let tenant = caller.principal().tenant(query.org_id)?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::Validation(format!("limit is not from 1 to {MAX_LIMIT}").into()));
    }
    let platform = query.platform.as_deref().map(str::parse).transpose();
    let platform = platform.map_err(|error| ApiError::Validation(format!("platform: {error}").into()))?;
    let page = Page { platform, after: query.after, limit };
    let found = installation::list(&integrations.db, &tenant, &page).await?;
    let is_full = i64::try_from(found.len()).unwrap_or(i64::MAX) == limit;
    let next = found.last().filter(|_| is_full).map(|last| last.id);
    let items = found.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(InstallationListResponse { items, next }))
}

/// One connection, whatever its status.
#[utoipa::path(
    get, path = "/oauth/installations/{id}", tag = "installations", security(("bearer" = [])),
    params(("id" = Uuid, Path), OrgQuery),
    responses(
        (status = 200, description = "It", body = InstallationResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_installation(
    integrations: Data<Integrations>,
    asked: InstallationOfCaller,
) -> Result<HttpResponse, ApiError> {
    let Guarded(caller, (id, query)) = asked;
    let tenant = caller.principal().tenant(query.org_id)?;
    let found = installation::find(&integrations.db, &tenant, *id).await?.ok_or(ApiError::NotFound)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(InstallationResponse::from(found)))
}

/// Disconnects. Here it happens in any case; `provider_revoked` says whether it did at the provider too.
#[utoipa::path(
    delete, path = "/oauth/installations/{id}", tag = "installations", security(("bearer" = [])), params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "Disconnected", body = RevokedResponse),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke_installation(
    integrations: Data<Integrations>,
    request: HttpRequest,
    Guarded(caller, id): Guarded<Manager, Path<Uuid>>,
) -> Result<HttpResponse, ApiError> {
    let user = caller.user().ok_or(ApiError::PermissionDenied)?.user_id;
    let tenant = caller.principal().tenant(None)?;
    let (id, circumstances) = (*id, circumstances(&request));
    // A caller who hangs up does not stop it half-way: what is wiped here is still to be revoked there.
    let flying = integrations.clone();
    let work = async move { installation::revoke(&flying, &tenant, id, user, &circumstances).await };
    let (installation, revocation) =
        integrations.flights.complete(work.in_current_span()).await.map_err(|_| ApiError::Internal)??;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(RevokedResponse {
        installation: installation.into(),
        provider_revoked: revocation.provider_revoked,
        help_url: revocation.help_url,
    }))
}

/// Asks the provider whether the connection still stands.
#[utoipa::path(
    post, path = "/oauth/installations/{id}/check", tag = "installations", security(("bearer" = [])), params(("id" = Uuid, Path), OrgQuery),
    responses(
        (status = 200, description = "How it is now", body = InstallationResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "temporarily_unavailable, dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn check_installation(
    integrations: Data<Integrations>,
    limits: Data<super::limit::Limits>,
    request: HttpRequest,
    asked: InstallationOfCaller,
) -> Result<HttpResponse, ApiError> {
    let Guarded(caller, (id, query)) = asked;
    let tenant = caller.principal().tenant(query.org_id)?;
    limits.browser(&request)?;
    let id = *id;
    let known = installation::find(&integrations.db, &tenant, id).await?.ok_or(ApiError::NotFound)?;
    crate::domain::credential::check(&integrations, &tenant, known.id).await?;
    let found = installation::find(&integrations.db, &tenant, id).await?.ok_or(ApiError::NotFound)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(InstallationResponse::from(found)))
}
