//! The commands `oauth-relay wait` and `oauth-relay url`, as processes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::helpers::{Folder, Outcome, TestApp, eventually, run, run_with_input, soon, state};

/// Starts `wait` for a state at this relay.
async fn wait(app: &TestApp, arguments: &[&str], input: Option<&str>) -> Outcome {
    let socket = app.socket();
    let settings = [("OAUTH_SOCKET_PATH", socket.to_str().unwrap())];
    run_with_input(&[&["wait"], arguments].concat(), &settings, input).await
}

/// The one JSON object on standard output.
fn printed(outcome: &Outcome) -> Value {
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Calls back as soon as the command is registered.
async fn call_back(app: &TestApp, parameters: &[(&str, &str)]) -> u16 {
    eventually("the command is registered", async || app.http.waiters().await == 1).await;
    app.http.callback(parameters).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_prints_one_json_object_and_ends_with_0() {
    let app = TestApp::spawn().await;
    let name = state("command");
    let parameters = [("code", "C"), ("state", name.as_str()), ("iss", "https://p.example")];
    // With standard input closed, and with one that stays open and says nothing.
    for input in [None, Some("")] {
        let arguments = ["--state", &name, "--timeout", "30"];
        let (outcome, page) = tokio::join!(wait(&app, &arguments, input), call_back(&app, &parameters));
        assert_eq!((outcome.code, page), (Some(0), 200), "{outcome:?}");
        let raw = json!({ "state": name, "iss": "https://p.example" });
        assert_eq!(printed(&outcome), json!({ "success": true, "code": "C", "state": name, "raw": raw }));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_without_a_state_takes_the_single_slot() {
    let app = TestApp::spawn().await;
    let (outcome, page) = tokio::join!(wait(&app, &[], None), call_back(&app, &[("code", "C")]));
    assert_eq!((outcome.code, page), (Some(0), 200), "{outcome:?}");
    assert_eq!(printed(&outcome)["code"], "C");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_1_at_a_denial_and_prints_it() {
    let app = TestApp::spawn().await;
    let name = state("denied");
    let parameters = [("error", "access_denied"), ("state", name.as_str())];
    let arguments = ["--state", &name, "--timeout", "30"];
    let (outcome, page) = tokio::join!(wait(&app, &arguments, None), call_back(&app, &parameters));
    assert_eq!((outcome.code, page), (Some(1), 200), "{outcome:?}");
    let printed = printed(&outcome);
    assert_eq!((&printed["success"], &printed["raw"]["error"]), (&json!(false), &json!("access_denied")));
    assert!(printed.get("code").is_none(), "{printed}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_3_at_its_timeout() {
    let app = TestApp::spawn().await;
    let outcome = wait(&app, &["--state", &state("late"), "--timeout", "2"], None).await;
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(
        outcome.took >= Duration::from_millis(1900) && outcome.took < Duration::from_secs(4),
        "{outcome:?}"
    );
    assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{outcome:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_4_where_nobody_listens() {
    let folder = Folder::new();
    let socket = folder.socket();
    let settings = [("OAUTH_SOCKET_PATH", socket.to_str().unwrap())];
    let started = Instant::now();
    let outcome = run(&["wait", "--state", "x-0123456789abcdef", "--timeout", "3"], &settings).await;
    assert_eq!(outcome.code, Some(4), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert!(outcome.stderr.contains("relay.sock"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_2_for_wrong_usage() {
    for arguments in [
        &["wait", "--timeout", "soon"][..],
        &["wait", "--timeout", "0"],
        &["wait", "--unknown"],
        &["url"],
        &["wiat"],
    ] {
        let outcome = run(arguments, &[]).await;
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_64_for_unusable_settings() {
    for (name, value) in [
        ("OAUTH_TCP_FALLBACK_PORT", "x"),
        ("OAUTH_USE_TCP", "maybe"),
        ("OAUTH_DEFAULT_TIMEOUT", "0"),
        ("OAUTH_CODE_KEYS", "[1]"),
    ] {
        let outcome = run(&["wait", "--timeout", "1"], &[(name, value)]).await;
        assert_eq!(outcome.code, Some(64), "{name}={value}: {outcome:?}");
        assert!(outcome.stderr.contains(name) && outcome.stdout.is_empty(), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_printed_is_no_denial() {
    let app = TestApp::spawn().await;
    let name = state("full");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_oauth-relay"));
    command.args(["wait", "--state", &name, "--timeout", "30"]).env_clear();
    command.env("OAUTH_SOCKET_PATH", app.socket()).current_dir(std::env::temp_dir());
    command.stdin(std::process::Stdio::null()).stdout(full).stderr(std::process::Stdio::piped());
    let child = command.kill_on_drop(true).spawn().unwrap();
    assert_eq!(call_back(&app, &[("code", "C"), ("state", &name)]).await, 200);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    assert!(!output.stderr.is_empty(), "{output:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_may_begin_with_a_hyphen() {
    let app = TestApp::spawn().await;
    // As one of 64 in base64url does.
    let name = format!("-{}", state("hyphen"));
    let parameters = [("code", "C"), ("state", name.as_str())];
    let arguments = ["--state", &name, "--timeout", "5"];
    let (outcome, page) = tokio::join!(wait(&app, &arguments, None), call_back(&app, &parameters));
    assert_eq!((outcome.code, page), (Some(0), 200), "{outcome:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_5_when_it_is_replaced() {
    let app = TestApp::spawn().await;
    let name = state("replaced");
    let arguments = ["--state", &name, "--timeout", "30"];
    let thief = async {
        eventually("the command is registered", async || app.http.waiters().await == 1).await;
        app.wait_plain(Some(&name)).await
    };
    let (outcome, _thief) = tokio::join!(wait(&app, &arguments, None), thief);
    assert_eq!(outcome.code, Some(5), "{outcome:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_callback_url_does_for_the_callback() {
    let app = TestApp::spawn().await;
    let name = state("pasted");
    let arguments = ["--state", &name, "--timeout", "30"];
    for pasted in [
        format!("https://relay.example/oauth/callback?code=P&state={name}&iss=https%3A%2F%2Fp.example\n"),
        format!("  http://localhost:1/cb?state={name}&code=P&iss=https://p.example#fragment  \r\n"),
    ] {
        let outcome = wait(&app, &arguments, Some(&pasted)).await;
        assert_eq!(outcome.code, Some(0), "{pasted}: {outcome:?}");
        let printed = printed(&outcome);
        assert_eq!((&printed["code"], &printed["state"]), (&json!("P"), &json!(name)));
        assert_eq!(printed["raw"]["iss"], "https://p.example");
        eventually("the slot is freed", async || app.http.waiters().await == 0).await;
    }
    let denied = format!("https://relay.example/cb?error=access_denied&state={name}\n");
    let outcome = wait(&app, &arguments, Some(&denied)).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_says_that_a_url_may_be_pasted() {
    let app = TestApp::spawn().await;
    let name = state("terminal");
    let run_on_a_terminal =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", run_on_a_terminal, env!("CARGO_BIN_EXE_oauth-relay"), "wait", "--state", &name]);
    command.env("OAUTH_SOCKET_PATH", app.socket()).current_dir(std::env::temp_dir()).kill_on_drop(true);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    eventually("the command is registered", async || app.http.waiters().await == 1).await;
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("https://relay.example/cb?code=P&state={name}\n").as_bytes()).await.unwrap();
    let output = soon("its end", child.wait_with_output()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("paste") && said.contains("\"code\":\"P\""), "{said}");
    // Where nobody sits, nothing is said.
    let parameters = [("code", "C"), ("state", name.as_str())];
    let arguments = ["--state", &name];
    let (outcome, _) = tokio::join!(wait(&app, &arguments, Some("")), call_back(&app, &parameters));
    assert_eq!(outcome.stderr, "");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_url_of_another_flow_is_not_taken_and_the_wait_goes_on() {
    let app = TestApp::spawn().await;
    let name = state("pasted");
    let pasted = "https://relay.example/cb?code=forged&state=somebody-elses\n\
                  https://relay.example/cb?code=forged\n\
                  not a url\n\n";
    let parameters = [("code", "real"), ("state", name.as_str())];
    let arguments = ["--state", &name, "--timeout", "30"];
    let (outcome, page) = tokio::join!(wait(&app, &arguments, Some(pasted)), call_back(&app, &parameters));
    assert_eq!((outcome.code, page), (Some(0), 200), "{outcome:?}");
    assert_eq!(printed(&outcome)["code"], "real");
    assert!(!outcome.stderr.contains("forged"), "{outcome:?}");
    assert!(!outcome.stderr.is_empty(), "it says why it did not take the line");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_url_works_where_no_relay_runs() {
    let folder = Folder::new();
    let socket = folder.socket();
    let settings = [("OAUTH_SOCKET_PATH", socket.to_str().unwrap())];
    let name = state("alone");
    let pasted = format!("https://relay.example/cb?code=P&state={name}\n");
    let outcome =
        run_with_input(&["wait", "--state", &name, "--timeout", "5"], &settings, Some(&pasted)).await;
    // Whichever of the two is first: the code, or the lack of a relay.
    match outcome.code {
        Some(0) => assert_eq!(printed(&outcome)["code"], "P"),
        Some(4) => assert!(outcome.stdout.is_empty() && outcome.stderr.contains("relay.sock"), "{outcome:?}"),
        _ => panic!("{outcome:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_goes_on_through_a_restart_of_the_relay() {
    let folder = Folder::new();
    let socket = folder.socket();
    let first = crate::helpers::Process::serve(&folder, &[]).await;
    let name = state("restart");
    let settings = [("OAUTH_SOCKET_PATH", socket.to_str().unwrap())];
    let arguments = ["wait", "--state", &name, "--timeout", "30"];
    let restart = async {
        eventually("the command is registered", async || first.http.waiters().await == 1).await;
        first.kill().await;
        let second = crate::helpers::Process::serve(&folder, &[]).await;
        eventually("it is registered anew", async || second.http.waiters().await == 1).await;
        second.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
        second
    };
    let (outcome, second) = tokio::join!(run(&arguments, &settings), restart);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(printed(&outcome)["code"], "C");
    second.kill().await;
}

const URL: [&str; 7] = [
    "url",
    "--authorize-url",
    "https://provider.example/authorize?prompt=consent",
    "--client-id",
    "my client",
    "--redirect-uri",
    "https://relay.example/oauth/callback",
];

/// The parameters of the URL that the command built.
fn parameters(printed: &Value) -> std::collections::BTreeMap<String, String> {
    let url = url::Url::parse(printed["url"].as_str().unwrap()).unwrap();
    assert_eq!(url.origin().ascii_serialization(), "https://provider.example");
    assert_eq!(url.path(), "/authorize");
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let map: std::collections::BTreeMap<String, String> = pairs.iter().cloned().collect();
    assert_eq!(map.len(), pairs.len(), "a parameter is repeated: {url}");
    map
}

#[tokio::test(flavor = "multi_thread")]
async fn url_builds_an_authorization_url_with_a_fresh_state() {
    let arguments = [&URL[..], &["--scope", "openid email"]].concat();
    let mut states = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let outcome = run(&arguments, &[]).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let printed = printed(&outcome);
        let parameters = parameters(&printed);
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", "my client"),
            ("redirect_uri", "https://relay.example/oauth/callback"),
            ("scope", "openid email"),
            ("prompt", "consent"),
            ("state", printed["state"].as_str().unwrap()),
        ] {
            assert_eq!(parameters.get(name).map(String::as_str), Some(value), "{parameters:?}");
        }
        assert!(!parameters.contains_key("code_challenge") && printed.get("code_verifier").is_none());
        let state = printed["state"].as_str().unwrap().to_owned();
        // 256 bits in base64url, as the document's `token_urlsafe(32)`.
        assert!(
            state.len() >= 43 && state.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        states.insert(state);
    }
    assert_eq!(states.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn url_says_nothing_twice() {
    let outcome = run(&[&URL[..], &["--param", "access_type=offline"]].concat(), &[]).await;
    assert_eq!(parameters(&printed(&outcome))["access_type"], "offline");
    for parameter in ["state=mine", "redirect_uri=x", "code_challenge=x", "client_id=x", "scope=x"] {
        let outcome = run(&[&URL[..], &["--param", parameter]].concat(), &[]).await;
        assert_eq!(outcome.code, Some(2), "{parameter}: {outcome:?}");
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn url_with_pkce_prints_the_verifier_of_its_s256_challenge() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let outcome = run(&[&URL[..], &["--scope", "a", "--pkce"]].concat(), &[]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let printed = printed(&outcome);
    let parameters = parameters(&printed);
    let verifier = printed["code_verifier"].as_str().unwrap();
    assert!((43..=128).contains(&verifier.len()), "{verifier}");
    assert_eq!(parameters["code_challenge_method"], "S256");
    assert_eq!(parameters["code_challenge"], URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
    assert!(!printed["url"].as_str().unwrap().contains(verifier));
}
