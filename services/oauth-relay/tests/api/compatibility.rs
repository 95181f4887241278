//! The checklist's "Compatibility": the original's client here, our client there, and the answers that both know.

use std::time::Duration;

use oauth_relay::client::{OAuthRelayError, Settings, wait_for_code};
use serde_json::{Value, json};

use crate::helpers::{
    Folder, OriginalCoordinator, SOON, TestApp, eventually, install_crypto_provider, python_client, soon,
    state,
};

/// Lets the original's client wait for this state, calls back, and returns what the client printed.
async fn through_the_original(app: &TestApp, state: &str, query: &str) -> Value {
    let before = app.http.metric("waiters_registered_total").await;
    let (socket, port) = (app.socket(), app.tcp_port.map(|port| port.to_string()));
    let client = match &port {
        Some(port) => python_client(&["tcp", port, state]),
        None => python_client(&["unix", socket.to_str().unwrap(), state]),
    };
    eventually("it is registered", async || app.http.metric("waiters_registered_total").await > before).await;
    let answer = app.http.callback_query(query).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let output = soon("the client's end", client.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_client_completes_over_the_unix_socket() {
    let app = TestApp::spawn().await;

    let told = through_the_original(
        &app,
        "originals-state-0123456789",
        "code=C1&state=originals-state-0123456789&iss=x",
    )
    .await;

    // Nothing but what the original sends, and then the end.
    assert_eq!(
        told["answer"],
        json!({ "type": "DELIVER", "state": "originals-state-0123456789", "code": "C1" })
    );
    assert_eq!(told["rest"], "");
    assert!(told["line"].as_str().unwrap().ends_with("}\n"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_client_completes_over_tcp() {
    let app = TestApp::spawn_tcp(&[]).await;

    let told =
        through_the_original(&app, "originals-state-0123456789", "code=C2&state=originals-state-0123456789")
            .await;

    assert_eq!(
        told["answer"],
        json!({ "type": "DELIVER", "state": "originals-state-0123456789", "code": "C2" })
    );
    assert!(!app.socket().exists(), "no Unix socket beside the port");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_client_completes_without_a_state() {
    let app = TestApp::spawn().await;

    let told = through_the_original(&app, "-", "code=C3").await;

    assert_eq!(told["answer"], json!({ "type": "DELIVER", "code": "C3" }));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_client_completes_with_a_state_that_json_escapes() {
    let app = TestApp::spawn().await;
    // Python's json writes all of it as \u escapes, the last as a surrogate pair.
    let state = "zustand ü \"\\ 😀 0123456789";
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("state", state), ("code", "C4-ü-😀")])
        .finish();

    let told = through_the_original(&app, state, &query).await;

    assert_eq!(told["answer"], json!({ "type": "DELIVER", "state": state, "code": "C4-ü-😀" }));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_client_gets_a_denial_as_raw() {
    let app = TestApp::spawn().await;
    let query = "error=access_denied&error_description=no+thanks&state=originals-state-0123456789";

    let told = through_the_original(&app, "originals-state-0123456789", query).await;

    let raw = json!({
        "error": "access_denied", "error_description": "no thanks", "state": "originals-state-0123456789",
    });
    let expected = json!({ "type": "DELIVER", "state": "originals-state-0123456789", "raw": raw });
    assert_eq!(told["answer"], expected);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_client_understands_every_error_frame() {
    let mut app = TestApp::spawn().await;
    let state = state("stopped");
    let before = app.http.metric("waiters_registered_total").await;
    let client = python_client(&["unix", app.socket().to_str().unwrap(), &state]);
    eventually("it is registered", async || app.http.metric("waiters_registered_total").await > before).await;

    app.begin_stop();

    let output = soon("the client's end", client.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["answer"], json!({ "type": "ERROR", "state": state, "error": "shutdown" }));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_client_is_not_sent_a_line_that_its_reader_refuses() {
    let app = TestApp::spawn().await;
    let state = state("long");
    let mut waiter = app.wait_plain(Some(&state)).await;
    // Three bytes in a form, six in a JSON escape: the reader takes 65,536 bytes a line.
    let answer = app.http.post_form(&[("state", &state), ("error", &"\u{1}".repeat(20_000))]).await;

    match waiter.line().await {
        Some(line) => {
            assert!(line.len() <= 65_536, "{} bytes", line.len());
            assert_eq!(answer.status, 200);
        }
        None => assert_ne!(answer.status, 200),
    }
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_completes_against_the_originals_coordinator() {
    let folder = Folder::new();
    let mut coordinator = OriginalCoordinator::unix(&folder.socket());
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let state = state("theirs");

    let result = wait_for_code(Some(&state), Some(SOON), Some(&settings)).await.unwrap();

    assert_eq!(coordinator.registered().await.unwrap().state, Some(state));
    assert_eq!(result.code.as_deref(), Some("from-the-original"));
    assert!(result.success);
    assert!(wait_for_code(None, None, Some(&settings)).await.unwrap().success);
    assert_eq!(coordinator.registered().await.unwrap().state, None);
    let denied = wait_for_code(Some("denied-0123456789abcdef"), Some(SOON), Some(&settings)).await.unwrap();
    assert!(!denied.success && denied.code.is_none());
    assert_eq!(json!(denied.raw)["error"], "access_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_completes_against_the_originals_coordinator_over_tcp() {
    let mut coordinator = OriginalCoordinator::tcp().await;
    let settings = Settings { use_tcp: true, tcp_port: coordinator.port, ..Settings::default() };
    let state = state("theirs");

    let result = wait_for_code(Some(&state), Some(SOON), Some(&settings)).await.unwrap();

    assert_eq!(coordinator.registered().await.unwrap().state, Some(state));
    assert_eq!(result.code.as_deref(), Some("from-the-original"));
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_200_404_and_400_and_the_pages_html() {
    let app = TestApp::spawn().await;
    let state = state("statuses");
    let mut waiter = app.wait_plain(Some(&state)).await;

    app.http.callback(&[("code", "C"), ("state", &state)]).await.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "C");
    // Replay, and a state that nobody knows.
    app.http.callback(&[("code", "C"), ("state", &state)]).await.is_unmatched();
    app.http.callback(&[("code", "C"), ("state", "unknown")]).await.is_unmatched();
    app.http.post(Some("application/json"), "{not json").await.is_page(400, "Authorization Failed");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth_enabled_false_means_404_and_no_socket() {
    for settings in
        [&[("OAUTH_ENABLED", "false")][..], &[("OAUTH_ENABLED", "FALSE"), ("OAUTH_USE_TCP", "true")]]
    {
        let app = TestApp::spawn_with(settings).await;
        assert_eq!(app.http.callback(&[("code", "C")]).await.status, 404);
        assert_eq!(app.http.post_json(&json!({ "code": "C" })).await.status, 404);
        assert_eq!(app.http.ask(reqwest::Method::GET, "/oauth/wait?state=x").await.status, 404);
        assert!(!app.socket().exists());
        assert_eq!(app.tcp_port, None);
        assert_eq!(app.http.ask(reqwest::Method::GET, "/health").await.json(), json!({ "status": "ok" }));
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_library_gives_the_documents_result_and_errors() {
    install_crypto_provider();
    let app = TestApp::spawn().await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let state = state("library");
    let (waiting, name) = (settings.clone(), state.clone());
    let client = tokio::spawn(async move { wait_for_code(Some(&name), Some(SOON), Some(&waiting)).await });
    eventually("it is registered", async || app.http.waiters().await == 1).await;

    app.http.callback(&[("code", "library-code"), ("state", &state)]).await.is_complete();

    let result = client.await.unwrap().unwrap();
    assert!(result.success);
    assert_eq!(result.code.as_deref(), Some("library-code"));
    app.stop().await;
    // Nobody listens any more.
    let error = wait_for_code(Some("x"), Some(Duration::from_secs(1)), Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Connection(_)), "{error:?}");
}
