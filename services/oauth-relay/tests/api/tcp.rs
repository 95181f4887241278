//! The checklist's "Socket and TCP", the port's half.

use std::time::Duration;

use oauth_relay::client::{OAuthRelayError, Settings, WaitForCode, wait_for_code};
use secrecy::SecretString;
use serde_json::json;

use crate::helpers::{Folder, Process, SOON, TestApp, Wire, eventually, free_port, run, state};

const SECRET: &str = "a-shared-secret-of-32-characters";

#[tokio::test(flavor = "multi_thread")]
async fn tcp_is_on_loopback_by_default_and_needs_no_secret_there() {
    let app = TestApp::spawn_tcp(&[]).await;
    app.works().await;
    let port = app.tcp_port.unwrap();
    let listening = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let hexadecimal = format!(":{port:04X} ");
    let addresses: Vec<&str> = listening
        .lines()
        .skip(1)
        .filter_map(|line| {
            line.split_whitespace().nth(1).filter(|local| format!("{local} ").ends_with(&hexadecimal))
        })
        .collect();
    assert!(
        !addresses.is_empty() && addresses.iter().all(|address| address.starts_with("0100007F")),
        "{addresses:?}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_vanishes_without_a_word_is_looked_for() {
    let app = TestApp::spawn_tcp(&[]).await;
    let _waiter = app.wait_plain(Some(&state("vanishing"))).await;
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{:04X}", app.tcp_port.unwrap());
    let timers: Vec<&str> = connections
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // Established, seen from the relay.
        .filter(|fields| fields[1] == local && fields[3] == "01")
        .map(|fields| fields[5])
        .collect();
    // Two is the timer that keeps a connection alive.
    assert!(timers.len() == 1 && timers[0].starts_with("02:"), "{timers:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_beyond_loopback_without_a_secret_refuses_to_start() {
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        let settings = [
            ("PORT", "0"),
            ("ADMIN_PORT", "0"),
            ("OAUTH_ENABLED", "true"),
            ("OAUTH_USE_TCP", "true"),
            ("OAUTH_TCP_FALLBACK_PORT", "0"),
            ("OAUTH_TCP_BIND_ADDRESS", address),
        ];
        let outcome = run(&["serve"], &settings).await;
        assert!(outcome.code.is_some_and(|code| code != 0), "{outcome:?}");
        assert!(outcome.took < Duration::from_secs(2), "{outcome:?}");
        assert!(outcome.stderr.contains("OAUTH_TCP_SECRET"), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
    let app =
        TestApp::spawn_tcp(&[("OAUTH_TCP_BIND_ADDRESS", "0.0.0.0"), ("OAUTH_TCP_SECRET", SECRET)]).await;
    assert!(app.tcp_port.is_some());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_hung_up_on_and_logged_without_the_value() {
    let folder = Folder::new();
    let settings = [
        ("OAUTH_USE_TCP", "true"),
        ("OAUTH_TCP_FALLBACK_PORT", "0"),
        ("OAUTH_TCP_SECRET", SECRET),
        ("RUST_LOG", "trace"),
    ];
    let process = Process::serve(&folder, &settings).await;
    let port = process.tcp_port.unwrap();
    let wrong = "a-shared-secret-of-32-characterX";
    let name = state("secret");
    for secret in
        [json!(wrong), json!(""), json!(&SECRET[..31]), json!(format!("{SECRET}x")), json!(5), json!(null)]
    {
        let mut refused = Wire::tcp(port).await;
        let mut frame = json!({ "type": "REGISTER", "state": name });
        if !secret.is_null() {
            frame["secret"] = secret;
        }
        refused.send(&frame).await;
        refused.refusal().await;
    }
    assert_eq!(process.http.metric("waiters_registered_total").await, 0);

    let mut allowed = Wire::tcp(port).await;
    allowed.send(&json!({ "type": "REGISTER", "state": name, "secret": SECRET })).await;
    eventually("it is registered", async || process.http.waiters().await == 1).await;
    process.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    let frame = allowed.last_frame().await;
    assert_eq!(frame, json!({ "type": "DELIVER", "state": name, "code": "C" }));
    let output = process.output();
    assert!(output.contains("secret"), "the refusal is logged: {output}");
    for value in [wrong, SECRET, &SECRET[..31]] {
        assert!(!output.contains(value), "{value} is in the logs");
    }
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_sends_the_secret_over_tcp() {
    let app = TestApp::spawn_tcp(&[("OAUTH_TCP_SECRET", SECRET)]).await;
    let settings = Settings {
        use_tcp: true,
        tcp_port: app.tcp_port.unwrap(),
        tcp_secret: Some(SecretString::from(SECRET)),
        ..Settings::default()
    };
    let name = state("client");
    let wait = WaitForCode::new().state(&name).timeout(SOON).settings(settings.clone());
    let client = tokio::spawn(wait.wait());
    eventually("it is registered", async || app.http.waiters().await == 1).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(client.await.unwrap().unwrap().code.as_deref(), Some("C"));

    let settings = Settings { tcp_secret: Some(SecretString::from("wrong")), ..settings };
    let error = wait_for_code(Some(&name), Some(SOON), Some(&settings)).await.unwrap_err();
    assert!(!matches!(error, OAuthRelayError::Timeout(_)), "{error:?}");
    assert!(!format!("{error:?} {error} {settings:?}").contains("wrong"), "{error:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_goes_by_the_environments_names() {
    let app = TestApp::spawn_tcp(&[("OAUTH_TCP_SECRET", SECRET)]).await;
    let (port, name) = (app.tcp_port.unwrap().to_string(), state("environment"));
    let arguments = ["wait", "--state", &name];
    let wait = async |host: &str| {
        let settings = [
            ("OAUTH_USE_TCP", "true"),
            ("OAUTH_TCP_HOST", host),
            ("OAUTH_TCP_FALLBACK_PORT", port.as_str()),
            ("OAUTH_TCP_SECRET", SECRET),
            ("OAUTH_DEFAULT_TIMEOUT", "20.0"),
        ];
        run(&arguments, &settings).await
    };
    let callback = async {
        eventually("it is registered", async || app.http.waiters().await == 1).await;
        app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    };
    let (outcome, ()) = tokio::join!(wait("localhost"), callback);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stderr.contains(SECRET), "{outcome:?}");
    // Nobody is at that address of the loopback network.
    let outcome = wait("127.9.9.9").await;
    assert_eq!(outcome.code, Some(4), "{outcome:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let settings = [
        ("PORT", "0"),
        ("ADMIN_PORT", "0"),
        ("OAUTH_ENABLED", "true"),
        ("OAUTH_USE_TCP", "true"),
        ("OAUTH_TCP_FALLBACK_PORT", port.as_str()),
    ];
    let outcome = run(&["serve"], &settings).await;
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains(&port), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_can_be_chosen() {
    let port = free_port();
    let app = TestApp::spawn_tcp(&[("OAUTH_TCP_FALLBACK_PORT", &port.to_string())]).await;
    assert_eq!(app.tcp_port, Some(port));
    app.works().await;
    app.stop().await;
}
