//! What may go wrong at a provider, on demand.

use std::{sync::Mutex, time::Duration};

use actix_web::{
    Error, HttpResponse, HttpResponseBuilder,
    body::{BoxBody, to_bytes},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
    web::Bytes,
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::journal::{Provider, lock};

/// Something that goes wrong the next times an endpoint is called.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    pub provider: Provider,
    /// A part of `METHOD /path/{pattern}`, as `/login/oauth/access_token`.
    pub endpoint: String,
    /// How often; 0 until it is cleared.
    #[serde(default = "once")]
    pub times: u32,
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What goes wrong. Unless it says so, the endpoint does nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// It is processed, late.
    Delay { milliseconds: u64 },
    /// It is processed at once, and answered late.
    DelayReply { milliseconds: u64 },
    /// No answer, ever.
    Hang,
    /// The connection ends.
    ResetBefore,
    /// It is processed, and the connection ends without an answer.
    ResetAfter,
    /// 500 with a JSON error.
    ServerError,
    /// 502 with a page of a gateway.
    Html,
    /// 200 with half a JSON object.
    TruncatedJson,
    /// 200 with more than anybody should read.
    HugeBody,
    /// 200 with no body.
    EmptyBody,
    /// It is processed, and the answer says that it is HTML.
    WrongContentType,
    /// It is processed, and the answer has members that nobody knows.
    ExtraFields,
    /// 429 in the provider's form.
    RateLimited { retry_after: u32 },
    /// Exactly this answer.
    Reply { status: u16, content_type: String, body: String },
}

/// The faults that wait for their endpoints.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

fn once() -> u32 {
    1
}

impl Fault {
    /// A fault that happens once.
    pub fn once(provider: Provider, endpoint: &str, kind: FaultKind) -> Self {
        Self { provider, endpoint: endpoint.to_owned(), times: 1, kind }
    }

    /// A fault that happens until it is cleared.
    pub fn always(provider: Provider, endpoint: &str, kind: FaultKind) -> Self {
        Self { times: 0, ..Self::once(provider, endpoint, kind) }
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        lock(&self.0).push(fault);
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The oldest fault for this endpoint, used up by one.
    pub(crate) fn take(&self, provider: Provider, endpoint: &str) -> Option<FaultKind> {
        let mut faults = lock(&self.0);
        let is_meant = |fault: &Fault| fault.provider == provider && endpoint.contains(&fault.endpoint);
        let index = faults.iter().position(is_meant)?;
        let fault = faults.get_mut(index)?;
        let kind = fault.kind.clone();
        match fault.times {
            0 => {}
            1 => drop(faults.remove(index)),
            _ => fault.times -= 1,
        }
        Some(kind)
    }
}

/// Lets the fault happen to a request.
pub(crate) async fn happen(
    kind: FaultKind,
    provider: Provider,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match kind {
        FaultKind::Delay { milliseconds } => {
            pause(milliseconds).await;
            next.call(request).await
        }
        FaultKind::DelayReply { milliseconds } => {
            let response = next.call(request).await?;
            pause(milliseconds).await;
            Ok(response)
        }
        FaultKind::Hang => std::future::pending().await,
        FaultKind::ResetAfter => {
            let response = next.call(request).await?;
            let (request, _) = response.into_parts();
            Ok(ServiceResponse::new(request, reset()))
        }
        FaultKind::WrongContentType => {
            let mut response = next.call(request).await?;
            let html = header::HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, html);
            Ok(response)
        }
        FaultKind::ExtraFields => with_extra_fields(next.call(request).await?).await,
        other => Ok(request.into_response(instead(other, provider))),
    }
}

/// The answer of a fault that keeps the endpoint from doing anything.
fn instead(kind: FaultKind, provider: Provider) -> HttpResponse {
    match kind {
        FaultKind::ServerError => {
            HttpResponse::InternalServerError().json(json!({ "message": "Server Error", "error": "server_error" }))
        }
        FaultKind::Html => HttpResponse::BadGateway()
            .content_type("text/html; charset=utf-8")
            .body("<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"),
        FaultKind::TruncatedJson => {
            HttpResponse::Ok().content_type("application/json").body(r#"{"access_token":"cut","token_type":"bea"#)
        }
        FaultKind::HugeBody => huge(),
        FaultKind::EmptyBody => HttpResponse::Ok().content_type("application/json").finish(),
        FaultKind::RateLimited { retry_after } => rate_limited(provider, retry_after),
        FaultKind::Reply { status, content_type, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            HttpResponseBuilder::new(status).content_type(content_type).body(body)
        }
        _ => reset(),
    }
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// A body that fails at its first byte, upon which the server ends the connection.
fn reset() -> HttpResponse {
    let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    HttpResponse::Ok().streaming(stream::once(async move { Err::<Bytes, _>(cut) }))
}

/// 64 MiB of one JSON string.
fn huge() -> HttpResponse {
    let start = stream::iter([Ok::<_, Error>(Bytes::from_static(br#"{"access_token":""#))]);
    let chunk = Bytes::from(vec![b'a'; 64 * 1024]);
    let rest = stream::iter((0..1024).map(move |_| Ok::<_, Error>(chunk.clone())));
    HttpResponse::Ok().content_type("application/json").streaming(futures_util::StreamExt::chain(start, rest))
}

fn rate_limited(provider: Provider, retry_after: u32) -> HttpResponse {
    let body = match provider {
        Provider::Github => json!({
            "message": "You have exceeded a secondary rate limit.", "status": "429",
            "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api",
        }),
        Provider::Atlassian => json!({ "code": 429, "message": "Rate limit exceeded" }),
        Provider::Slack => json!({ "ok": false, "error": "ratelimited" }),
    };
    HttpResponse::TooManyRequests().insert_header((header::RETRY_AFTER, retry_after.to_string())).json(body)
}

async fn with_extra_fields(response: ServiceResponse<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let (request, response) = response.into_parts();
    let (mut head, body) = response.into_parts();
    let body = to_bytes(body).await.unwrap_or_default();
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(mut object)) => {
            object.insert("a_member_of_tomorrow".to_owned(), json!({ "nested": [1, null, "two"] }));
            Bytes::from(Value::Object(object).to_string())
        }
        Ok(_) => body,
        Err(_) => Bytes::from([&body[..], b"&a_member_of_tomorrow=1"].concat()),
    };
    head.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(ServiceResponse::new(request, head.set_body(body).map_into_boxed_body()))
}
