//! kubectl, and what the tests ask of it.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The namespace under test.
pub(crate) fn namespace() -> String {
    std::env::var("NAMESPACE").unwrap()
}

/// Runs kubectl in the namespace; its output, or what it complains about.
pub(crate) fn try_kubectl(arguments: &[&str]) -> Result<String, String> {
    output(Command::new("kubectl").arg("--namespace").arg(namespace()).args(arguments))
}

/// Runs kubectl, which has to succeed.
pub(crate) fn kubectl(arguments: &[&str]) -> String {
    try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
}

/// Reads an object, or a list of objects.
pub(crate) fn get(arguments: &[&str]) -> Value {
    let text = kubectl(&[&["get", "--output", "json"], arguments].concat());
    serde_json::from_str(&text).unwrap()
}

/// Creates or changes an object.
pub(crate) fn apply(object: &Value) {
    let mut kubectl = Command::new("kubectl")
        .args(["--namespace", &namespace(), "apply", "--filename", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    assert!(kubectl.wait().unwrap().success(), "kubectl apply");
}

/// The names of a service's pods that are not on their way out.
pub(crate) fn pods(service: &str) -> Vec<String> {
    let pods = get(&["pods", "--selector", &format!("app.kubernetes.io/name={service}")]);
    let living = pods["items"].as_array().unwrap().iter();
    living
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until a Deployment runs as it should.
pub(crate) fn rolled_out(service: &str) {
    kubectl(&["rollout", "status", &format!("deployment/{service}"), "--timeout=120s"]);
}

/// Asks until there is an answer, for `patience` at most.
pub(crate) fn eventually<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
