//! `USE_OAUTH2_AUTH=false` is the way back: the same behaviour outside, by asking auth-api each time.

use chaos::{Options, World};
use e2e::{Answer, ChatApi, claims, metrics};
use serde_json::json;
use uuid::Uuid;

use crate::chat;

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn both_ways_of_checking_tokens_answer_alike() {
    let mut world = World::start(Options::default()).await.unwrap();
    let old = world.another_chat_api(&[("USE_OAUTH2_AUTH", "false")]).await.unwrap();
    let (stack, old) = (world.stack.clone(), chat(&old));
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    let carol = stack.auth.login(&stack.settings.carol).await.unwrap();
    let elsewhere = stack.auth.service_token(&stack.settings.chat_api_service, None).await.unwrap();
    let forged = claims::forge(&alice.access_token, "sub", json!(Uuid::now_v7())).unwrap();
    let cases: [(&str, Option<&str>, u16); 6] = [
        ("a member", Some(&alice.access_token), 200),
        ("another organization", Some(&carol.access_token), 404),
        ("nobody", None, 401),
        ("a forger", Some(&forged), 401),
        ("a token for another audience", Some(&elsewhere), 401),
        ("garbage", Some("garbage"), 401),
    ];
    for (who, token, status) in cases {
        let new = read(&stack.chat, token, stack.settings.group_id).await;
        let old = read(&old, token, stack.settings.group_id).await;
        assert_eq!(new.status, status, "{who}: {}", new.text);
        assert_eq!((old.status, &old.body["error"]), (new.status, &new.body["error"]), "{who}: {}", old.text);
        assert_eq!(old.header("www-authenticate"), new.header("www-authenticate"), "{who}");
    }
    let before = metrics::scrape(&stack.auth.admin).await.unwrap();
    let body = json!({ "content": "Sent the old way" });
    old.post_message(Some(&alice.access_token), stack.settings.group_id, &body)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
    let after = metrics::scrape(&stack.auth.admin).await.unwrap();
    let asked = after.requests_of("/oauth/introspect") - before.requests_of("/oauth/introspect");
    assert!(asked >= 1.0, "auth-api was not asked: the switch does nothing");
    world.end().await.unwrap();
}

async fn read(chat: &ChatApi, token: Option<&str>, group_id: Uuid) -> Answer {
    chat.peer.get(&format!("/api/chat/groups/{group_id}/messages")).maybe_bearer(token).send().await.unwrap()
}
