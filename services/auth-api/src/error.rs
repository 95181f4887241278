//! Every error that a caller can see: problem details (RFC 9457) in general, RFC 6749's form at the OAuth endpoints.

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use common_auth::{AuthError, Problem};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{
    StoreError, client_authentication::ClientError, failure::Limited, feed::FeedError, grant::GrantError,
    group::GroupError, introspection::RevokeError, jwks::KeyError, login::LoginError,
    organization::RemoveMemberError, password::PasswordError, refresh::RefreshError,
};

/// When a caller may come again after a 503 or 429.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error of the API. Each variant names its status and code.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 401, 403 or 503: see [`AuthError`].
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// 401 `invalid_credentials`
    #[error("Invalid email or password")]
    InvalidCredentials,
    /// 400 `invalid_grant`: the refresh token does not count (any more).
    #[error("The refresh token is not valid")]
    InvalidGrant,
    /// 409 `org_required`, with the organizations to choose from.
    #[error("The user belongs to several organizations; name one as org_id")]
    OrgRequired(Vec<(Uuid, String)>),
    /// 400 `invalid_app`
    #[error("The app is not one of the organization's")]
    InvalidApp,
    /// 400 `validation_failed`
    #[error("{0}")]
    Validation(String),
    /// 404 `not_found`: no such thing, or one of another organization.
    #[error("Not found")]
    NotFound,
    /// 405 `method_not_allowed`
    #[error("Method not allowed")]
    MethodNotAllowed(&'static str),
    /// 403 `permission_denied`
    #[error("Permission denied")]
    PermissionDenied,
    /// 403 `forbidden_origin`: a browser sent it from a page that is not ours.
    #[error("Requests from this origin are not accepted")]
    ForbiddenOrigin,
    /// 409 `conflict`
    #[error("{0}")]
    Conflict(&'static str),
    /// 410 `cursor_expired`: the reader loads everything anew.
    #[error("The cursor is too old; load everything anew")]
    CursorExpired,
    /// 413 `payload_too_large`
    #[error("The body is too large")]
    TooLarge,
    /// 415 `unsupported_media_type`
    #[error("The body has to be application/json")]
    UnsupportedMediaType,
    /// 429 `rate_limited`
    #[error("Too many logins at once")]
    Busy,
    /// 429 `rate_limited`, with the time to wait.
    #[error("Too many logins have failed; wait before the next one")]
    TooManyFailures(Duration),
    /// 503 `dependency_unavailable`
    #[error("The service is temporarily unavailable")]
    Unavailable,
    /// 500 `internal_error`
    #[error("Internal error")]
    Internal,
}

/// An error of an OAuth endpoint (RFC 6749, section 5.2). Each variant names its status and code.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// 400 `invalid_request`
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// 413 `invalid_request`
    #[error("The body is too large")]
    TooLarge,
    /// 401 `invalid_client`, the same for an unknown client, a disabled one and a wrong secret.
    #[error("Client authentication failed")]
    InvalidClient,
    /// 400 `invalid_grant`
    #[error("The grant is not valid")]
    InvalidGrant,
    /// 400 `unauthorized_client`
    #[error("The client may not do this")]
    UnauthorizedClient,
    /// 400 `unsupported_grant_type`
    #[error("The grant type is not supported")]
    UnsupportedGrantType,
    /// 400 `invalid_scope`
    #[error("The scope is unknown or more than the client may have")]
    InvalidScope,
    /// 400 `invalid_target` (RFC 8707, section 2)
    #[error("The resource is not one of the client's")]
    InvalidTarget,
    /// 401 `invalid_token` or 400 `invalid_request`: a bearer token, where one is accepted, is not good.
    #[error(transparent)]
    Bearer(AuthError),
    /// 429 `rate_limited`, with the time to wait; RFC 6749 has no code for it.
    #[error("Too many authentications of this client have failed; wait before the next one")]
    TooManyFailures(Duration),
    /// 405 `invalid_request`
    #[error("Only POST is allowed")]
    MethodNotAllowed,
    /// 503 `temporarily_unavailable`
    #[error("The service is temporarily unavailable")]
    Unavailable,
    /// 500 `server_error`
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

/// The body of an error of an OAuth endpoint (RFC 6749, section 5.2).
#[derive(Serialize, ToSchema)]
pub struct OAuthErrorBody {
    pub error: String,
    pub error_description: Option<String>,
}

impl ApiError {
    fn code(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.code(),
            Self::InvalidCredentials => "invalid_credentials",
            Self::InvalidGrant => "invalid_grant",
            Self::OrgRequired(_) => "org_required",
            Self::InvalidApp => "invalid_app",
            Self::Validation(_) => "validation_failed",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::PermissionDenied => "permission_denied",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::Conflict(_) => "conflict",
            Self::CursorExpired => "cursor_expired",
            Self::TooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Busy | Self::TooManyFailures(_) => "rate_limited",
            Self::Unavailable => "dependency_unavailable",
            Self::Internal => "internal_error",
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Auth(error) => error.status_code(),
            Self::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Self::InvalidGrant | Self::InvalidApp | Self::Validation(_) => StatusCode::BAD_REQUEST,
            Self::OrgRequired(_) | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::PermissionDenied | Self::ForbiddenOrigin => StatusCode::FORBIDDEN,
            Self::CursorExpired => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy | Self::TooManyFailures(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Auth(error) = self {
            return error.error_response();
        }
        let mut problem = Problem::new(self.status_code(), self.code(), self.to_string());
        match self {
            Self::OrgRequired(orgs) => {
                let orgs: Vec<_> = orgs.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
                problem = problem.with("organizations", json!(orgs));
            }
            Self::Busy | Self::Unavailable => problem = problem.retry_after(RETRY_AFTER),
            Self::TooManyFailures(wait) => problem = problem.retry_after(whole_seconds(*wait)),
            _ => {}
        }
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        match self {
            Self::InvalidCredentials => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mozaiks\""));
            }
            Self::MethodNotAllowed(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}

impl OAuthError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) | Self::TooLarge | Self::MethodNotAllowed => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            // RFC 6750, section 3.1, has one code for every token that is not good.
            Self::Bearer(AuthError::TokenExpired) => "invalid_token",
            Self::Bearer(AuthError::Unavailable) | Self::Unavailable => "temporarily_unavailable",
            Self::Bearer(error) => error.code(),
            Self::TooManyFailures(_) => "rate_limited",
            Self::Internal => "server_error",
        }
    }
}

