//! The body of every error, and the request id in it.

use std::time::Duration;

use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service, read_body_json},
    web,
};
use common_auth::{
    AuthError, Problem,
    problem::{current_request_id, request_id},
};
use serde_json::{Value, json};
use uuid::Uuid;

async fn fail() -> HttpResponse {
    Problem::new(StatusCode::CONFLICT, "org_required", "Name the organization")
        .with("orgs", json!([{ "id": 1 }]))
        .into_response()
}

/// The id in the answer's header, and its body.
async fn ask(header: Option<&'static [u8]>) -> (String, Value) {
    let app = init_service(App::new().wrap(from_fn(request_id)).route("/", web::get().to(fail))).await;
    let mut request = TestRequest::get();
    if let Some(header) = header {
        let value = actix_web::http::header::HeaderValue::from_bytes(header).unwrap();
        request = request.insert_header(("X-Request-Id", value));
    }
    let response = call_service(&app, request.to_request()).await;
    let id = response.headers().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    (id, read_body_json(response).await)
}

#[actix_web::test]
async fn an_error_is_a_problem_document() {
    let (_, body) = ask(Some(b"abc-123")).await;
    let wanted = json!({
        "type": "about:blank", "title": "Conflict", "status": 409, "detail": "Name the organization",
        "error": "org_required", "request_id": "abc-123", "orgs": [{ "id": 1 }]
    });
    assert_eq!(body, wanted);
}

#[actix_web::test]
async fn a_request_id_is_taken_or_made() {
    let (id, body) = ask(Some(b"client.1_2~3")).await;
    assert_eq!((id.as_str(), &body["request_id"]), ("client.1_2~3", &json!("client.1_2~3")));
    let (id, body) = ask(None).await;
    assert!(Uuid::parse_str(&id).is_ok());
    assert_eq!(body["request_id"], json!(id));
}

#[actix_web::test]
async fn an_id_that_would_harm_the_logs_is_replaced() {
    let long: &'static [u8] = &[b'x'; 129];
    for bad in [b"".as_slice(), b"two words", b"tab\tbed", b"caf\xc3\xa9", long] {
        let (id, body) = ask(Some(bad)).await;
        assert!(Uuid::parse_str(&id).is_ok(), "{id}");
        assert_eq!(body["request_id"], json!(id));
    }
    let longest: &'static [u8] = &[b'x'; 128];
    assert_eq!(ask(Some(longest)).await.0.len(), 128);
}

#[actix_web::test]
async fn an_error_of_an_inner_middleware_has_the_id_too() {
    async fn refuse<B: MessageBody>(_: ServiceRequest, _: Next<B>) -> Result<ServiceResponse<B>, Error> {
        Err(AuthError::Unavailable.into())
    }
    let app = App::new().wrap(from_fn(refuse)).wrap(from_fn(request_id)).route("/", web::get().to(fail));
    let app = init_service(app).await;
    let request = TestRequest::get().insert_header(("X-Request-Id", "inner-1")).to_request();
    let error = actix_web::dev::Service::call(&app, request).await.err().unwrap();
    let response = error.error_response();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers().get("x-request-id").unwrap(), "inner-1");
    assert_eq!(response.headers().get("retry-after").unwrap(), "1");
    let body = actix_web::body::to_bytes(response.into_body()).await.ok().unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["request_id"], json!("inner-1"));
}

#[test]
fn a_wait_is_whole_seconds_rounded_up() {
    for (wait, shown) in [(0, "1"), (1, "1"), (999, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Slow down");
        let response = problem.retry_after(Duration::from_millis(wait)).into_response();
        assert_eq!(response.headers().get("retry-after").unwrap(), shown);
    }
}

#[test]
fn outside_of_a_request_there_is_no_id() {
    assert_eq!(current_request_id(), None);
}
