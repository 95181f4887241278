//! What operators rely on: health, readiness, the contract, and metrics on the admin port only.

use e2e::{http::Peer, metrics};
use serde_json::json;

use crate::stack;

/// Each service, main port and admin port.
fn services() -> [(&'static str, Peer, Peer); 2] {
    let stack = stack();
    [("auth-api", stack.auth.peer, stack.auth.admin), ("chat-api", stack.chat.peer, stack.chat.admin)]
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn every_service_is_healthy_ready_and_documented() {
    for (name, main, admin) in services() {
        let health = main.get("/health").send().await.unwrap().expect(200).unwrap();
        assert_eq!(health.body, json!({ "status": "ok" }), "{name}");
        for probe in ["/livez", "/readyz"] {
            admin.get(probe).send().await.unwrap().expect(200).unwrap();
        }
        let contract = main.get("/openapi.json").send().await.unwrap().expect(200).unwrap();
        assert!(contract.body["paths"].as_object().unwrap().len() > 3, "{name}");
    }
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn admin_paths_are_404_on_the_main_port() {
    for (name, main, _) in services() {
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = main.get(path).send().await.unwrap();
            assert_eq!(answer.status, 404, "{name}{path}");
        }
    }
}

/// Spec 001's names.
#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn chat_api_counts_under_the_names_of_the_migration_plan() {
    let stack = stack();
    let before = metrics::scrape(&stack.chat.admin).await.unwrap();
    let alice = crate::alice(&stack).await;
    for _ in 0..3 {
        stack.chat.groups(Some(&alice.access_token)).await.unwrap().expect(200).unwrap();
    }
    let after = metrics::scrape(&stack.chat.admin).await.unwrap();
    for (name, at_least) in [
        ("oauth2_token_validations_total", 3.0),
        ("oauth2_token_validation_duration_seconds_count", 3.0),
        ("oauth2_permission_checks_total", 3.0),
        ("oauth2_token_cache_hits_total", 2.0),
        ("jwks_key_cache_hits_total", 1.0),
    ] {
        let grown = after.sum(name, &[]) - before.sum(name, &[]);
        assert!(grown >= at_least, "{name} grew by {grown}");
    }
    assert!(after.sum("jwks_refresh_total", &[]) >= 1.0);
    assert!(after.sum("revocation_feed_age_seconds", &[]) < 35.0, "the feed is not followed");
}
