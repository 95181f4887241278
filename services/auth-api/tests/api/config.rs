//! The real binary and its settings.

use std::{net::TcpStream, time::Duration};

use crate::helpers::{
    Process, TestDatabase,
    process::{self, Outcome},
    wait::until,
};

/// `EX_USAGE` of sysexits.h.
const USAGE: i32 = 64;

/// Every setting that is needed, with one changed or, with none, left out.
fn settings(variable: &'static str, value: Option<&str>) -> Vec<(&'static str, String)> {
    let mut settings = process::base_settings();
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
    for secret in ["secret-of-the-database", "MDEyMzQ1Njc4", "hunter2"] {
        assert!(!sentence.contains(secret), "{sentence}");
    }
}

#[tokio::test]
async fn a_bad_value_ends_it_within_a_second_with_one_sentence() {
    for (variable, value) in [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("HOST", "everywhere"),
        ("ADMIN_PORT", "-1"),
        ("AUTH_API_ISSUER", "auth-api"),
        ("AUTH_API_ISSUER", "http://auth-api/"),
        ("PUBLIC_URL", "ftp://auth-api"),
        ("ALLOWED_ORIGINS", "*"),
        ("TRUSTED_PROXIES", "somewhere"),
        ("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/33"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "auth_api=loud"),
        ("POSTGRES_PORT", ""),
        ("POSTGRES_PASSWORD", ""),
        ("POSTGRES_MAX_CONNECTIONS", "0"),
        ("KEY_ENCRYPTION_KEYS", "k1:hunter2"),
        ("KEY_ENCRYPTION_KEYS", ""),
        ("KEY_ENCRYPTION_KEYS", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ("ACCESS_TOKEN_TTL_SECONDS", "15m"),
        ("ACCESS_TOKEN_TTL_SECONDS", "0"),
        ("REFRESH_GRACE_SECONDS", "61"),
        ("JWKS_PREPUBLISH_SECONDS", "-5"),
        ("KEY_ROTATION_SECONDS", "0"),
    ] {
        let settings = settings(variable, Some(value));
        refused(&process::run(&[], &settings).await, variable);
        refused(&process::run(&["check-config"], &settings).await, variable);
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    for variable in ["AUTH_API_ISSUER", "POSTGRES_PASSWORD", "KEY_ENCRYPTION_KEYS"] {
        refused(&process::run(&["serve"], &settings(variable, None)).await, variable);
    }
}

#[tokio::test]
async fn no_port_opens_before_the_settings_are_good() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut settings = settings("LOG_FORMAT", Some("xml"));
    settings.push(("PORT", port.to_string()));
    let running = process::run(&["serve"], &settings);
    let mut opened = false;
    let watching = async {
        loop {
            opened |= TcpStream::connect(("127.0.0.1", port)).is_ok();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let outcome = tokio::select! { outcome = running => outcome, () = watching => return };
    refused(&outcome, "LOG_FORMAT");
    assert!(!opened);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for variable in ["PORT", "ADMIN_PORT"] {
        let outcome = process::run(&["serve"], &settings(variable, Some(&port))).await;
        assert!(outcome.code.is_some_and(|code| code != 0), "{}", outcome.stderr);
        assert!(outcome.took < Duration::from_secs(2));
        assert!(outcome.stderr.contains(variable) && outcome.stderr.contains(&port), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn good_settings_are_said_to_be_good_without_a_database() {
    let outcome = process::run(&["check-config"], &settings("POSTGRES_PORT", Some("1"))).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.took < Duration::from_secs(1));
}

#[tokio::test]
async fn the_table_of_settings_needs_none() {
    let outcome = process::run(&["check-config", "--markdown"], &[]).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for variable in [
        "HOST",
        "PORT",
        "ADMIN_HOST",
        "ADMIN_PORT",
        "PUBLIC_URL",
        "ALLOWED_ORIGINS",
        "TRUSTED_PROXIES",
        "LOG_FORMAT",
        "RUST_LOG",
        "AUTH_API_ISSUER",
        "POSTGRES_HOST",
        "POSTGRES_PORT",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "POSTGRES_DB",
        "ACCESS_TOKEN_TTL_SECONDS",
        "KEY_ENCRYPTION_KEYS",
        "JWKS_PREPUBLISH_SECONDS",
    ] {
        assert!(outcome.stdout.contains(&format!("| `{variable}` |")), "{variable}:\n{}", outcome.stdout);
    }
}

#[tokio::test]
async fn a_file_in_the_working_directory_lies_beneath_the_environment() {
    let folder = std::env::temp_dir().join(format!("auth-api-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(".env"), "LOG_FORMAT=xml\nPOSTGRES_PASSWORD=from-the-file\n").unwrap();
    let run = async |settings: Vec<(&'static str, String)>| {
        let mut command = tokio::process::Command::new(process::BINARY);
        command.arg("check-config").env_clear().envs(settings).current_dir(&folder).output().await.unwrap()
    };
    let beneath = run(settings("POSTGRES_PASSWORD", None)).await;
    assert_eq!(beneath.status.code(), Some(0), "{}", String::from_utf8_lossy(&beneath.stderr));
    let from_file = run(settings("LOG_FORMAT", None)).await;
    assert_eq!(from_file.status.code(), Some(USAGE));
    std::fs::write(folder.join(".env"), "PORT=8000\nCLIENT SECRET hunter2\n").unwrap();
    let unreadable = run(settings("PORT", None)).await;
    let said = String::from_utf8(unreadable.stderr).unwrap();
    assert_eq!(unreadable.status.code(), Some(USAGE), "it is not obeyed by half");
    assert!(said.starts_with(".env") && !said.contains("hunter2"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn migrate_may_be_run_again_and_again() {
    let database = TestDatabase::empty().await;
    for _ in 0..2 {
        let outcome = process::run_on(&database, &["migrate"]).await;
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
    assert_eq!(database.number("SELECT count(*) FROM clients").await, 1, "the schema and what it comes with");
}

#[tokio::test]
async fn without_a_command_it_serves() {
    let database = TestDatabase::create().await;
    let mut settings = process::base_settings();
    settings.extend(database.settings(None));
    let server = Process::serve(&settings).await;
    let http = crate::helpers::app::http();
    until("it answers", async || http.get(format!("{}/health", server.url)).send().await.is_ok()).await;
    let unknown = process::run(&["dance"], &settings).await;
    assert!(unknown.code.is_some_and(|code| code != 0));
}
