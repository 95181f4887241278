//! Tickets: what a caller with a bearer token gives its user's browser, which has none.

use actix_web::{HttpResponse, http::header, web::Data};
use common_auth::extract::AuthContext;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    caller::Manager,
    request::{Guarded, JsonBody},
};
use crate::{
    domain::{
        Integrations, installation,
        provider::Platform,
        return_to::ReturnTo,
        state::Wish,
        ticket::{self, Holder, TicketError},
    },
    error::{ApiError, ProblemBody},
};

/// Ids of others are kept and handed back, so they have a limit.
const MAX_ID_CHARS: usize = 200;

#[derive(Deserialize, ToSchema)]
pub(super) struct InstallTicketRequest {
    /// `github`, `jira` (or `confluence`), `slack`.
    #[schema(example = "github")]
    platform: String,
    /// A path of this service, or an address of an allowed origin.
    return_to: Option<String>,
    /// The installation to connect anew.
    installation_id: Option<Uuid>,
    /// What mozaiks-runtime hears again when it is done.
    #[schema(max_length = 200)]
    chat_session_id: Option<String>,
    #[schema(max_length = 200)]
    correlation_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct InstallTicketResponse {
    ticket: String,
    /// Where the user's browser goes with it.
    install_url: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PageTicketResponse {
    ticket: String,
    /// Where the user's browser goes with it.
    page_url: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

impl From<TicketError> for ApiError {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::TooMany => Self::RateLimited { retry_after: std::time::Duration::from_mins(1) },
            TicketError::Store(error) => error.into(),
        }
    }
}

/// Makes a ticket that lets the user's browser connect a platform.
#[utoipa::path(
    post, path = "/oauth/install-tickets", tag = "installations", security(("bearer" = [])), request_body = InstallTicketRequest,
    responses(
        (status = 201, description = "The ticket, for a minute", body = InstallTicketResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found, provider_not_configured", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_install_ticket(
    integrations: Data<Integrations>,
    Guarded(caller, JsonBody(body)): Guarded<Manager, JsonBody<InstallTicketRequest>>,
) -> Result<HttpResponse, ApiError> {
    let user = caller.user().ok_or(ApiError::PermissionDenied)?;
    let platform: Platform =
        body.platform.parse().map_err(|error| ApiError::Validation(format!("platform: {error}").into()))?;
    integrations.providers.get(platform).ok_or(ApiError::ProviderNotConfigured)?;
    if let Some(id) = body.installation_id {
        let tenant = caller.principal().tenant(None)?;
        installation::find(&integrations.db, &tenant, id).await?.ok_or(ApiError::NotFound)?;
    }
    let wish = Wish {
        holder: Holder::of(user, caller.token().origin()),
        platform,
        installation_id: body.installation_id,
        return_to: return_to(&integrations, body.return_to.as_deref())?,
        chat_session_id: id("chat_session_id", body.chat_session_id)?,
        correlation_id: id("correlation_id", body.correlation_id)?,
    };
    let issued = ticket::issue_install(&integrations, &wish).await?;
    let secret = issued.secret.expose_secret();
    let install_url =
        format!("{}/oauth/install/{platform}?ticket={secret}", integrations.settings.public_origin);
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(
        InstallTicketResponse { ticket: secret.to_owned(), install_url, expires_at: issued.expires_at },
    ))
}

/// Makes a ticket that opens the page of data sources in the user's browser, once, for 15 minutes.
#[utoipa::path(
    post, path = "/oauth/page-tickets", tag = "installations", security(("bearer" = [])),
    responses(
        (status = 201, description = "The ticket, for a minute", body = PageTicketResponse),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied: a service", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_page_ticket(
    integrations: Data<Integrations>,
    caller: AuthContext,
) -> Result<HttpResponse, ApiError> {
    let user = caller.user().ok_or(ApiError::PermissionDenied)?;
    let holder = Holder::of(user, caller.token().origin());
    let issued = ticket::issue_page(&integrations, &holder).await?;
    let secret = issued.secret.expose_secret();
    let page_url = format!("{}/oauth/data-sources?ticket={secret}", integrations.settings.public_origin);
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(PageTicketResponse {
        ticket: secret.to_owned(),
        page_url,
        expires_at: issued.expires_at,
    }))
}

/// Where the result page leads.
pub(super) fn return_to(
    integrations: &Integrations,
    text: Option<&str>,
) -> Result<Option<ReturnTo>, ApiError> {
    let settings = &integrations.settings;
    let parse = |text| ReturnTo::parse(text, &settings.public_origin, &settings.origins);
    text.map(parse).transpose().map_err(|error| ApiError::Validation(error.to_string().into()))
}

/// An id of somebody else's.
pub(super) fn id(name: &'static str, text: Option<String>) -> Result<Option<String>, ApiError> {
    let is_odd = |text: &String| text.chars().count() > MAX_ID_CHARS || text.chars().any(char::is_control);
    if text.as_ref().is_some_and(is_odd) {
        return Err(ApiError::Validation(format!("{name} is longer than {MAX_ID_CHARS} characters").into()));
    }
    Ok(text.filter(|text| !text.is_empty()))
}
