//! The settings: every name and default of the document, and what is said of unusable ones.

use std::time::Duration;

use crate::helpers::{Folder, TestApp, run};

/// Variable and default, as the document and the design name them.
const DEFAULTS: [(&str, &str); 10] = [
    ("OAUTH_ENABLED", "false"),
    ("OAUTH_CALLBACK_PATH", "/oauth/callback"),
    ("OAUTH_CODE_KEYS", "code,authorization_code"),
    ("OAUTH_SOCKET_PATH", "/tmp/poast-relay-oauth.sock"),
    ("OAUTH_TCP_FALLBACK_PORT", "9999"),
    ("OAUTH_LOG_UNMATCHED", "true"),
    ("OAUTH_USE_TCP", "false"),
    ("OAUTH_TCP_BIND_ADDRESS", "127.0.0.1"),
    ("PORT", "8020"),
    ("ADMIN_PORT", "9020"),
];

/// The rest, whose default is written in more than one way or not given.
const OTHERS: [&str; 14] = [
    "OAUTH_DEFAULT_TIMEOUT",
    "OAUTH_TCP_SECRET",
    "OAUTH_DUPLICATE",
    "OAUTH_ALLOW_STATELESS",
    "OAUTH_HOLD_SECONDS",
    "OAUTH_MAX_WAITERS",
    "OAUTH_MAX_TIMEOUT",
    "OAUTH_STRICT_STATE",
    "OAUTH_ALLOWED_UIDS",
    "AUTH_API_ISSUER",
    "JWT_AUDIENCE",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "LOG_FORMAT",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_name_and_default_of_the_document_is_in_the_table() {
    let outcome = run(&["check-config", "--markdown"], &[]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for (name, default) in DEFAULTS {
        let row = format!("| `{name}` | `{default}` |");
        assert!(outcome.stdout.contains(&row), "no {row} in {}", outcome.stdout);
    }
    for name in OTHERS {
        assert!(outcome.stdout.contains(&format!("| `{name}` | ")), "no {name} in {}", outcome.stdout);
    }
    let line = outcome.stdout.lines().find(|line| line.contains("`OAUTH_DEFAULT_TIMEOUT`")).unwrap();
    assert!(line.contains("| `300"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_has_to_be_set() {
    let outcome = run(&["check-config"], &[]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.is_empty(), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_good_value_of_the_document_passes() {
    let settings = [
        ("OAUTH_ENABLED", "true"),
        ("OAUTH_CALLBACK_PATH", "/oauth/callback"),
        ("OAUTH_CODE_KEYS", "code,auth_code,access_code"),
        ("OAUTH_SOCKET_PATH", "/tmp/poast-relay-oauth.sock"),
        ("OAUTH_TCP_FALLBACK_PORT", "9999"),
        ("OAUTH_DEFAULT_TIMEOUT", "300.0"),
        ("OAUTH_LOG_UNMATCHED", "true"),
        ("OAUTH_USE_TCP", "false"),
    ];
    assert_eq!(run(&["check-config"], &settings).await.code, Some(0));
    for (name, value) in [
        ("OAUTH_CODE_KEYS", r#"["code","auth_code"]"#),
        ("OAUTH_DEFAULT_TIMEOUT", "600"),
        ("OAUTH_DEFAULT_TIMEOUT", "0.5"),
        ("OAUTH_DUPLICATE", "reject"),
        ("OAUTH_DUPLICATE", "replace"),
        ("OAUTH_ALLOWED_UIDS", "0,1000"),
        ("OAUTH_USE_TCP", "True"),
    ] {
        let outcome = run(&["check-config"], &[(name, value)]).await;
        assert_eq!(outcome.code, Some(0), "{name}={value}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_value_ends_the_process_at_once_with_one_sentence() {
    for (name, value) in [
        ("OAUTH_ENABLED", "maybe"),
        ("OAUTH_CALLBACK_PATH", "oauth/callback"),
        ("OAUTH_CALLBACK_PATH", "/cb?x=1"),
        ("OAUTH_CALLBACK_PATH", "/{cb}"),
        ("OAUTH_CALLBACK_PATH", "/health"),
        ("OAUTH_CODE_KEYS", ""),
        ("OAUTH_CODE_KEYS", " , "),
        ("OAUTH_CODE_KEYS", "[1]"),
        ("OAUTH_TCP_FALLBACK_PORT", "99999"),
        ("OAUTH_DEFAULT_TIMEOUT", "0"),
        ("OAUTH_DEFAULT_TIMEOUT", "-1"),
        ("OAUTH_DEFAULT_TIMEOUT", "nan"),
        ("OAUTH_DEFAULT_TIMEOUT", "soon"),
        ("OAUTH_DUPLICATE", "both"),
        ("OAUTH_MAX_WAITERS", "0"),
        ("OAUTH_MAX_WAITERS", "many"),
        ("OAUTH_ALLOWED_UIDS", "root"),
        ("OAUTH_TCP_BIND_ADDRESS", "everywhere"),
        ("AUTH_API_ISSUER", "auth-api"),
        ("PORT", "eighty"),
        ("OAUTH_SOCKET_PATH", ""),
    ] {
        let outcome = run(&["serve"], &[("OAUTH_ENABLED", "true"), (name, value)]).await;
        assert_eq!(outcome.code, Some(64), "{name}={value}: {outcome:?}");
        assert!(outcome.took < Duration::from_secs(1), "{outcome:?}");
        assert!(outcome.stderr.starts_with(name), "{name}={value}: {outcome:?}");
        assert!(!outcome.stderr.contains(" ."), "it gives no reason: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_never_repeated() {
    let settings =
        [("OAUTH_TCP_SECRET", "hunter2"), ("OAUTH_USE_TCP", "true"), ("OAUTH_TCP_BIND_ADDRESS", "x")];
    let outcome = run(&["serve"], &settings).await;
    assert_eq!(outcome.code, Some(64), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_env_file_in_the_working_directory_is_read() {
    let folder = Folder::new();
    std::fs::write(folder.path().join(".env"), "PORT=eighty\n").unwrap();
    let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_oauth-relay"))
        .arg("check-config")
        .env_clear()
        .current_dir(folder.path())
        .output();
    let output = command.await.unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    // The environment wins over it.
    let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_oauth-relay"))
        .arg("check-config")
        .env_clear()
        .env("PORT", "8020")
        .current_dir(folder.path())
        .output();
    assert_eq!(command.await.unwrap().status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_list_needs_no_quotes_around_it_in_dot_env() {
    let folder = Folder::new();
    std::fs::write(folder.path().join(".env"), "OAUTH_CODE_KEYS=[\"auth_code\",\"code\"]\n").unwrap();
    for command in [&["check-config"][..], &["wait", "--socket", "/no/such/socket", "--timeout", "1"]] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_oauth-relay"))
            .args(command)
            .env_clear()
            .current_dir(folder.path())
            .output()
            .await
            .unwrap();
        assert_ne!(output.status.code(), Some(64), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_env_file_that_cannot_be_read_is_said_and_not_half_obeyed() {
    let folder = Folder::new();
    let lines = "PORT=0\nOAUTH TCP SECRET hunter2\nOAUTH_ENABLED=true\n";
    std::fs::write(folder.path().join(".env"), lines).unwrap();
    for command in ["check-config", "wait"] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_oauth-relay"))
            .arg(command)
            .env_clear()
            .current_dir(folder.path())
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(".env") && said.lines().count() == 1, "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_are_on_the_admin_listener_only() {
    let app = TestApp::spawn().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(app.http.admin(path).await.status, 200, "{path}");
        assert_eq!(
            app.http.ask(reqwest::Method::GET, path).await.error(),
            (404, "not_found".to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        app.http.ask(reqwest::Method::GET, "/health").await.json(),
        serde_json::json!({ "status": "ok" })
    );
    app.stop().await;
}
