//! What callers are told when a request fails. Browsers at the callback get pages instead.

use std::{borrow::Cow, time::Duration};

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use common_auth::Problem;

use crate::domain::{frame::Dismissal, waiter::Refusal};

/// When a caller may come again after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An answer other than success. Each variant names its status and stable code.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400 `validation_failed`
    #[error("{0}")]
    Validation(Cow<'static, str>),
    /// 404 `not_found`
    #[error("Not found")]
    NotFound,
    /// 405 `method_not_allowed`
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// 408 `timeout`: no callback came during this poll.
    #[error("No callback yet")]
    Timeout,
    /// 409 `replaced`: another waiter holds the state.
    #[error("Another waiter holds this state")]
    Replaced,
    /// 503 `capacity`: there are too many waiters.
    #[error("Too many waiters")]
    Capacity,
    /// 503 `shutdown`: the relay stops.
    #[error("The relay is stopping")]
    Shutdown,
}

impl ApiError {
    /// The answer itself.
    #[must_use]
    pub fn into_response(self) -> HttpResponse {
        self.error_response()
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Validation(_) => (StatusCode::BAD_REQUEST, "validation_failed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Replaced => (StatusCode::CONFLICT, "replaced"),
            Self::Capacity => (StatusCode::SERVICE_UNAVAILABLE, "capacity"),
            Self::Shutdown => (StatusCode::SERVICE_UNAVAILABLE, "shutdown"),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status_and_code().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code) = self.status_and_code();
        let problem = Problem::new(status, code, self.to_string());
        match self {
            Self::Capacity | Self::Shutdown => problem.retry_after(RETRY_AFTER),
            _ => problem,
        }
        .into_response()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Taken => Self::Replaced,
            Refusal::Capacity => Self::Capacity,
            Refusal::Shutdown => Self::Shutdown,
            Refusal::Stateless | Refusal::Weak | Refusal::Long => {
                Self::Validation(refusal.to_string().into())
            }
            Refusal::Gone => Self::Timeout,
        }
    }
}

impl From<Dismissal> for ApiError {
    fn from(reason: Dismissal) -> Self {
        match reason {
            Dismissal::Replaced => Self::Replaced,
            Dismissal::Timeout => Self::Timeout,
            Dismissal::Capacity => Self::Capacity,
            Dismissal::Shutdown => Self::Shutdown,
        }
    }
}
