//! The six success criteria of spec 000, one test each.

use serde_json::json;
use uuid::Uuid;

use crate::{alice, bob, stack};

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn alice_can_send_messages() {
    let stack = stack();
    let alice = alice(&stack).await;
    let body = json!({ "content": "Hello via OAuth!", "sender_id": alice.user_id });
    let group_id = stack.settings.group_id;
    let sent = stack.chat.post_message(Some(&alice.access_token), group_id, &body).await.unwrap();
    let sent = sent.expect(201).unwrap();
    assert_eq!(sent.body["content"], "Hello via OAuth!");
    assert_eq!(sent.body["sender_id"], alice.user_id.to_string());
    assert_eq!(sent.body["group_id"], group_id.to_string());
    assert_eq!(sent.body["org_id"], stack.settings.org_id.to_string());
    assert!(sent.number_at("/seq").unwrap() > 0 && sent.number_at("/change").unwrap() > 0);
    assert_eq!(sent.body["reply_count"], 0);
    assert_eq!(sent.body["reactions"], json!({}));
    assert!(sent.text_at("/created_at").unwrap().ends_with('Z'), "{}", sent.text);
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn chat_api_can_validate_groups() {
    let stack = stack();
    let client = &stack.settings.chat_api_service;
    let service = stack.auth.service_token(client, Some("groups:read")).await.unwrap();
    let group = stack.auth.group(Some(&service), stack.settings.group_id).await.unwrap().expect(200).unwrap();
    assert_eq!(group.body["id"], stack.settings.group_id.to_string());
    assert_eq!(group.body["org_id"], stack.settings.org_id.to_string());
    assert!(!group.text_at("/name").unwrap().is_empty());
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn chat_api_can_get_members() {
    let stack = stack();
    let client = &stack.settings.chat_api_service;
    let service = stack.auth.service_token(client, Some("groups:read")).await.unwrap();
    let members = stack.auth.members(Some(&service), stack.settings.group_id).await.unwrap();
    let members = members.expect(200).unwrap();
    let list = members.list_at("").unwrap();
    let alice = stack.settings.alice.user_id.unwrap().to_string();
    let alice = list.iter().find(|member| member["user_id"] == alice.as_str()).unwrap();
    assert_eq!(alice["email"], stack.settings.alice.email);
    for field in ["username", "role", "joined_at"] {
        assert!(alice[field].is_string(), "{field} in {alice}");
    }
}

/// Session, user token and service token, on both endpoints.
#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn no_authentication_flow_ends_in_401() {
    let stack = stack();
    let alice = alice(&stack).await;
    let group_id = stack.settings.group_id;
    let service = stack.auth.service_token(&stack.settings.chat_api_service, None).await.unwrap();
    for path in [format!("/api/auth/groups/{group_id}"), format!("/api/auth/groups/{group_id}/members")] {
        let session = stack.auth.peer.get(&path).header("cookie", &alice.cookie).send().await.unwrap();
        let user = stack.auth.peer.get(&path).bearer(&alice.access_token).send().await.unwrap();
        let service = stack.auth.peer.get(&path).bearer(&service).send().await.unwrap();
        let answers = [("session", session), ("user", user), ("service", service)];
        for (who, answer) in &answers {
            assert_eq!(answer.status, 200, "{path} as {who}: {}", answer.text);
            assert_eq!(answer.body, answers[0].1.body, "{path} as {who} reads differently");
        }
    }
    assert_eq!(stack.chat.groups(Some(&alice.access_token)).await.unwrap().status, 200);
}

/// By scope for services, by role and organization for users.
#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn authorization_is_by_scope_for_services_and_by_role_for_users() {
    let stack = stack();
    let group_id = stack.settings.group_id;
    let client = &stack.settings.chat_api_service;
    let limited = stack.auth.service_token(client, Some("revocations:read")).await.unwrap();
    for answer in [
        stack.auth.group(Some(&limited), group_id).await.unwrap(),
        stack.auth.members(Some(&limited), group_id).await.unwrap(),
    ] {
        answer
            .expect_problem(403, "Insufficient scope")
            .unwrap()
            .expect_error(403, "insufficient_scope")
            .unwrap();
    }
    let bob = bob(&stack).await;
    let refused = stack.auth.add_member(&bob.access_token, group_id, Uuid::now_v7()).await.unwrap();
    refused.expect_problem(403, "Permission denied").unwrap().expect_error(403, "permission_denied").unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn the_whole_flow_ends_in_mongodb() {
    let stack = stack();
    let alice = alice(&stack).await;
    let content = format!("From login to MongoDB {}", Uuid::now_v7());
    let sent = stack.chat.send(&alice.access_token, stack.settings.group_id, &content).await.unwrap();
    let seq = sent.expect(201).unwrap().number_at("/seq").unwrap();
    let timeline = stack.timeline().await.unwrap();
    let row = timeline.message(stack.settings.org_id, stack.settings.group_id, seq).await.unwrap().unwrap();
    assert_eq!(row.get_str("content").unwrap(), content);
    assert_eq!(row.get_str("sender_id").unwrap(), alice.user_id.to_string());
}
