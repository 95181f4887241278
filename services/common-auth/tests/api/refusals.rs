//! What those are told who do not get through (RFC 6750, section 3.1, and RFC 9457).

use actix_web::test::TestRequest;
use serde_json::json;

use crate::{
    guards::{bearer, get, send},
    helpers::{ALICE, Answer, ORG, World, impostor},
};

/// Status, code, sentence and challenge of a refusal.
async fn refused(world: &World, request: TestRequest) -> (u16, String, String, Option<String>) {
    let reply = send(world, request.insert_header(("X-Request-Id", "req-1"))).await;
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-request-id"), Some("req-1"));
    let body = reply.body.as_object().unwrap();
    let mut members: Vec<_> = body.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["detail", "error", "request_id", "status", "title", "type"]);
    assert_eq!(body["status"], json!(reply.status.as_u16()));
    assert_eq!(body["title"], json!(reply.status.canonical_reason()));
    assert_eq!(body["type"], json!("about:blank"));
    assert_eq!(body["request_id"], json!("req-1"));
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    let challenge = reply.header("www-authenticate").map(str::to_owned);
    (reply.status.as_u16(), text("error"), text("detail"), challenge)
}

fn expected(
    status: u16,
    code: &str,
    detail: &str,
    challenge: Option<&str>,
) -> (u16, String, String, Option<String>) {
    (status, code.to_owned(), detail.to_owned(), challenge.map(str::to_owned))
}

#[actix_web::test]
async fn no_credentials_is_401_without_an_error_code() {
    let world = World::new().await;
    let wanted =
        expected(401, "authentication_required", "Authentication required", Some("Bearer realm=\"mozaiks\""));
    assert_eq!(refused(&world, get("/permission")).await, wanted);
    let basic = get("/permission").insert_header(("Authorization", "Basic dTpw"));
    assert_eq!(refused(&world, basic).await, wanted);
    // Neither the query nor a form is a way to bring a token.
    let token = world.alice().permissions(&["groups:read"]).sign();
    let query = get(&format!("/permission?access_token={token}"));
    assert_eq!(refused(&world, query).await, wanted);
    let cookie = get("/permission").insert_header(("Cookie", format!("access_token={token}")));
    assert_eq!(refused(&world, cookie).await, wanted);
}

#[actix_web::test]
async fn a_malformed_header_is_400() {
    let world = World::new().await;
    let token = world.alice().sign();
    let wanted = expected(
        400,
        "invalid_request",
        "The Authorization header is malformed",
        Some("Bearer realm=\"mozaiks\", error=\"invalid_request\""),
    );
    for value in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer =".to_owned(),
        format!("Bearer  {token}"),
        format!("Bearer {token} x"),
        format!("Bearer {token},{token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {token}=x"),
        format!("Bearer\t{token}"),
    ] {
        let reply = refused(&world, get("/any").insert_header(("Authorization", value.clone()))).await;
        if value.contains('\t') {
            assert_eq!(reply.0, 401, "a tab ends no scheme");
        } else {
            assert_eq!(reply, wanted, "{value}");
        }
    }
    let twice = bearer("/any", &token).append_header(("Authorization", format!("Bearer {token}")));
    assert_eq!(refused(&world, twice).await, wanted);
    let with_basic = bearer("/any", &token).append_header(("Authorization", "Basic dTpw"));
    assert_eq!(refused(&world, with_basic).await, wanted);
    let binary = actix_web::http::header::HeaderValue::from_bytes(b"Bearer \xff").unwrap();
    assert_eq!(refused(&world, get("/any").insert_header(("Authorization", binary))).await, wanted);
}

#[actix_web::test]
async fn the_scheme_is_read_in_any_case() {
    let world = World::new().await;
    let token = world.alice().sign();
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request = get("/any").insert_header(("Authorization", format!("{scheme} {token}")));
        assert_eq!(send(&world, request).await.status, 200, "{scheme}");
    }
}

#[actix_web::test]
async fn bad_tokens_look_alike() {
    let world = World::new().await;
    let wanted = expected(
        401,
        "invalid_token",
        "Invalid token",
        Some("Bearer realm=\"mozaiks\", error=\"invalid_token\""),
    );
    for token in [
        "x".to_owned(),
        world.alice().header("alg", json!("none")).sign(),
        world.alice().header("kid", json!("stray")).sign(),
        world.alice().claim("iss", json!("x")).sign(),
        world.alice().claim("aud", json!("x")).sign(),
        world.alice().claim("org_id", json!(null)).sign(),
        impostor().user(ALICE, ORG).header("kid", json!(world.issuer.kid())).sign(),
        "a".repeat(9000),
    ] {
        assert_eq!(refused(&world, bearer("/any", &token)).await, wanted);
    }
}

#[actix_web::test]
async fn an_expired_token_is_told_apart() {
    let world = World::new().await;
    let wanted = expected(
        401,
        "token_expired",
        "Token expired",
        Some("Bearer realm=\"mozaiks\", error=\"invalid_token\", error_description=\"The token expired\""),
    );
    let token = world.alice().issued(7200, 3600).sign();
    assert_eq!(refused(&world, bearer("/any", &token)).await, wanted);
}

#[actix_web::test]
async fn a_missing_right_is_403() {
    let world = World::new().await;
    let user = world.alice().sign();
    let service = world.issuer.service("relay", "x").sign();
    let denied = expected(403, "permission_denied", "Permission denied", None);
    for path in ["/permission", "/any-permission", "/all-permissions", "/role", "/either"] {
        assert_eq!(refused(&world, bearer(path, &user)).await, denied, "{path}");
    }
    let scope = expected(
        403,
        "insufficient_scope",
        "Insufficient scope",
        Some("Bearer realm=\"mozaiks\", error=\"insufficient_scope\", scope=\"groups:read\""),
    );
    for path in ["/scope", "/either"] {
        assert_eq!(refused(&world, bearer(path, &service)).await, scope, "{path}");
    }
    assert_eq!(refused(&world, bearer("/user", &service)).await, denied);
}

#[actix_web::test]
async fn without_keys_the_answer_is_to_come_again() {
    let world = World::unloaded(|setup| setup.answer = Answer::Unreachable);
    let request = bearer("/any", &world.alice().sign());
    let wanted = expected(503, "dependency_unavailable", "Authentication is temporarily unavailable", None);
    assert_eq!(refused(&world, request).await, wanted);
    let reply = send(&world, bearer("/any", &world.alice().sign())).await;
    assert_eq!(reply.header("retry-after"), Some("1"));
    // Strangers are strangers even so.
    assert_eq!(send(&world, get("/any")).await.status, 401);
}
