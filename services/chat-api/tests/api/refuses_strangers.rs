//! Every operation of the contract without a token, with wrong ones, and with one that may nothing.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use utoipa::OpenApi;
use uuid::Uuid;

use crate::helpers::{TestApp, TestAppOptions};

/// The operations that anybody may use. This list may only shrink.
const OPEN: [&str; 2] = ["/health", "/openapi.json"];

/// Method and path of every operation but the open ones, with the ids filled in.
fn operations(group_id: Uuid) -> Vec<(Method, String)> {
    let contract: Value = serde_json::to_value(chat_api::routes::Contract::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            if OPEN.contains(&path.as_str()) {
                continue;
            }
            let path = path
                .replace("{group_id}", &group_id.to_string())
                .replace("{message_id}", &Uuid::now_v7().to_string());
            assert!(!path.contains('{'), "{path} has a part that this test does not know");
            operations.push((Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), path));
        }
    }
    assert!(operations.len() >= 6);
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_every_operation_is_401() {
    strangers(TestApp::spawn().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_auth_api_let_strangers_in() {
    let settings = vec![("USE_OAUTH2_AUTH", "false".to_owned())];
    strangers(TestApp::spawn_with(TestAppOptions { settings, ..Default::default() }).await).await;
}

async fn strangers(app: TestApp) {
    let other = common_auth::testing::TestIssuer::new("http://other-issuer");
    let user = app.auth_api.issuer.user(app.alice, app.org_id).permissions(&["groups:read"]);
    let tokens = [
        (None, "authentication_required"),
        (Some("rubbish".to_owned()), "invalid_token"),
        (Some(other.user(app.alice, app.org_id).sign()), "invalid_token"),
        (Some(user.claim("aud", json!(["auth-api"])).sign()), "invalid_token"),
    ];
    for (method, path) in operations(app.group_id) {
        for (token, code) in &tokens {
            // The body is as bad as the token: authentication comes first.
            let body = (method != Method::GET).then(|| json!("bad"));
            let answer = app.client.request(method.clone(), &path, token.as_deref(), body).await;
            assert_eq!(answer.error(), (401, *code), "{method} {path}");
            assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
            assert_eq!(answer.body["detail"] == "Authentication required", token.is_none());
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_told_so() {
    let app = TestApp::spawn().await;
    let expired = app.auth_api.issuer.user(app.alice, app.org_id).issued(7200, 3600).sign();
    for (method, path) in operations(app.group_id) {
        let answer = app.client.request(method, &path, Some(&expired), None).await;
        assert_eq!(answer.error(), (401, "token_expired"));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_rights_is_403() {
    let app = TestApp::spawn().await;
    let user = app.auth_api.issuer.user(app.alice, app.org_id).sign();
    let service = app.service_token("other:scope");
    for (method, path) in operations(app.group_id) {
        let answer = app.client.request(method.clone(), &path, Some(&user), None).await;
        assert_eq!(answer.error(), (403, "permission_denied"), "{method} {path}");
        assert_eq!(answer.body["detail"], "Permission denied");

        let answer = app.client.request(method.clone(), &path, Some(&service), None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        let is_for_users = path.ends_with("/read");
        assert_eq!(answer.error().1 == "permission_denied", is_for_users, "{method} {path}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = TestApp::spawn().await;
    let get = app.client.request(Method::GET, "/api/chat/nothing", None, None).await;
    assert_eq!(get.error(), (404, "not_found"));
    let delete = app.client.request(Method::DELETE, "/api/chat/groups", None, None).await;
    assert_eq!(delete.error(), (405, "method_not_allowed"));
    for path in ["/metrics", "/readyz", "/livez"] {
        assert_eq!(app.client.request(Method::GET, path, None, None).await.error(), (404, "not_found"));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_of_a_callers_making_make_no_metrics() {
    let app = TestApp::spawn().await;
    for method in ["BREW", "PROPFIND", "get"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(app.client.request(method, "/health", None, None).await.status.as_u16(), 405);
    }

    let metrics = app.admin("/metrics").await;

    let text = metrics.body.as_str().unwrap();
    assert!(text.contains("http_request_method=\"_OTHER\""), "{text}");
    for method in ["BREW", "PROPFIND", "get"] {
        assert!(!text.contains(&format!("http_request_method=\"{method}\"")), "{method}");
    }
    app.stop().await;
}
