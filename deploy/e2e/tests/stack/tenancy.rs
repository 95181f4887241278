//! Another organization's data reads exactly like data that does not exist.

use e2e::Answer;
use serde_json::json;
use uuid::Uuid;

use crate::{alice, carol, stack};

/// The members of a problem that may not tell a foreign id from an unknown one.
fn shape(answer: &Answer) -> (u16, String, String) {
    let text = |pointer| answer.text_at(pointer).unwrap_or_default().to_owned();
    (answer.status, text("/error"), text("/detail"))
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_foreign_group_at_auth_api_is_404_like_an_unknown_one() {
    let stack = stack();
    let (carol, token) = (carol(&stack).await, "carol");
    let unknown = Uuid::now_v7();
    let foreign = stack.auth.group(Some(&carol.access_token), stack.settings.group_id).await.unwrap();
    let nothing = stack.auth.group(Some(&carol.access_token), unknown).await.unwrap();
    assert_eq!(shape(&foreign), shape(&nothing), "{token}");
    assert_eq!((foreign.status, &foreign.body["error"]), (404, &json!("not_found")));
    let foreign = stack.auth.members(Some(&carol.access_token), stack.settings.group_id).await.unwrap();
    let nothing = stack.auth.members(Some(&carol.access_token), unknown).await.unwrap();
    assert_eq!(shape(&foreign), shape(&nothing));
    let by_cookie = stack.auth.peer.get(&format!("/api/auth/groups/{}", stack.settings.group_id));
    let by_cookie = by_cookie.header("cookie", &carol.cookie).send().await.unwrap();
    assert_eq!(shape(&by_cookie), shape(&nothing));
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_foreign_group_at_chat_api_is_404_like_an_unknown_one() {
    let stack = stack();
    let token = carol(&stack).await.access_token;
    let sent = {
        let alice = alice(&stack).await;
        let sent = stack.chat.send(&alice.access_token, stack.settings.group_id, "Ours").await.unwrap();
        sent.expect(201).unwrap().text_at("/id").unwrap().to_owned()
    };
    let (foreign, unknown) = (stack.settings.group_id, Uuid::now_v7());
    let chat = &stack.chat;
    for (one, other) in [
        (chat.group(&token, foreign).await, chat.group(&token, unknown).await),
        (chat.activity(&token, foreign).await, chat.activity(&token, unknown).await),
        (chat.history(&token, foreign, "").await, chat.history(&token, unknown, "").await),
        (chat.message(&token, foreign, &sent).await, chat.message(&token, unknown, &sent).await),
        (chat.send(&token, foreign, "x").await, chat.send(&token, unknown, "x").await),
        (chat.mark_read(&token, foreign, 1).await, chat.mark_read(&token, unknown, 1).await),
    ] {
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.status, 404, "{}", one.text);
        assert_eq!(shape(&one), shape(&other));
    }
    let groups = chat.groups(Some(&token)).await.unwrap().expect(200).unwrap();
    let items = groups.list_at("/items").unwrap();
    assert!(items.iter().all(|group| group["id"] != foreign.to_string()), "{}", groups.text);
    let message = chat.message(&token, stack.settings.carol_group_id, &sent).await.unwrap();
    assert_eq!(message.status, 404, "a foreign message through one's own group: {}", message.text);
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn naming_a_foreign_organization_does_not_help() {
    let stack = stack();
    let token = carol(&stack).await.access_token;
    let query = format!("org_id={}", stack.settings.org_id);
    let answer = stack.chat.history(&token, stack.settings.group_id, &query).await.unwrap();
    assert!(answer.status == 404 || answer.status == 400, "{}: {}", answer.status, answer.text);
}

/// A service bound to the demo organization may not be told about another; its token says so.
#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_service_without_this_audience_is_refused_before_anything_is_looked_up() {
    let stack = stack();
    let bound = stack.auth.service_token(&stack.settings.indexer_worker, None).await.unwrap();
    stack
        .auth
        .group(Some(&bound), stack.settings.group_id)
        .await
        .unwrap()
        .expect_error(401, "invalid_token")
        .unwrap();
    let query = format!("org_id={}", stack.settings.org_id);
    let answer = stack.chat.history(&bound, stack.settings.group_id, &query).await.unwrap();
    answer.expect_error(401, "invalid_token").unwrap();
}
