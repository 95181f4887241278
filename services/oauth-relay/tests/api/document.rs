//! The test categories that the relay's document names, by its client: core flow, error cases, extraction, protocol, edge cases.

use std::time::Duration;

use futures_util::future::join_all;
use oauth_relay::client::{OAuthRelayError, RelayResult, Settings, wait_for_code};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::helpers::{Folder, SOON, TestApp, eventually, soon};

type Waiting = JoinHandle<Result<RelayResult, OAuthRelayError>>;

/// Lets the client wait, and returns once it is registered.
async fn begin(app: &TestApp, state: Option<&str>) -> Waiting {
    let before = app.http.metric("waiters_registered_total").await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let state = state.map(str::to_owned);
    let client =
        tokio::spawn(async move { wait_for_code(state.as_deref(), Some(SOON), Some(&settings)).await });
    eventually("it is registered", async || app.http.metric("waiters_registered_total").await > before).await;
    client
}

async fn end(client: Waiting) -> RelayResult {
    soon("the client's end", client).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn core_flow_with_a_state() {
    let app = TestApp::spawn().await;
    let client = begin(&app, Some("test-state-123")).await;
    app.http.callback(&[("code", "auth_code_xyz"), ("state", "test-state-123")]).await.is_complete();
    let result = end(client).await;
    assert!(result.success);
    assert_eq!(result.code.as_deref(), Some("auth_code_xyz"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_flow_without_a_state() {
    let app = TestApp::spawn().await;
    let client = begin(&app, None).await;
    app.http.callback(&[("code", "auth_code_default")]).await.is_complete();
    assert_eq!(end(client).await.code.as_deref(), Some("auth_code_default"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_flow_multi() {
    let app = TestApp::spawn().await;
    let names = ["user1-auth", "user2-auth", "user3-auth"];
    let mut clients = Vec::new();
    for name in names {
        clients.push(begin(&app, Some(name)).await);
    }
    for name in names.iter().rev() {
        app.http.callback(&[("code", name), ("state", name)]).await.is_complete();
    }
    for (name, result) in names.iter().zip(join_all(clients).await) {
        assert_eq!(result.unwrap().unwrap().code.as_deref(), Some(*name));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_case_no_client() {
    let app = TestApp::spawn().await;
    app.http.callback(&[("code", "some_code"), ("state", "unmatched-state")]).await.is_unmatched();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_case_already_delivered_then_registered_again() {
    let app = TestApp::spawn().await;
    let client = begin(&app, Some("test-state")).await;
    app.http.callback(&[("code", "code1"), ("state", "test-state")]).await.is_complete();
    app.http.callback(&[("code", "code1"), ("state", "test-state")]).await.is_unmatched();
    assert_eq!(end(client).await.code.as_deref(), Some("code1"));
    let client = begin(&app, Some("test-state")).await;
    app.http.callback(&[("code", "code2"), ("state", "test-state")]).await.is_complete();
    assert_eq!(end(client).await.code.as_deref(), Some("code2"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_case_timeout() {
    let app = TestApp::spawn().await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let limit = Some(Duration::from_millis(500));
    let error = wait_for_code(Some("timeout-state"), limit, Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Timeout(_)), "{error:?}");
    assert!(error.to_string().starts_with("Timeout waiting for OAuth callback"), "{error}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_case_the_relay_is_not_running() {
    let folder = Folder::new();
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let error = wait_for_code(Some("test"), None, Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Connection(_)), "{error:?}");
    assert!(error.to_string().starts_with("Cannot connect to OAuth relay"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn extraction_ignores_case() {
    let app = TestApp::spawn().await;
    for key in ["CODE", "Code", "AUTHORIZATION_CODE", "authorization_code"] {
        let client = begin(&app, Some("extraction")).await;
        app.http.callback(&[(key, "VALUE"), ("state", "extraction")]).await.is_complete();
        assert_eq!(end(client).await.code.as_deref(), Some("VALUE"), "{key}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extraction_takes_the_first_of_a_list() {
    let app = TestApp::spawn().await;
    let client = begin(&app, Some("list")).await;
    app.http
        .post_json(&json!({ "code": ["first_code", "second_code"], "state": "list" }))
        .await
        .is_complete();
    assert_eq!(end(client).await.code.as_deref(), Some("first_code"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extraction_falls_back_to_raw() {
    let app = TestApp::spawn().await;
    let client = begin(&app, Some("raw")).await;
    let body = json!({ "error": "access_denied", "error_description": "User denied", "state": "raw" });
    app.http.post_json(&body).await.is_denied();
    let result = end(client).await;
    assert!(!result.success && result.code.is_none());
    assert_eq!(json!(result.raw), body);
    assert_eq!(result.error(), Some("access_denied"));
    // Neither an empty code nor one under another name is one.
    for (key, value) in [("code", ""), ("token", "T")] {
        let client = begin(&app, Some("raw")).await;
        assert_eq!(app.http.callback(&[(key, value), ("state", "raw")]).await.status, 200);
        let result = end(client).await;
        assert!(!result.success && result.code.is_none() && result.raw.is_some(), "{key}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_registration_delivery_and_cleanup() {
    let app = TestApp::spawn().await;
    let mut wire = app.connect().await;
    wire.send_bytes(b"{\"type\": \"REGISTER\", \"state\": \"protocol\"}\n").await;
    eventually("it is registered", async || app.http.waiters().await == 1).await;
    app.http.callback(&[("code", "C"), ("state", "protocol")]).await.is_complete();
    let line = wire.line().await.unwrap();
    assert!(line.ends_with("}\n"), "{line:?}");
    let frame: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(frame, json!({ "type": "DELIVER", "state": "protocol", "code": "C" }));
    assert_eq!(wire.line().await, None);
    assert_eq!(app.http.waiters().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_case_several_clients_for_one_state() {
    let app = TestApp::spawn().await;
    for state in [Some("shared-state"), None] {
        let first = begin(&app, state).await;
        let second = begin(&app, state).await;
        // An empty state is none.
        app.http.callback(&[("code", "code2"), ("state", state.unwrap_or_default())]).await.is_complete();
        assert_eq!(end(second).await.code.as_deref(), Some("code2"));
        let error = soon("the first one's end", first).await.unwrap().unwrap_err();
        assert!(matches!(error, OAuthRelayError::Replaced), "{error:?}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_case_the_connection_is_lost() {
    let app = TestApp::spawn().await;
    let client = begin(&app, Some("lost")).await;
    app.stop().await;
    let error = soon("its end", client).await.unwrap().unwrap_err();
    assert!(matches!(error, OAuthRelayError::Shutdown), "{error:?}");
}
