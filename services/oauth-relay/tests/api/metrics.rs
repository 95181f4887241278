//! The counters of the checklist.

use serde_json::json;

use crate::helpers::{TestApp, eventually, state};

const NAMES: [&str; 7] = [
    "waiters_registered_total",
    "delivered_total",
    "denied_total",
    "timed_out_total",
    "replaced_total",
    "unmatched_total",
    "capacity_total",
];

async fn counters(app: &TestApp) -> Vec<u64> {
    let mut counters = Vec::new();
    for name in NAMES {
        counters.push(app.http.metric(name).await);
    }
    counters
}

#[tokio::test(flavor = "multi_thread")]
async fn every_counter_is_there_from_the_start() {
    let app = TestApp::spawn().await;
    assert_eq!(counters(&app).await, [0; 7]);
    assert_eq!(app.http.waiters().await, 0);
    let metrics = app.http.admin("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    for name in NAMES {
        assert!(metrics.text.contains(&format!("# TYPE oauth_relay_{name} counter")), "{name}");
    }
    assert!(metrics.text.contains("# TYPE oauth_relay_waiters gauge"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_outcome_counts_once() {
    let app = TestApp::spawn_with(&[("OAUTH_MAX_WAITERS", "1")]).await;
    let name = state("counted");
    let mut delivered = app.wait_plain(Some(&name)).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    delivered.last_frame().await;
    assert_eq!(counters(&app).await, [1, 1, 0, 0, 0, 0, 0]);

    let mut denied = app.wait_plain(Some(&name)).await;
    app.http.callback(&[("error", "access_denied"), ("state", &name)]).await.is_denied();
    denied.last_frame().await;
    assert_eq!(counters(&app).await, [2, 1, 1, 0, 0, 0, 0]);

    let mut timed = app.register_extended(json!({ "state": name, "timeout": 1 })).await;
    assert_eq!(timed.last_frame().await["error"], "timeout");
    assert_eq!(counters(&app).await, [3, 1, 1, 1, 0, 0, 0]);

    let mut loser = app.wait_plain(Some(&name)).await;
    // In a full house a state's own slot still changes hands.
    let winner = app.wait_plain(Some(&name)).await;
    assert_eq!(loser.last_frame().await["error"], "replaced");
    assert_eq!(counters(&app).await, [5, 1, 1, 1, 1, 0, 0]);

    let mut refused = app.connect().await;
    refused.send(&json!({ "type": "REGISTER", "state": state("full") })).await;
    assert_eq!(refused.refusal().await.as_deref(), Some("capacity"));
    assert_eq!(counters(&app).await, [5, 1, 1, 1, 1, 0, 1]);

    drop(winner);
    eventually("the slot is freed", async || app.http.waiters().await == 0).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    assert_eq!(counters(&app).await, [5, 1, 1, 1, 1, 1, 1]);

    // What could not be read counts nowhere.
    app.http.callback_query("code=a&code=b").await.is_page(400, "Authorization Failed");
    assert_eq!(counters(&app).await, [5, 1, 1, 1, 1, 1, 1]);
    app.stop().await;
}
