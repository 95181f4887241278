//! Every error that a caller of the API can see, as problem details (RFC 9457). What people see is a page instead.

use std::{borrow::Cow, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use common_auth::{AuthError, Problem, TenantError};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::StoreError;

/// When a caller may come again after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error of the API. Each variant names its status and code.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 401, 403 or 503: see [`AuthError`].
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// 400 `validation_failed`
    #[error("{0}")]
    Validation(Cow<'static, str>),
    /// 401 `invalid_signature`: a webhook that the provider did not sign, or not just now.
    #[error("The signature is not valid")]
    BadSignature,
    /// 403 `permission_denied`
    #[error("Permission denied")]
    PermissionDenied,
    /// 403 `forbidden_origin`: a browser sent it from a page that is not ours.
    #[error("Requests from this origin are not accepted")]
    ForbiddenOrigin,
    /// 404 `not_found`: no such thing, or one of another organization.
    #[error("Not found")]
    NotFound,
    /// 404 `not_connected`: the organization has no such connection.
    #[error("The organization has not connected this platform")]
    NotConnected,
    /// 404 `provider_not_configured`: this service has no credentials for the platform.
    #[error("This platform is not configured")]
    ProviderNotConfigured,
    /// 405 `method_not_allowed`
    #[error("Method not allowed")]
    MethodNotAllowed(&'static str),
    /// 409 `needs_reconnect`, with `status_reason`: somebody has to connect it anew.
    #[error("The connection has to be made anew")]
    NeedsReconnect { status_reason: Option<String> },
    /// 409 `several_installations`, with the ids to choose from.
    #[error("The organization has several connections; name one as installation_id")]
    SeveralInstallations(Vec<Uuid>),
    /// 413 `payload_too_large`
    #[error("The body is too large")]
    TooLarge,
    /// 415 `unsupported_media_type`
    #[error("The body has to be application/json")]
    UnsupportedMediaType,
    /// 429 `rate_limited`
    #[error("Too many requests")]
    RateLimited { retry_after: Duration },
    /// 503 `temporarily_unavailable`: the provider does not answer, or not now.
    #[error("The provider is temporarily unavailable")]
    TemporarilyUnavailable { retry_after: Duration },
    /// 503 `dependency_unavailable`
    #[error("The service is temporarily unavailable")]
    Unavailable,
    /// 500 `internal_error`
    #[error("Internal error")]
    Internal,
}

/// The body of an error (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct ProblemBody {
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// A sentence for people.
    pub detail: String,
    /// A stable code for programs.
    pub error: String,
    pub request_id: Option<String>,
}

impl ApiError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.code(),
            Self::Validation(_) => "validation_failed",
            Self::BadSignature => "invalid_signature",
            Self::PermissionDenied => "permission_denied",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::NotFound => "not_found",
            Self::NotConnected => "not_connected",
            Self::ProviderNotConfigured => "provider_not_configured",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NeedsReconnect { .. } => "needs_reconnect",
            Self::SeveralInstallations(_) => "several_installations",
            Self::TooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RateLimited { .. } => "rate_limited",
            Self::TemporarilyUnavailable { .. } => "temporarily_unavailable",
            Self::Unavailable => "dependency_unavailable",
            Self::Internal => "internal_error",
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Auth(error) => error.status_code(),
            Self::Validation(_) => StatusCode::BAD_REQUEST,
            Self::BadSignature => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied | Self::ForbiddenOrigin => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NotConnected | Self::ProviderNotConfigured => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NeedsReconnect { .. } | Self::SeveralInstallations(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TemporarilyUnavailable { .. } | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Auth(error) = self {
            return error.error_response();
        }
        let mut problem = Problem::new(self.status_code(), self.code(), self.to_string());
        match self {
            Self::NeedsReconnect { status_reason } => {
                problem = problem.with("status_reason", json!(status_reason));
            }
            Self::SeveralInstallations(ids) => problem = problem.with("installations", json!(ids)),
            Self::RateLimited { retry_after } | Self::TemporarilyUnavailable { retry_after } => {
                problem = problem.retry_after(*retry_after);
            }
            Self::Unavailable => problem = problem.retry_after(RETRY_AFTER),
            _ => {}
        }
        let mut response = problem.into_response();
        if let Self::MethodNotAllowed(allowed) = self {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    /// Logs what happened, since the caller is only told that something did.
    fn from(error: StoreError) -> Self {
        if error.is_retryable() {
            tracing::warn!(%error, "the database is not available");
            return Self::Unavailable;
        }
        tracing::error!(?error, "a query failed");
        Self::Internal
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::NotFound => Self::NotFound,
            TenantError::Missing => Self::Validation(error.to_string().into()),
        }
    }
}
