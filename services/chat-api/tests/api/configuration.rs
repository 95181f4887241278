//! The commands of the binary and what it says of unusable settings.

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

/// Runs the binary with these variables and no others.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    run_in(&std::env::temp_dir(), arguments, variables)
}

fn run_in(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chat-api"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap()
}

const SETTINGS: [(&str, &str); 3] = [
    ("AUTH_API_ISSUER", "http://auth-api:8000"),
    ("CLIENT_SECRET", "s"),
    ("MONGODB_URI", "mongodb://127.0.0.1:1/"),
];

#[test]
fn good_settings_pass_the_check() {
    let output = run(&["check-config"], &SETTINGS);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_bad_value_ends_the_process_at_once_with_one_sentence() {
    let variables: Vec<_> = SETTINGS.into_iter().chain([("PORT", "eighty")]).collect();
    let started = Instant::now();
    let output = run(&["serve"], &variables);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(output.status.code(), Some(64));
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert!(sentence.starts_with("PORT ") && sentence.lines().count() == 1, "{sentence}");
}

#[test]
fn a_dot_env_file_lies_beneath_the_environment_and_is_not_obeyed_by_half() {
    let folder = std::env::temp_dir().join(format!("chat-api-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let run_with = |lines: &str| {
        std::fs::write(folder.join(".env"), lines).unwrap();
        let output = run_in(&folder, &["check-config"], &SETTINGS);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run_with("MONGODB_URI=postgres://x\nPORT=8001\n").0, Some(0), "the environment wins");
    assert_eq!(run_with("PORT=eighty\n").0, Some(64));
    let (code, said) = run_with("PORT=8001\nCLIENT SECRET hunter2\n");
    assert_eq!(code, Some(64));
    assert!(said.starts_with(".env") && !said.contains("hunter2"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_missing_variable_is_named() {
    let output = run(&[], &[("CLIENT_SECRET", "hunter2")]);
    assert_eq!(output.status.code(), Some(64));
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert!(sentence.contains("is not set") && !sentence.contains("hunter2"), "{sentence}");
}

#[test]
fn a_connection_string_that_is_none_is_named() {
    let variables: Vec<_> = SETTINGS.into_iter().take(2).chain([("MONGODB_URI", "postgres://x")]).collect();
    for command in ["serve", "check-config"] {
        let output = run(&[command], &variables);
        assert_eq!(output.status.code(), Some(64), "{command}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("MONGODB_URI "), "{output:?}");
    }
}

#[test]
fn a_connection_string_that_cannot_be_read_is_not_repeated() {
    // The question mark ends the address too early, so that the password looks like a port.
    let uri = "mongodb://chat:hunter2?secret@127.0.0.1/";
    let variables: Vec<_> = SETTINGS.into_iter().take(2).chain([("MONGODB_URI", uri)]).collect();
    let output = run(&["serve"], &variables);
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert!(sentence.contains("MONGODB_URI") && sentence.lines().count() == 1, "{sentence}");
    assert!(!sentence.contains("hunter2"), "{sentence}");
}

#[test]
fn the_table_of_variables_needs_no_settings() {
    let output = run(&["check-config", "--markdown"], &[]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("| `MONGODB_URI` | required |"));
}
