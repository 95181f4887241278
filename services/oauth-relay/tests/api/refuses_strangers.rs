//! Every operation of the contract without a token, with wrong ones, and with one that may nothing.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use utoipa::OpenApi;
use uuid::Uuid;

use crate::helpers::{Answer, AuthApi, TestApp, within};

/// The operations that anybody may use. This list may only shrink.
const OPEN: [&str; 3] = ["/health", "/openapi.json", "/oauth/callback"];

/// Method and path of every operation but the open ones.
fn operations() -> Vec<(Method, String)> {
    let contract: Value = serde_json::to_value(oauth_relay::routes::Contract::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            if !OPEN.contains(&path.as_str()) {
                operations
                    .push((Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), path.clone()));
            }
        }
    }
    assert!(!operations.is_empty());
    operations
}

async fn spawn() -> (Arc<AuthApi>, TestApp) {
    let auth_api = AuthApi::start();
    let app =
        TestApp::spawn_with(&[&auth_api.settings()[..], &[("OAUTH_ALLOW_STATELESS", "false")]].concat())
            .await;
    within("the keys are known", Duration::from_secs(15), async || {
        ask(&app, &Method::GET, "/oauth/wait", Some(&auth_api.token("x"))).await.status
            != StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    (auth_api, app)
}

async fn ask(app: &TestApp, method: &Method, path: &str, token: Option<&str>) -> Answer {
    let request = app.http.request(method.clone(), path);
    Answer::read(match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_every_operation_is_401() {
    let (auth_api, app) = spawn().await;
    let other = common_auth::testing::TestIssuer::new("http://other-issuer");
    let service = |issuer: &common_auth::testing::TestIssuer, audience: &str| {
        issuer.service("mozaiks-runtime-service", "relay:wait").claim("aud", json!([audience])).sign()
    };
    let tokens = [
        (None, "authentication_required"),
        (Some("rubbish".to_owned()), "invalid_token"),
        (Some(service(&other, "oauth-relay")), "invalid_token"),
        (Some(service(&auth_api.issuer, "auth-api")), "invalid_token"),
    ];
    for (method, path) in operations() {
        for (token, code) in &tokens {
            // The query is as bad as the token: authentication comes first.
            let answer = ask(&app, &method, &format!("{path}?timeout=bad"), token.as_deref()).await;
            assert_eq!(answer.error(), (401, (*code).to_owned()), "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert_eq!(answer.json()["detail"] == "Authentication required", token.is_none());
        }
    }
    assert_eq!(app.http.waiters().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_told_so() {
    let (auth_api, app) = spawn().await;
    let token = auth_api.issuer.service("mozaiks-runtime-service", "relay:wait");
    let expired = token.claim("aud", json!(["oauth-relay"])).issued(7200, 3600).sign();
    for (method, path) in operations() {
        let answer = ask(&app, &method, &format!("{path}?state=x"), Some(&expired)).await;
        assert_eq!(answer.error(), (401, "token_expired".to_owned()), "{method} {path}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_scope_is_403_and_users_may_nothing() {
    let (auth_api, app) = spawn().await;
    let audience = json!(["oauth-relay"]);
    let user = auth_api.issuer.user(Uuid::now_v7(), Uuid::now_v7()).permissions(&["relay:wait"]);
    let user = user.claim("aud", audience.clone()).claim("scope", json!("relay:wait")).sign();
    let service =
        |scope: &str| auth_api.issuer.service("indexer-worker", scope).claim("aud", audience.clone()).sign();
    for (method, path) in operations() {
        let path = format!("{path}?state=refused-0123456789&timeout=1");
        for token in [service("revocations:read"), service(""), service("relay:waiting relay"), user.clone()]
        {
            let answer = ask(&app, &method, &path, Some(&token)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {answer:?}");
        }
        let answer = ask(&app, &method, &path, Some(&service("messages:read"))).await;
        assert_eq!(answer.error(), (403, "insufficient_scope".to_owned()));
        assert_eq!(answer.json()["detail"], "Insufficient scope");
    }
    assert_eq!(app.http.waiters().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = TestApp::spawn().await;
    let get = app.http.ask(Method::GET, "/oauth/nothing").await;
    assert_eq!(get.error(), (404, "not_found".to_owned()));
    assert!(get.header("content-type").starts_with("application/problem+json"));
    let delete = app.http.ask(Method::DELETE, "/health").await;
    assert_eq!(delete.error(), (405, "method_not_allowed".to_owned()));
    app.stop().await;
}
