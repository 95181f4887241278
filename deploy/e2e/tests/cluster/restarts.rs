//! Nobody notices that pods are replaced.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cluster::{get, kubectl, namespace, pods, rolled_out},
    driver::Driver,
};

const SECONDS: u64 = 60;
const REQUESTS_PER_SECOND: u64 = 60;

/// Steady traffic from inside the cluster while `disturb` happens; nothing of it fails and no message is lost.
fn undisturbed(disturb: impl FnOnce()) -> Value {
    let (seconds, rate) = (SECONDS.to_string(), REQUESTS_PER_SECOND.to_string());
    let driver = Driver::start("chat-api-service", &["traffic", &seconds, &rate]);
    // So that connections are open and in use when it happens.
    std::thread::sleep(Duration::from_secs(5));
    disturb();
    assert_eq!(driver.phase(), "Running", "the traffic ended before the disturbance did: {}", driver.log());
    let report = driver.report(Duration::from_secs(SECONDS + 60));
    println!("{report}");
    assert!(report["requests"].as_u64().unwrap() >= 3000, "{report:#}");
    assert_eq!(report["failed"], 0, "{report:#}");
    assert_eq!(report["lost"], 0, "{report:#}");
    assert!(report["messages"].as_u64().unwrap() > 300, "{report:#}");
    report
}

fn restarted_under_traffic(service: &str) {
    let before = pods(service);
    assert_eq!(before.len(), 2, "{service} runs as two");
    undisturbed(|| {
        kubectl(&["rollout", "restart", &format!("deployment/{service}")]);
        rolled_out(service);
    });
    assert!(pods(service).iter().all(|pod| !before.contains(pod)), "{service} was not restarted");
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn a_restart_of_auth_api_fails_no_request() {
    restarted_under_traffic("auth-api");
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn a_restart_of_chat_api_fails_no_request() {
    restarted_under_traffic("chat-api");
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn a_restart_of_oauth_integrations_fails_no_request() {
    restarted_under_traffic("oauth-integrations");
}

/// Deletes a pod and returns how it ended: exit code, and time from the order to the end.
fn delete(pod: &str) -> (i64, Duration) {
    let mut watch: Child = Command::new("kubectl")
        .args(["--namespace", &namespace(), "get", "pod", pod, "--watch", "--output"])
        .arg("jsonpath={.status.containerStatuses[0].state.terminated.exitCode}{\"\\n\"}")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let ordered = Instant::now();
    kubectl(&["delete", "pod", pod, "--wait=false"]);
    let code = lines.map_while(Result::ok).find_map(|line| line.trim().parse().ok());
    let took = ordered.elapsed();
    let _ = watch.kill();
    let _ = watch.wait();
    (code.unwrap(), took)
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn a_deleted_pod_drains_and_ends_with_0() {
    undisturbed(|| {
        for service in ["auth-api", "chat-api", "oauth-integrations"] {
            let (code, took) = delete(&pods(service)[0]);
            println!("{service}: exit code {code} after {took:?}");
            assert_eq!(code, 0, "{service}");
            assert!(took < Duration::from_secs(25), "{service} took {took:?}");
            rolled_out(service);
        }
    });
    let restarts = get(&["pods", "--selector", "app.kubernetes.io/part-of=platform"]);
    for pod in restarts["items"].as_array().unwrap() {
        assert_eq!(
            pod["status"]["containerStatuses"][0]["restartCount"], 0,
            "{} was restarted by the kubelet",
            pod["metadata"]["name"]
        );
    }
}
