//! The checklist's "Logs": the document's sentences, and nothing in them that is secret.

use std::{fmt::Write, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::helpers::{Answer, AuthApi, Folder, Process, Wire, eventually, run, run_with_input, within};

/// How a state is shown.
fn shown(state: &str) -> String {
    Sha256::digest(state).iter().take(4).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Registers and waits until the relay says so.
async fn registered(process: &Process, folder: &Folder, frame: Value) -> Wire {
    let before = process.http.metric("waiters_registered_total").await;
    let mut wire = match process.tcp_port {
        Some(port) => Wire::tcp(port).await,
        None => Wire::unix(&folder.socket()).await,
    };
    wire.send(&frame).await;
    eventually("it is registered", async || process.http.metric("waiters_registered_total").await > before)
        .await;
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_hold_the_documents_sentences() {
    let folder = Folder::new();
    let mut process = Process::serve(&folder, &[]).await;
    let mut wire =
        registered(&process, &folder, json!({ "type": "REGISTER", "state": "myflow-0123456789" })).await;
    process.http.callback(&[("code", "C"), ("state", "myflow-0123456789")]).await.is_complete();
    wire.last_frame().await;
    process.http.callback(&[("code", "C"), ("state", "unmatched")]).await.is_unmatched();
    let timed = json!({ "type": "REGISTER", "state": "timed-0123456789", "timeout": 1 });
    let mut timed = registered(&process, &folder, timed).await;
    timed.last_frame().await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));

    let output = process.output();
    let mut rest = output.as_str();
    for sentence in [
        "OAuth relay enabled".to_owned(),
        "OAuth coordinator starting".to_owned(),
        format!("OAuth coordinator listening on {}", folder.socket().display()),
        format!("Client registered for state: '{}'", shown("myflow-0123456789")),
        format!("OAuth callback delivered to client for state: '{}'", shown("myflow-0123456789")),
        format!("No client waiting for state '{}' - dropping callback", shown("unmatched")),
        format!("OAuth callback timeout for state: '{}'", shown("timed-0123456789")),
        "OAuth coordinator stopped".to_owned(),
    ] {
        let position = rest.find(&sentence);
        assert!(position.is_some(), "no {sentence:?}, or not in its place, in {output}");
        rest = &rest[position.unwrap() + sentence.len()..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unmatched_callbacks_are_logged_once_each_with_a_limit_or_not_at_all() {
    const CALLBACKS: usize = 2_000;
    for is_logged in [true, false] {
        let folder = Folder::new();
        let setting = if is_logged { "true" } else { "false" };
        let process = Process::serve(&folder, &[("OAUTH_LOG_UNMATCHED", setting)]).await;
        let lines = |needle: &str| process.output().lines().filter(|line| line.contains(needle)).count();
        process.http.callback(&[("code", "C"), ("state", "once")]).await.is_unmatched();
        if is_logged {
            let sentence = format!("No client waiting for state '{}'", shown("once"));
            eventually("the line", async || lines(&sentence) == 1).await;
        }
        for number in 0..CALLBACKS {
            process
                .http
                .callback(&[("code", "C"), ("state", &format!("flood-{number}"))])
                .await
                .is_unmatched();
        }
        assert_eq!(process.http.metric("unmatched_total").await, u64::try_from(CALLBACKS + 1).unwrap());
        let count = lines("No client waiting");
        let allowed = if is_logged { 1..CALLBACKS / 2 } else { 0..1 };
        assert!(allowed.contains(&count), "{count} lines");
        process.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_cannot_be_read_do_not_fill_the_log() {
    const CALLBACKS: usize = 2_000;
    let folder = Folder::new();
    let process = Process::serve(&folder, &[]).await;
    let lines = || process.output().lines().filter(|line| line.contains("a callback was refused")).count();
    process.http.callback_query("code=a&code=b").await;
    eventually("the line", async || lines() == 1).await;
    for _ in 0..CALLBACKS {
        process.http.callback_query("code=a&code=b").await.is_page(400, "Authorization Failed");
    }
    assert!(lines() < CALLBACKS / 2, "{} lines", lines());
    process.kill().await;
}

/// Nothing that is said to or by the relay in this test may be in the logs.
const CANARY: &str = "cAnArY";

#[tokio::test(flavor = "multi_thread")]
async fn no_code_token_query_or_state_is_in_the_logs_at_trace_level() {
    let auth_api = AuthApi::start();
    for is_tcp in [false, true] {
        let folder = Folder::new();
        let client_secret = format!("{CANARY}-client-secret");
        let tcp_secret = format!("{CANARY}-tcp-secret-0123456789abcdef");
        let mut settings = vec![
            ("RUST_LOG", "trace"),
            ("AUTH_API_ISSUER", auth_api.url()),
            ("CLIENT_SECRET", &client_secret),
        ];
        if is_tcp {
            settings.extend([
                ("OAUTH_USE_TCP", "true"),
                ("OAUTH_TCP_FALLBACK_PORT", "0"),
                ("OAUTH_TCP_SECRET", &tcp_secret),
            ]);
        }
        let mut process = Process::serve(&folder, &settings).await;
        let token = auth_api.token("mozaiks-runtime-service");
        use_sockets(&process, &folder, &tcp_secret).await;
        use_callbacks(&process).await;
        use_wait(&process, &token).await;
        process.signal("TERM").await;
        assert_eq!(process.exit_code().await, Some(0));
        let output = process.output();
        assert!(output.contains("\"TRACE\"") || output.contains("TRACE"), "trace is on");
        let signature = token.rsplit('.').next().unwrap();
        for secret in [CANARY, "canary", "CANARY", signature, "error_description="] {
            let line = output.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in the logs: {line:?}");
        }
    }
}

/// Every way in which a waiter may end.
async fn use_sockets(process: &Process, folder: &Folder, secret: &str) {
    let name = |kind: &str| format!("{CANARY}-{kind}-0123456789");
    let frame = |kind: &str| json!({ "type": "REGISTER", "state": name(kind), "secret": secret });
    let mut plain = registered(process, folder, frame("plain")).await;
    let code = format!("{CANARY}-code");
    process.http.callback(&[("code", &code), ("state", &name("plain"))]).await.is_complete();
    plain.last_frame().await;
    let mut extended = frame("extended");
    extended["extended"] = json!(true);
    let mut wire = registered(process, folder, extended.clone()).await;
    assert_eq!(wire.frame().await.unwrap()["type"], "REGISTERED");
    let delivery = tokio::spawn(async move { wire.acknowledge().await });
    process
        .http
        .callback(&[("code", &code), ("state", &name("extended")), ("iss", CANARY)])
        .await
        .is_complete();
    delivery.await.unwrap();
    // Denied, replaced, timed out, unacknowledged, gone.
    let mut denied = registered(process, folder, frame("denied")).await;
    let parameters = [("error", CANARY), ("error_description", CANARY), ("state", &name("denied"))];
    process.http.callback(&parameters).await.is_denied();
    denied.last_frame().await;
    let mut loser = registered(process, folder, frame("twice")).await;
    let winner = registered(process, folder, frame("twice")).await;
    loser.last_frame().await;
    let mut timed = frame("timed");
    timed["timeout"] = json!(0.5);
    registered(process, folder, timed).await.last_frame().await;
    extended["state"] = json!(name("mute"));
    let mute = registered(process, folder, extended).await;
    process.http.callback(&[("code", &code), ("state", &name("mute"))]).await.is_unmatched();
    drop((mute, winner));
    // What is no registration.
    for line in [
        format!("{CANARY}\n"),
        format!("{{\"type\":\"{CANARY}\"}}\n"),
        format!("{{\"type\":\"REGISTER\",\"state\":\"{CANARY}\",\"secret\":\"{CANARY}\",\"{CANARY}\":1}}\n"),
        format!("{{\"type\":\"REGISTER\",\"state\":[\"{CANARY}\"],\"timeout\":\"{CANARY}\"}}\n"),
        CANARY.repeat(20_000),
    ] {
        let mut wire = match process.tcp_port {
            Some(port) => Wire::tcp(port).await,
            None => Wire::unix(&folder.socket()).await,
        };
        wire.send_bytes(line.as_bytes()).await;
        drop(wire);
    }
}

/// Callbacks of every kind, good and bad, and requests to paths that there are not.
async fn use_callbacks(process: &Process) {
    let http = &process.http;
    for query in [
        format!("code={CANARY}&state={CANARY}"),
        format!("code={CANARY}&code={CANARY}"),
        format!("{CANARY}={CANARY}"),
        format!("code=%ff{CANARY}"),
        format!("code={CANARY}{}", "x".repeat(17_000)),
    ] {
        http.callback_query(&query).await;
        http.ask(Method::HEAD, &format!("/oauth/callback?{query}")).await;
        http.ask(Method::GET, &format!("/nothing?{query}")).await;
        http.post(Some("application/x-www-form-urlencoded"), query.clone()).await;
        http.ask(Method::POST, &format!("/oauth/callback?{query}")).await;
    }
    for body in [
        json!({ "code": CANARY, "state": CANARY }).to_string(),
        json!({ "code": CANARY, "state": [CANARY] }).to_string(),
        format!("{{\"code\":\"{CANARY}\""),
        format!("[\"{CANARY}\"]"),
        format!("\"{CANARY}{}\"", "x".repeat(70_000)),
    ] {
        http.post(Some("application/json"), body.clone()).await;
        http.post(None, body).await;
    }
    let request = http.request(Method::GET, &format!("/oauth/callback?code={CANARY}"));
    let request = request.header("referer", format!("https://p.example/?{CANARY}")).header("cookie", CANARY);
    Answer::read(request.header("user-agent", "x").header("sec-purpose", "prefetch")).await;
}

/// The HTTP wait, with and without a right to it.
async fn use_wait(process: &Process, token: &str) {
    let state = format!("{CANARY}-wait-0123456789");
    let path = format!("/oauth/wait?state={state}&timeout=20");
    let wait = |token: &str| Answer::read(process.http.request(Method::GET, &path).bearer_auth(token));
    within("the keys are known", Duration::from_secs(15), async || {
        let path = format!("/oauth/wait?state={state}&timeout=0.1");
        let request = process.http.request(Method::GET, &path).bearer_auth(token);
        Answer::read(request).await.status == 408
    })
    .await;
    wait(CANARY).await;
    wait(&format!("{token}{CANARY}")).await;
    process.http.ask(Method::GET, &format!("{path}&access_token={token}")).await;
    let callback = async {
        let code = format!("{CANARY}-code");
        eventually("it is delivered", async || {
            process.http.callback(&[("code", &code), ("state", &state)]).await.status == 200
        })
        .await;
    };
    let (answer, ()) = tokio::join!(wait(token), callback);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_nothing_secret_on_standard_error() {
    let folder = Folder::new();
    let process = Process::serve(&folder, &[]).await;
    let socket = folder.socket();
    let settings = [("OAUTH_SOCKET_PATH", socket.to_str().unwrap()), ("RUST_LOG", "trace")];
    let state = format!("{CANARY}-state-0123456789");
    let arguments = ["wait", "--state", &state, "--timeout", "20"];
    let callback = async {
        eventually("it is registered", async || process.http.waiters().await == 1).await;
        process.http.callback(&[("code", CANARY), ("state", &state)]).await.is_complete();
    };
    let pasted = format!("https://r.example/cb?code={CANARY}&state=other{CANARY}\n");
    let (outcome, ()) = tokio::join!(run_with_input(&arguments, &settings, Some(&pasted)), callback);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stderr.contains(CANARY), "{outcome:?}");
    process.kill().await;
    let outcome = run(&["wait", "--state", &state, "--timeout", "1"], &settings).await;
    assert!(!outcome.stderr.contains(CANARY), "{outcome:?}");
}
