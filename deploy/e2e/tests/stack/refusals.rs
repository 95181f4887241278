//! Bad tokens and bad input: the right status, a clear sentence, no effect.

use e2e::claims;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{alice, bob, own_group, stack};

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn without_a_token_every_endpoint_says_authentication_required() {
    let stack = stack();
    let group_id = stack.settings.group_id;
    let answers = [
        stack.auth.group(None, group_id).await.unwrap(),
        stack.auth.members(None, group_id).await.unwrap(),
        stack.chat.groups(None).await.unwrap(),
        // Authentication comes before validation.
        stack.chat.post_message(None, group_id, &json!({ "nonsense": true })).await.unwrap(),
        stack.chat.peer.post("/api/chat/groups/no-uuid/messages").send().await.unwrap(),
    ];
    for answer in answers {
        let answer = answer.expect_problem(401, "Authentication required").unwrap();
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
        assert!(!challenge.contains("error="), "no credentials is no error (RFC 6750): {challenge}");
        assert!(answer.header("content-type").unwrap().starts_with("application/problem+json"));
        assert_eq!(answer.body["request_id"].as_str(), answer.header("x-request-id"));
        assert_eq!(answer.body["status"], 401);
    }
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_token_that_was_changed_by_one_claim_is_invalid() {
    let stack = stack();
    let alice = alice(&stack).await;
    let far = alice.token().unwrap().number("exp").unwrap() + 86_400;
    for (claim, value) in [
        ("exp", json!(far)),
        ("sub", json!(Uuid::now_v7())),
        ("org_id", json!(Uuid::now_v7())),
        ("permissions", json!(["org:manage"])),
    ] {
        let forged = claims::forge(&alice.access_token, claim, value).unwrap();
        let answer = stack.chat.groups(Some(&forged)).await.unwrap();
        let answer = answer.expect_error(401, "invalid_token").unwrap();
        let challenge = answer.header("www-authenticate").unwrap().to_owned();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_token_in_the_query_string_is_no_token() {
    let stack = stack();
    let alice = alice(&stack).await;
    let path = format!("/api/chat/groups?access_token={}", alice.access_token);
    stack.chat.peer.get(&path).send().await.unwrap().expect(401).unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn bad_messages_are_refused_with_a_reason_and_without_effect() {
    let stack = stack();
    let alice = alice(&stack).await;
    let group_id = own_group(&stack, &alice, "Bad input").await;
    let send = async |body: &Value| {
        stack.chat.post_message(Some(&alice.access_token), group_id, body).await.unwrap()
    };
    let bad: [Value; 8] = [
        json!({}),
        json!({ "content": "" }),
        json!({ "content": "   " }),
        json!({ "content": 7 }),
        json!({ "content": "x".repeat(50_000) }),
        json!({ "content": "x", "client_message_id": "not a uuid" }),
        json!({ "content": "x", "thread_root": Uuid::now_v7() }),
        json!([]),
    ];
    for body in &bad {
        let answer = send(body).await;
        let shown: String = body.to_string().chars().take(80).collect();
        assert!(matches!(answer.status, 400 | 404 | 422), "{shown} got {}: {}", answer.status, answer.text);
        assert!(!answer.text_at("/detail").unwrap().is_empty(), "{shown}");
    }
    assert_eq!(send(&json!({ "content": "x".repeat(2_000_000) })).await.status, 413);
    let other = json!({ "content": "x", "sender_id": stack.settings.bob.user_id });
    send(&other).await.expect_error(403, "sender_mismatch").unwrap();
    let history = stack.chat.whole_history(&alice.access_token, group_id).await.unwrap();
    assert!(history.is_empty(), "something was stored: {history:?}");
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn bad_pages_are_refused() {
    let stack = stack();
    let bob = bob(&stack).await;
    for query in ["limit=0", "limit=201", "limit=x", "before_seq=5&after_seq=1", "before_seq=-x"] {
        let answer = stack.chat.history(&bob.access_token, stack.settings.group_id, query).await.unwrap();
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert!(!answer.text_at("/detail").unwrap().is_empty());
    }
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_member_of_the_organization_who_is_not_in_the_group_gets_403() {
    let stack = stack();
    let (alice, bob) = (alice(&stack).await, bob(&stack).await);
    let group_id = own_group(&stack, &alice, "Without Bob").await;
    stack.auth.remove_member(&alice.access_token, group_id, bob.user_id).await.unwrap();
    e2e::wait::until(crate::SOON, "chat-api refuses the removed member", async || {
        let answer = stack.chat.history(&bob.access_token, group_id, "").await?;
        Ok(answer.status == 403 && answer.body["error"] == "not_a_member")
    })
    .await
    .unwrap();
    let sent = stack.chat.send(&bob.access_token, group_id, "Still here?").await.unwrap();
    sent.expect_error(403, "not_a_member").unwrap();
}
