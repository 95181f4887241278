//! Counts on auth-api's metrics, alone: anything else that runs beside it would be counted too.

use e2e::{Stack, metrics};

/// A renewal of chat-api's own token may fall into the first round by chance, not into both.
#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn two_hundred_messages_cost_auth_api_no_request() {
    let stack = Stack::from_env().unwrap();
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    stack.chat.send(&alice.access_token, stack.settings.group_id, "Warm").await.unwrap().expect(201).unwrap();
    let mut growth = Vec::new();
    for _ in 0..2 {
        let before = metrics::scrape(&stack.auth.admin).await.unwrap();
        for number in 1..=200 {
            let content = format!("Message {number} of 200");
            let sent = stack.chat.send(&alice.access_token, stack.settings.group_id, &content).await.unwrap();
            sent.expect(201).unwrap();
        }
        growth = metrics::scrape(&stack.auth.admin).await.unwrap().growth_since(&before);
        if growth.is_empty() {
            break;
        }
    }
    assert!(growth.is_empty(), "auth-api got {growth:?}");
}
