//! Every operation of the contract without a token, with wrong ones, and with one that may nothing.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::helpers::{Ask, TestApp, auth_api::audience};

/// The operations that take no bearer token: pages with cookies and states, signed webhooks, and what anybody may read.
/// This list may only shrink.
const OPEN: [&str; 10] = [
    "GET /health",
    "GET /openapi.json",
    "GET /oauth/callback/{platform}",
    "POST /oauth/install/{platform}",
    "GET /oauth/results/{result}",
    "GET /oauth/data-sources",
    "POST /oauth/data-sources/installations/{id}/check",
    "POST /oauth/data-sources/installations/{id}/disconnect",
    "POST /oauth/webhooks/github",
    "POST /oauth/webhooks/slack",
];

async fn operations(app: &TestApp) -> Vec<(Method, String)> {
    let contract: Value = app.call(Method::GET, "/openapi.json").ask().await.expect(200).body;
    let mut operations = Vec::new();
    let mut open = 0;
    for (path, item) in contract["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            if OPEN.contains(&format!("{method} {path}").as_str()) {
                open += 1;
                continue;
            }
            let path = path.replace("{id}", &Uuid::now_v7().to_string()).replace("{platform}", "github");
            assert!(!path.contains('{'), "{path} has a part that this test does not know");
            operations.push((method, path));
        }
    }
    assert_eq!(open, OPEN.len(), "one of the open ones is gone");
    assert!(operations.len() >= 9, "{operations:?}");
    operations
}

#[tokio::test]
async fn without_a_good_token_every_operation_is_401() {
    strangers(TestApp::spawn().await).await;
}

#[tokio::test]
async fn nor_does_auth_api_let_strangers_in() {
    strangers(TestApp::with().set("USE_OAUTH2_AUTH", "false").spawn().await).await;
}

async fn strangers(app: TestApp) {
    let other = common_auth::testing::TestIssuer::new("http://other-issuer");
    let foreign =
        other.user(app.alice, app.org_id).permissions(&["integrations:manage"]).claim("aud", audience());
    let elsewhere = app.auth_api.issuer.user(app.alice, app.org_id).permissions(&["integrations:manage"]);
    let tokens = [
        (None, "authentication_required"),
        (Some("rubbish".to_owned()), "invalid_token"),
        (Some(foreign.sign()), "invalid_token"),
        (Some(elsewhere.claim("aud", json!(["auth-api"])).sign()), "invalid_token"),
    ];
    for (method, path) in operations(&app).await {
        for (token, code) in &tokens {
            let mut request = app.call(method.clone(), &path);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            if method == Method::POST {
                // The body is as bad as the token: authentication comes first.
                request = request.json(&json!("bad"));
            }
            let answer = request.ask().await.problem(401, code);
            assert!(
                answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")),
                "{method} {path}"
            );
        }
    }
    assert!(app.sim.calls().is_empty());
}

#[tokio::test]
async fn a_token_without_rights_gets_nothing_done() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    let weak_user = app.auth_api.user(app.alice, app.org_id, &[]);
    let weak_service = app.auth_api.service("some-service", "other:scope", &[app.org_id]);
    for (method, path) in operations(&app).await {
        let is_for_every_user =
            ["GET /oauth/installations", "GET /oauth/providers", "POST /oauth/page-tickets"];
        let is_open = is_for_every_user.contains(&format!("{method} {path}").as_str());
        let is_of_an_id = path.starts_with("/oauth/installations/") && method != Method::DELETE;
        for token in [&weak_user, &weak_service] {
            let request = app.call(method.clone(), &path).bearer_auth(token);
            let answer = request.json(&json!({ "platform": "github" })).ask().await;
            let is_user = token == &weak_user;
            match answer.status {
                200 | 201 => assert!(is_open, "{method} {path}"),
                404 => assert!(is_user && is_of_an_id, "{method} {path}: {}", answer.text),
                status => assert_eq!(status, 403, "{method} {path}: {}", answer.text),
            }
        }
    }
    assert_eq!(app.installations("slack").await.len(), 1);
}

#[tokio::test]
async fn an_expired_token_is_told_so() {
    let app = TestApp::spawn().await;
    let expired =
        app.auth_api.issuer.user(app.alice, app.org_id).claim("aud", audience()).issued(7200, 3600).sign();
    for (method, path) in operations(&app).await {
        app.call(method, &path).bearer_auth(&expired).ask().await.problem(401, "token_expired");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = TestApp::spawn().await;
    for path in ["/oauth/nothing", "/metrics", "/readyz", "/livez", "/oauth/installations/not-an-id/more"] {
        app.get(path).await.problem(404, "not_found");
    }
    app.delete("/oauth/installations").await.problem(405, "method_not_allowed");
    app.get("/oauth/installations/not-an-id").await.problem(404, "not_found");
    app.call(Method::GET, "/health").ask().await.expect(200);
}
