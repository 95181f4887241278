//! The real binary and its settings (S11, S21, S35 beside what every service promises).

use std::time::Duration;

use crate::helpers::process::{self, Outcome};

/// `EX_USAGE` of sysexits.h.
const USAGE: i32 = 64;

/// Every setting that is needed, with one changed or, with none, left out.
fn settings(variable: &'static str, value: Option<&str>) -> Vec<(&'static str, String)> {
    let mut settings = process::base_settings("http://auth-api.test");
    settings.retain(|(known, _)| *known != "POSTGRES_PASSWORD");
    settings.extend([
        ("POSTGRES_PASSWORD", "secret-of-the-database".to_owned()),
        ("POSTGRES_PORT", "1".to_owned()),
    ]);
    settings.retain(|(known, _)| *known != variable);
    settings.extend(value.map(|value| (variable, value.to_owned())));
    settings
}

/// One sentence that names the variable, soon, and nothing of the values that are secret.
#[track_caller]
fn refused(outcome: &Outcome, variable: &str) {
    assert_eq!(outcome.code, Some(USAGE), "{variable}: {}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.took < Duration::from_secs(1), "{variable}: {:?}", outcome.took);
    assert_eq!(outcome.stdout, "", "{variable}");
    let sentence = outcome.stderr.trim_end();
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    assert!(sentence.contains(variable) && sentence.ends_with('.'), "{sentence}");
    for secret in ["secret-of-the-database", "MDEyMzQ1Njc4", "hunter2", "Canary"] {
        assert!(!sentence.contains(secret), "{sentence}");
    }
}

#[tokio::test]
async fn s11_s35_a_bad_value_ends_it_within_a_second_with_one_sentence() {
    for (variable, value) in [
        ("PORT", "http"),
        ("HOST", "everywhere"),
        ("ADMIN_PORT", "-1"),
        ("AUTH_API_ISSUER", "auth-api"),
        ("PUBLIC_URL", "ftp://connect"),
        ("ALLOWED_ORIGINS", "*"),
        ("TRUSTED_PROXIES", "somewhere"),
        ("LOG_FORMAT", "xml"),
        ("POSTGRES_PORT", ""),
        ("POSTGRES_PASSWORD", ""),
        ("CLIENT_SECRET", ""),
        ("TOKEN_ENCRYPTION_KEYS", "k1:hunter2"),
        ("OAUTH_CALLBACK_BASE", "http://connect.example.com"),
        ("OAUTH_CALLBACK_BASE", "https://connect.example.com/oauth"),
        ("OAUTH_CALLBACK_BASE", "https://connect.example.com?x=1"),
        ("OAUTH_CALLBACK_BASE", "https://me@connect.example.com"),
        ("OAUTH_CALLBACK_BASE", "connect.example.com"),
        ("RUNTIME_URL", "runtime"),
        ("RATE_LIMIT_BROWSER_PER_MINUTE", "0"),
        ("HAND_OUT_PLATFORMS", "indexer-worker=gitlab"),
        ("SLACK_API_URL", "http://slack.com"),
        ("SLACK_PKCE", "maybe"),
    ] {
        let settings = settings(variable, Some(value));
        refused(&process::run(&[], &settings).await, variable);
        refused(&process::run(&["check-config"], &settings).await, variable);
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    for variable in [
        "AUTH_API_ISSUER",
        "CLIENT_SECRET",
        "POSTGRES_PASSWORD",
        "TOKEN_ENCRYPTION_KEYS",
        "OAUTH_CALLBACK_BASE",
    ] {
        refused(&process::run(&["serve"], &settings(variable, None)).await, variable);
    }
    let half = settings("SLACK_CLIENT_ID", Some("1.2"));
    refused(&process::run(&["serve"], &half).await, "SLACK_CLIENT_SECRET");
    let mut app = settings("GITHUB_CLIENT_ID", Some("c"));
    app.extend([("GITHUB_CLIENT_SECRET", "hunter2".to_owned()), ("GITHUB_APP_ID", "1".to_owned())]);
    refused(&process::run(&["serve"], &app).await, "GITHUB_APP_SLUG");
    app.push(("GITHUB_APP_SLUG", "example-app".to_owned()));
    refused(&process::run(&["serve"], &app).await, "GITHUB_PRIVATE_KEY_PATH");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for variable in ["PORT", "ADMIN_PORT"] {
        let outcome = process::run(&["serve"], &settings(variable, Some(&port))).await;
        assert!(outcome.code.is_some_and(|code| code != 0), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(variable) && outcome.stderr.contains(&port), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn good_settings_are_said_to_be_good_without_a_database() {
    let outcome = process::run(&["check-config"], &settings("POSTGRES_PORT", Some("1"))).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[tokio::test]
async fn the_table_of_settings_needs_none() {
    let outcome = process::run(&["check-config", "--markdown"], &[]).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for variable in [
        "PORT",
        "POSTGRES_HOST",
        "POSTGRES_PORT",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "POSTGRES_DB",
        "GITHUB_APP_ID",
        "GITHUB_CLIENT_ID",
        "GITHUB_CLIENT_SECRET",
        "GITHUB_PRIVATE_KEY_PATH",
        "JIRA_CLIENT_ID",
        "JIRA_CLIENT_SECRET",
        "SLACK_CLIENT_ID",
        "SLACK_CLIENT_SECRET",
        "SLACK_SIGNING_SECRET",
        "OAUTH_CALLBACK_BASE",
        "TOKEN_ENCRYPTION_KEYS",
    ] {
        assert!(outcome.stdout.contains(&format!("| `{variable}` |")), "{variable}:\n{}", outcome.stdout);
    }
}
