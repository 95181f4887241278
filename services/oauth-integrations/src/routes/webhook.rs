//! What providers say by themselves, taken as raw bytes: the signature is made over those.

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::header::HeaderMap,
    web::{Bytes, Data},
};
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use time::OffsetDateTime;

use super::request::read_body;
use crate::{
    domain::{
        Integrations,
        webhook::{self, GithubDelivery, Receipt, SlackDelivery, WebhookError},
    },
    error::{ApiError, ProblemBody},
};

/// An installation of thousands of repositories lists them all.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The body, byte for byte.
pub(super) struct RawBody(Bytes);

impl FromRequest for RawBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        Box::pin(async move { read_body(&mut payload, MAX_BODY_BYTES).await.map(Self) })
    }
}

/// A delivery of GitHub's, signed with the webhook secret.
#[utoipa::path(
    post, path = "/oauth/webhooks/github", tag = "webhooks",
    request_body(content = Object, description = "The event, as GitHub describes it", content_type = "application/json"),
    params(
        ("x-github-event" = Option<String>, Header),
        ("x-github-delivery" = Option<String>, Header),
        ("x-hub-signature-256" = Option<String>, Header),
    ),
    responses(
        (status = 202, description = "Taken: `outcome` is applied, duplicate or ignored", body = Object),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "invalid_signature", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "provider_not_configured", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn receive_github(
    integrations: Data<Integrations>,
    request: HttpRequest,
    RawBody(body): RawBody,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    let delivery = GithubDelivery {
        event: text(headers, "x-github-event"),
        delivery_id: text(headers, "x-github-delivery"),
        signature: text(headers, "x-hub-signature-256"),
        body: &body,
    };
    answer(webhook::receive_github(&integrations, delivery).await)
}

/// A delivery of Slack's, signed with the signing secret within the last five minutes.
#[utoipa::path(
    post, path = "/oauth/webhooks/slack", tag = "webhooks",
    request_body(content = Object, description = "The event, as Slack describes it", content_type = "application/json"),
    params(
        ("x-slack-request-timestamp" = Option<String>, Header),
        ("x-slack-signature" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The challenge of a url_verification", body = Object),
        (status = 202, description = "Taken: `outcome` is applied, duplicate or ignored", body = Object),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "invalid_signature", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "provider_not_configured", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn receive_slack(
    integrations: Data<Integrations>,
    request: HttpRequest,
    RawBody(body): RawBody,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    let delivery = SlackDelivery {
        timestamp: text(headers, "x-slack-request-timestamp"),
        signature: text(headers, "x-slack-signature"),
        body: &body,
        now: OffsetDateTime::now_utc(),
    };
    answer(webhook::receive_slack(&integrations, delivery).await)
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::NotConfigured => Self::ProviderNotConfigured,
            WebhookError::Signature => Self::BadSignature,
            WebhookError::Form => Self::Validation("the delivery is of another form".into()),
            WebhookError::Store(error) => error.into(),
            WebhookError::Credential(error) => error.into(),
        }
    }
}

fn answer(outcome: Result<Receipt, WebhookError>) -> Result<HttpResponse, ApiError> {
    Ok(match outcome? {
        Receipt::Challenge(challenge) => HttpResponse::Ok().json(json!({ "challenge": challenge })),
        receipt => HttpResponse::Accepted().json(json!({ "outcome": receipt.as_str() })),
    })
}

/// What is missing or no text is no signature, and no event, of anybody's.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
