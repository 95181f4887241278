//! The nine defects of the original, none of which is to come back.

use std::time::Duration;

use oauth_relay::client::{OAuthRelayError, Settings, WaitForCode, wait_for_code};
use serde_json::{Value, json};

use crate::helpers::{Folder, Process, SOON, TestApp, eventually, run, soon, state};

#[tokio::test(flavor = "multi_thread")]
async fn defect_1_a_waiters_timeout_above_the_servers_default_holds() {
    let app = TestApp::spawn_with(&[("OAUTH_DEFAULT_TIMEOUT", "1")]).await;
    let settings = Settings {
        socket_path: app.socket(),
        default_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    let name = state("longer");
    let (waited, parameter) = (settings.clone(), name.clone());
    let client =
        tokio::spawn(async move { wait_for_code(Some(&parameter), Some(SOON), Some(&waited)).await });
    eventually("it is registered", async || app.http.waiters().await == 1).await;
    // One that goes by the default shows that it has passed.
    let error = wait_for_code(Some(&state("default")), None, Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Timeout(_)), "a timeout, not a generic error: {error:?}");

    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(client.await.unwrap().unwrap().code.as_deref(), Some("C"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_2_a_waiter_that_hung_up_never_makes_a_complete_page() {
    let app = TestApp::spawn().await;
    for _ in 0..50 {
        let name = state("gone");
        let waiter = app.wait_plain(Some(&name)).await;
        drop(waiter);
        // At once, without a pause in which the hang-up could be noticed.
        app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    }
    assert_eq!(app.http.metric("delivered_total").await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_3_the_page_is_decided_after_the_frame_was_written() {
    let app = TestApp::spawn().await;
    let name = state("written");
    let mut waiter = app.wait_extended(&name).await;
    let (http, parameter) = (app.http.clone(), name.clone());
    let page = tokio::spawn(async move { http.callback(&[("code", "C"), ("state", &parameter)]).await });
    assert_eq!(waiter.frame().await.unwrap()["code"], "C");
    assert!(!page.is_finished(), "the page came before the acknowledgement");
    waiter.send(&json!({ "type": "ACK" })).await;
    soon("the page", page).await.unwrap().is_complete();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_4_a_replaced_waiter_learns_why() {
    let app = TestApp::spawn().await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let name = state("why");
    let wait = WaitForCode::new().state(&name).timeout(SOON).settings(settings).wait();
    let client = tokio::spawn(wait);
    eventually("it is registered", async || app.http.waiters().await == 1).await;
    let _other = app.wait_plain(Some(&name)).await;
    let error = soon("its end", client).await.unwrap().unwrap_err();
    assert!(matches!(error, OAuthRelayError::Replaced), "{error:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_5_a_known_state_cannot_be_taken_over_and_the_socket_is_private() {
    let app = TestApp::spawn_with(&[("OAUTH_DUPLICATE", "reject")]).await;
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(app.socket()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let name = state("known");
    let mut owner = app.wait_plain(Some(&name)).await;
    let mut thief = app.connect().await;
    thief.send(&json!({ "type": "REGISTER", "state": name })).await;
    thief.refusal().await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(owner.last_frame().await["code"], "C");
    app.stop().await;
    // TCP beyond this machine wants a secret.
    let settings = [
        ("OAUTH_ENABLED", "true"),
        ("OAUTH_USE_TCP", "true"),
        ("OAUTH_TCP_BIND_ADDRESS", "0.0.0.0"),
        ("OAUTH_TCP_FALLBACK_PORT", "0"),
        ("PORT", "0"),
        ("ADMIN_PORT", "0"),
    ];
    assert_ne!(run(&["serve"], &settings).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_6_a_start_takes_nothing_away_from_the_socket_path() {
    let folder = Folder::new();
    let first = Process::serve(&folder, &[]).await;
    let socket = folder.socket();
    let settings = [
        ("OAUTH_ENABLED", "true"),
        ("OAUTH_SOCKET_PATH", socket.to_str().unwrap()),
        ("PORT", "0"),
        ("ADMIN_PORT", "0"),
    ];
    assert_ne!(run(&["serve"], &settings).await.code, Some(0));
    let mut waiter = crate::helpers::Wire::unix(&socket).await;
    waiter.send(&json!({ "type": "REGISTER", "state": "still-there-0123456789" })).await;
    eventually("the first one lives", async || first.http.waiters().await == 1).await;
    first.kill().await;
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "a plain file").unwrap();
    assert_ne!(run(&["serve"], &settings).await.code, Some(0));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "a plain file");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_7_odd_json_is_400_and_a_long_line_harms_nobody_else() {
    let app = TestApp::spawn().await;
    let name = state("others");
    let mut other = app.wait_plain(Some(&name)).await;
    for body in ["[1,2]", r#"{"state":5}"#, r#"{"state":{}}"#, r#"{"state":[]}"#, "7", "\"x\""] {
        assert_eq!(app.http.post(Some("application/json"), body).await.status, 400, "{body}");
    }
    let mut long = app.connect().await;
    long.send_bytes(&vec![b'x'; 100_000]).await;
    long.refusal().await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(other.last_frame().await["code"], "C");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_8_the_other_parameters_of_a_success_reach_the_client() {
    let app = TestApp::spawn().await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let name = state("iss");
    let wait = WaitForCode::new().state(&name).timeout(SOON).settings(settings).extended(true);
    let client = tokio::spawn(wait.wait());
    eventually("it is registered", async || app.http.waiters().await == 1).await;
    let parameters = [
        ("code", "C"),
        ("state", name.as_str()),
        ("iss", "https://p.example"),
        ("scope", "a"),
        ("session_state", "s"),
    ];
    app.http.callback(&parameters).await.is_complete();
    let result: Value = serde_json::to_value(client.await.unwrap().unwrap()).unwrap();
    for (key, value) in &parameters[1..] {
        assert_eq!(result["raw"][key], *value, "{result}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_9_the_single_slot_can_be_shut_and_the_client_checks_the_state() {
    let app = TestApp::spawn_with(&[("OAUTH_ALLOW_STATELESS", "false")]).await;
    let mut refused = app.connect().await;
    refused.send(&json!({ "type": "REGISTER" })).await;
    refused.refusal().await;
    app.http.callback(&[("code", "injected")]).await.is_unmatched();
    app.stop().await;
    // A coordinator that delivers somebody else's flow is not believed.
    let folder = Folder::new();
    let listener = tokio::net::UnixListener::bind(folder.socket()).unwrap();
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let client = tokio::spawn(async move {
        wait_for_code(Some("my-own-state-0123456789"), Some(SOON), Some(&settings)).await
    });
    let (mut stream, _) = listener.accept().await.unwrap();
    let frame = b"{\"type\":\"DELIVER\",\"state\":\"anothers\",\"code\":\"injected\"}\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, frame).await.unwrap();
    let error = soon("its end", client).await.unwrap().unwrap_err();
    assert!(matches!(error, OAuthRelayError::StateMismatch), "{error:?}");
}
