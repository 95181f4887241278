//! What callers are told when a request fails.

use std::{borrow::Cow, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    error::{JsonPayloadError, PayloadError},
    http::StatusCode,
};
use common_auth::{AuthError, Problem, TenantError};

use crate::{
    domain::{
        group::{DirectoryError, GroupError},
        message::MessageError,
    },
    store::StoreError,
};

/// When a caller may come again after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An answer other than success. Each variant names its status and stable code.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400, 401, 403 or 503, as [`AuthError`] says.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// 400 `validation_failed`
    #[error("{0}")]
    Validation(Cow<'static, str>),
    /// 403 `not_a_member`
    #[error("Not a member of this group")]
    NotAMember,
    /// 403 `sender_mismatch`
    #[error("sender_id must be the caller's own id")]
    SenderMismatch,
    /// 404 `not_found`: no such thing, or it belongs to another organization.
    #[error("Not found")]
    NotFound,
    /// 405 `method_not_allowed`
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// 409 `conflict`
    #[error("client_message_id was used for another message")]
    Conflict,
    /// 413 `payload_too_large`
    #[error("The request body is too large")]
    TooLarge,
    /// 415 `unsupported_media_type`
    #[error("The request body must be application/json")]
    NotJson,
    /// 429 `rate_limited`
    #[error("Too many organizations were asked for")]
    RateLimited,
    /// 503 `dependency_unavailable`: auth-api or the database does not answer, or a queue is full.
    #[error("{0}")]
    Unavailable(&'static str),
}

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Auth(error) => (error.status_code(), error.code()),
            Self::Validation(_) => (StatusCode::BAD_REQUEST, "validation_failed"),
            Self::NotAMember => (StatusCode::FORBIDDEN, "not_a_member"),
            Self::SenderMismatch => (StatusCode::FORBIDDEN, "sender_mismatch"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "dependency_unavailable"),
        }
    }

    /// Of a request body that is no JSON of the expected form.
    #[must_use]
    pub fn from_body(error: &actix_web::Error) -> Self {
        match error.as_error::<JsonPayloadError>() {
            Some(
                JsonPayloadError::Overflow { .. }
                | JsonPayloadError::OverflowKnownLength { .. }
                | JsonPayloadError::Payload(PayloadError::Overflow),
            ) => Self::TooLarge,
            Some(JsonPayloadError::ContentType) => Self::NotJson,
            Some(JsonPayloadError::Deserialize(error)) => Self::Validation(error.to_string().into()),
            _ => Self::Validation("The request body could not be read".into()),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status_and_code().0
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Auth(error) = self {
            return error.error_response();
        }
        let (status, code) = self.status_and_code();
        let problem = Problem::new(status, code, self.to_string());
        match self {
            Self::Unavailable(_) => problem.retry_after(RETRY_AFTER),
            Self::RateLimited => problem.retry_after(Duration::from_mins(1)),
            _ => problem,
        }
        .into_response()
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Missing => Self::Validation("org_id is required for a service".into()),
            TenantError::NotFound => Self::NotFound,
        }
    }
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Unavailable => Self::Unavailable("The directory of groups is unavailable"),
            DirectoryError::TooManyLoads => Self::RateLimited,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store failed");
        Self::Unavailable("The database is unavailable")
    }
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Tenant(error) => error.into(),
            GroupError::NotFound => Self::NotFound,
            GroupError::NotAMember => Self::NotAMember,
            GroupError::Directory(error) => error.into(),
            GroupError::Store(error) => error.into(),
        }
    }
}

impl From<MessageError> for ApiError {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Group(error) => error.into(),
            MessageError::NotFound => Self::NotFound,
            MessageError::SenderMismatch => Self::SenderMismatch,
            MessageError::Invalid(reason) => Self::Validation(reason.into()),
            MessageError::Conflict => Self::Conflict,
            MessageError::Busy => Self::Unavailable("Too many messages are waiting to be stored"),
            MessageError::Unavailable => Self::Unavailable("The message could not be stored in time"),
            MessageError::Store(error) => error.into(),
        }
    }
}
