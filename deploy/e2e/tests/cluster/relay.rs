//! oauth-relay, from another pod and over its own restart.

use std::time::Duration;

use e2e::http::{self, Peer};
use uuid::Uuid;

use crate::{
    cluster::{kubectl, rolled_out},
    driver::Driver,
};

/// The relay as a browser reaches it.
fn relay() -> Peer {
    Peer::new(http::client().unwrap(), &std::env::var("OAUTH_RELAY_URL").unwrap())
}

/// What the page of a callback is called.
fn called_back(relay: &Peer, path: &str) -> Option<(u16, String)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { relay.get(path).send().await.ok().map(|answer| (answer.status, answer.text)) })
}

/// Calls back until somebody waits.
fn delivered(relay: &Peer, state: &str, code: &str) {
    let path = format!("/oauth/callback?state={state}&code={code}");
    crate::cluster::eventually("the code is delivered", Duration::from_mins(1), || {
        let (status, page) = called_back(relay, &path)?;
        if status == 200 {
            assert!(page.contains("Authorization Complete"), "{page}");
            return Some(());
        }
        // Nobody waits yet: the page says that nothing was delivered.
        assert!(!page.contains("Authorization Complete"), "{status}: {page}");
        None
    });
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn a_service_in_another_pod_gets_its_code() {
    let relay = relay();
    let state = Uuid::new_v4().simple().to_string();
    let driver = Driver::start("mozaiks-runtime-service", &["wait-for-code", &state]);
    delivered(&relay, &state, "the-code");
    let report = driver.report(Duration::from_secs(30));
    assert_eq!(report["code"], "the-code", "{report}");
    assert_eq!(report["success"], true, "{report}");
}

/// No code is lost, and no page says "complete" for one that was not delivered.
#[test]
#[ignore = "needs an installed platform: make e2e"]
fn a_restart_loses_no_code_and_promises_none() {
    let relay = relay();
    let state = Uuid::new_v4().simple().to_string();
    let driver = Driver::start("mozaiks-runtime-service", &["wait-for-code", &state]);
    kubectl(&["rollout", "restart", "deployment/oauth-relay"]);
    rolled_out("oauth-relay");
    delivered(&relay, &state, "after-the-restart");
    assert_eq!(driver.report(Duration::from_secs(30))["code"], "after-the-restart");
}