impl ResponseError for OAuthError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::Bearer(error) => error.status_code(),
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyFailures(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        response.insert_header((header::PRAGMA, "no-cache"));
        match self {
            Self::InvalidClient => {
                response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"mozaiks\""));
            }
            Self::MethodNotAllowed => {
                response.insert_header((header::ALLOW, "POST"));
            }
            Self::Unavailable => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER.as_secs()));
            }
            Self::TooManyFailures(wait) => {
                response.insert_header((header::RETRY_AFTER, whole_seconds(*wait).as_secs()));
            }
            Self::Bearer(error) => {
                // Its challenge and its time to come again hold here too; the body has this endpoint's form.
                let like = error.error_response();
                for name in [header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
                    if let Some(value) = like.headers().get(&name) {
                        response.insert_header((name, value.clone()));
                    }
                }
            }
            _ => {}
        }
        response
            .json(OAuthErrorBody { error: self.code().to_owned(), error_description: Some(self.to_string()) })
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if is_passing(&error) { Self::Unavailable } else { Self::Internal }
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        if is_passing(&error) { Self::Unavailable } else { Self::Internal }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        tracing::error!(%error, "a token could not be signed");
        Self::Unavailable
    }
}

impl From<KeyError> for OAuthError {
    fn from(error: KeyError) -> Self {
        tracing::error!(%error, "a token could not be signed");
        Self::Unavailable
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::InvalidCredentials => Self::InvalidCredentials,
            LoginError::Limited(Limited(wait)) => Self::TooManyFailures(wait),
            LoginError::OrgRequired(orgs) => {
                Self::OrgRequired(orgs.into_iter().map(|org| (org.org_id, org.org_name)).collect())
            }
            LoginError::UnknownOrg => Self::NotFound,
            LoginError::InvalidApp => Self::InvalidApp,
            LoginError::Password(PasswordError::Busy) => Self::Busy,
            LoginError::Password(PasswordError::Failed) => Self::Internal,
            LoginError::Key(error) => error.into(),
            LoginError::Secret(error) => {
                tracing::error!(%error, "a refresh token could not be made");
                Self::Internal
            }
            LoginError::Store(error) => error.into(),
        }
    }
}

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Key(error) => error.into(),
            RefreshError::Store(error) => error.into(),
            RefreshError::Invalid | RefreshError::InvalidScope | RefreshError::InvalidTarget => {
                Self::InvalidGrant
            }
        }
    }
}

impl From<GrantError> for OAuthError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::InvalidClient => Self::InvalidClient,
            GrantError::UnauthorizedClient => Self::UnauthorizedClient,
            GrantError::InvalidScope => Self::InvalidScope,
            GrantError::InvalidTarget => Self::InvalidTarget,
            GrantError::InvalidGrant => Self::InvalidGrant,
            GrantError::Limited(Limited(wait)) => Self::TooManyFailures(wait),
            GrantError::Key(error) => error.into(),
            GrantError::Store(error) => error.into(),
        }
    }
}

impl From<ClientError> for OAuthError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused => Self::InvalidClient,
            ClientError::Limited(Limited(wait)) => Self::TooManyFailures(wait),
            ClientError::Store(error) => error.into(),
        }
    }
}

impl From<RevokeError> for OAuthError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::OtherClient => Self::UnauthorizedClient,
            RevokeError::Store(error) => error.into(),
        }
    }
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NotFound | GroupError::Tenant(common_auth::TenantError::NotFound) => Self::NotFound,
            GroupError::NotInOrg => {
                Self::Validation("user_id is not a member of the organization".to_owned())
            }
            GroupError::Tenant(error) => Self::Validation(error.to_string()),
            GroupError::Store(error) => error.into(),
        }
    }
}

impl From<common_auth::TenantError> for ApiError {
    fn from(error: common_auth::TenantError) -> Self {
        GroupError::from(error).into()
    }
}

impl From<RemoveMemberError> for ApiError {
    fn from(error: RemoveMemberError) -> Self {
        match error {
            RemoveMemberError::NotFound => Self::NotFound,
            RemoveMemberError::AboveCaller => Self::PermissionDenied,
            RemoveMemberError::LastOwner => Self::Conflict("The last owner cannot be removed"),
            RemoveMemberError::Store(error) => error.into(),
        }
    }
}

impl From<FeedError> for ApiError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::CursorExpired => Self::CursorExpired,
            FeedError::Store(error) => error.into(),
        }
    }
}

/// At least one, so that whoever waits for so long does not come too early.
fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
}

/// Logs what happened, since the caller is only told that something did.
fn is_passing(error: &StoreError) -> bool {
    if error.is_retryable() {
        tracing::warn!(%error, "the database is not available");
        return true;
    }
    tracing::error!(?error, "a query failed");
    false
}
