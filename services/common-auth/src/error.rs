//! Why a request is refused before its handler runs.

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};

use crate::problem::Problem;

/// The protection space named in every challenge (RFC 7235, section 2.2).
const REALM: &str = "mozaiks";

/// A refusal by authentication or authorization. Each variant names its status and stable code.
///
/// From outside, the reasons for refusing a token look alike, but for its expiry; the exact one is in [`AuthError::reason`],
/// for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// 401 `authentication_required`: no credentials came with the request (RFC 6750, section 3.1: a challenge without `error`).
    #[error("Authentication required")]
    MissingCredentials,
    /// 400 `invalid_request`: the `Authorization` header is malformed, or there are several.
    #[error("The Authorization header is malformed")]
    MalformedCredentials,
    /// 401 `token_expired`.
    #[error("Token expired")]
    TokenExpired,
    /// 401 `invalid_token`: anything else that is wrong with the token, revocation included.
    #[error("Invalid token")]
    InvalidToken(&'static str),
    /// 403 `permission_denied`: the user lacks a permission or role.
    #[error("Permission denied")]
    PermissionDenied,
    /// 403 `insufficient_scope`: the service's token lacks the named scope (RFC 6750, section 3.1).
    #[error("Insufficient scope")]
    InsufficientScope(String),
    /// 503 `dependency_unavailable`: nobody can say whether the token is good, since auth-api's keys are not known.
    #[error("Authentication is temporarily unavailable")]
    Unavailable,
}

impl AuthError {
    /// The stable code of the error body.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingCredentials => "authentication_required",
            Self::MalformedCredentials => "invalid_request",
            Self::TokenExpired => "token_expired",
            Self::InvalidToken(_) => "invalid_token",
            Self::PermissionDenied => "permission_denied",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::Unavailable => "dependency_unavailable",
        }
    }

    /// The exact reason, for logs and metrics only.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidToken(reason) => reason,
            other => other.code(),
        }
    }

    /// The challenge of RFC 6750, section 3, where the status has one.
    fn challenge(&self) -> Option<String> {
        Some(match self {
            Self::MissingCredentials => format!("Bearer realm=\"{REALM}\""),
            Self::MalformedCredentials => format!("Bearer realm=\"{REALM}\", error=\"invalid_request\""),
            Self::TokenExpired => {
                format!(
                    "Bearer realm=\"{REALM}\", error=\"invalid_token\", error_description=\"The token expired\""
                )
            }
            Self::InvalidToken(_) => format!("Bearer realm=\"{REALM}\", error=\"invalid_token\""),
            Self::InsufficientScope(scope) => {
                format!("Bearer realm=\"{REALM}\", error=\"insufficient_scope\", scope=\"{scope}\"")
            }
            Self::PermissionDenied | Self::Unavailable => return None,
        })
    }
}

impl ResponseError for AuthError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::MalformedCredentials => StatusCode::BAD_REQUEST,
            Self::MissingCredentials | Self::TokenExpired | Self::InvalidToken(_) => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied | Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut problem = Problem::new(self.status_code(), self.code(), self.to_string());
        if matches!(self, Self::Unavailable) {
            problem = problem.retry_after(Duration::from_secs(1));
        }
        let mut response = problem.into_response();
        if let Some(challenge) = self.challenge().and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
