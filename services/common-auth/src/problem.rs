//! The body of every error (RFC 9457), and the request id that it carries.

use std::{borrow::Cow, time::Duration};

use actix_web::{
    Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
};
use serde::Serialize;
use uuid::Uuid;

/// The header that carries the request id in and out.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids are replaced: they would only fill logs.
const MAX_REQUEST_ID_LENGTH: usize = 128;

tokio::task_local! {
    static REQUEST_ID: HeaderValue;
}

/// An error as the caller sees it: `application/problem+json` with a sentence for people and a stable code for programs.
#[derive(Clone, Debug)]
#[must_use]
pub struct Problem {
    status: StatusCode,
    error: &'static str,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    extension: Option<(&'static str, serde_json::Value)>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    error: &'static str,
    request_id: Option<String>,
    #[serde(flatten)]
    extension: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Problem {
    /// An error with this status, stable code and sentence.
    pub fn new(status: StatusCode, error: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, detail: detail.into(), retry_after: None, extension: None }
    }

    /// Tells the caller when to come again; in whole seconds, rounded up, at least one.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds one member to the body (RFC 9457, section 3.2), such as the list that a caller has to choose from.
    pub fn with(mut self, member: &'static str, value: serde_json::Value) -> Self {
        self.extension = Some((member, value));
        self
    }

    /// The finished response, with the id of the request that is being handled.
    pub fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, wait.as_millis().div_ceil(1000).max(1).to_string()));
        }
        let body = Body {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            error: self.error,
            request_id: current_request_id(),
            extension: self
                .extension
                .map(|(member, value)| serde_json::Map::from_iter([(member.to_owned(), value)])),
        };
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// The id of the request that this task handles.
pub fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(|id| id.to_str().ok().map(str::to_owned)).ok().flatten()
}

/// Middleware (`actix_web::middleware::from_fn`): takes the caller's `X-Request-Id` or makes one, and answers with it.
pub async fn request_id<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let id = match request.headers().get(&REQUEST_ID_HEADER) {
        Some(id) if is_acceptable(id) => id.clone(),
        _ => {
            let id = HeaderValue::from_str(&Uuid::now_v7().to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
            request.headers_mut().insert(REQUEST_ID_HEADER, id.clone());
            id
        }
    };
    let answered = id.clone();
    REQUEST_ID
        .scope(id, async move {
            match next.call(request).await {
                Ok(mut response) => {
                    response.headers_mut().insert(REQUEST_ID_HEADER, answered);
                    Ok(response)
                }
                // Made a response here, where the id is known: actix would do it after this middleware has ended.
                Err(error) => {
                    let mut response = error.error_response();
                    response.headers_mut().insert(REQUEST_ID_HEADER, answered);
                    Err(InternalError::from_response(error, response).into())
                }
            }
        })
        .await
}

fn is_acceptable(id: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}
