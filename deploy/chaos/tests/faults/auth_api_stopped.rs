//! auth-api is gone: what was known goes on. It comes back: what changed there counts.

use std::time::Duration;

use chaos::{Options, World};
use e2e::wait;

use crate::{answers, chat};

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn messages_are_sent_and_read_while_auth_api_is_down_and_removals_bite_when_it_is_back() {
    let mut world = World::start(Options::default()).await.unwrap();
    let (stack, group_id) = (world.stack.clone(), world.stack.settings.group_id);
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    let bob = stack.auth.login(&stack.settings.bob).await.unwrap();
    stack.chat.send(&alice.access_token, group_id, "Before").await.unwrap().expect(201).unwrap();

    world.auth.kill().await.unwrap();
    stack.auth.jwks().await.unwrap_err();
    let mut slowest = Duration::ZERO;
    for number in 1..=100 {
        let content = format!("Message {number} without auth-api");
        let sent =
            stack.chat.send(&alice.access_token, group_id, &content).await.unwrap().expect(201).unwrap();
        let read =
            stack.chat.history(&bob.access_token, group_id, "limit=5").await.unwrap().expect(200).unwrap();
        assert_eq!(read.number_at("/last_seq").unwrap(), sent.number_at("/seq").unwrap());
        slowest = slowest.max(sent.took).max(read.took);
    }
    assert!(slowest < Duration::from_secs(2), "the slowest answer took {slowest:?}");
    println!("100 sends and reads without auth-api, the slowest in {slowest:?}");

    world.auth.start().await.unwrap();
    stack.auth.remove_member(&alice.access_token, group_id, bob.user_id).await.unwrap().expect(204).unwrap();
    let took = answers(&stack.chat, &bob, group_id, 403, "the removed member is refused").await.unwrap();
    println!("removed after the restart of auth-api: refused after {took:?}");
    stack.auth.add_member(&alice.access_token, group_id, bob.user_id).await.unwrap().expect(201).unwrap();
    answers(&stack.chat, &bob, group_id, 200, "the member who is back may read").await.unwrap();
    world.end().await.unwrap();
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn a_chat_api_that_never_met_auth_api_answers_503_within_two_seconds_and_mends_itself() {
    let mut world = World::start(Options::default()).await.unwrap();
    let (stack, group_id) = (world.stack.clone(), world.stack.settings.group_id);
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    world.chat.stop().await.unwrap();
    world.auth.stop().await.unwrap();
    world.chat.spawn().unwrap();
    wait::until(Duration::from_secs(10), "chat-api is alive", async || {
        Ok(stack.chat.admin.get("/livez").send().await?.status == 200)
    })
    .await
    .unwrap();
    assert_eq!(stack.chat.admin.get("/readyz").send().await.unwrap().status, 503);
    let refused = stack.chat.history(&alice.access_token, group_id, "").await.unwrap();
    let refused = refused.expect_error(503, "dependency_unavailable").unwrap();
    assert!(
        refused.header("retry-after").is_some() && refused.took < Duration::from_secs(2),
        "{:?}",
        refused.took
    );

    world.auth.start().await.unwrap();
    wait::until(Duration::from_secs(10), "chat-api mends itself", async || {
        Ok(stack.chat.history(&alice.access_token, group_id, "").await?.status == 200)
    })
    .await
    .unwrap();
    world.chat.ready().await.unwrap();
    world.end().await.unwrap();
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn removals_made_while_chat_api_was_down_count_at_its_start() {
    let mut world = World::start(Options::default()).await.unwrap();
    let (stack, group_id) = (world.stack.clone(), world.stack.settings.group_id);
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    let bob = stack.auth.login(&stack.settings.bob).await.unwrap();
    answers(&stack.chat, &bob, group_id, 200, "Bob may read").await.unwrap();
    world.chat.kill().await.unwrap();
    stack.auth.remove_member(&alice.access_token, group_id, bob.user_id).await.unwrap().expect(204).unwrap();
    world.chat.start().await.unwrap();
    let first = chat(&world.chat).history(&bob.access_token, group_id, "").await.unwrap();
    first.expect_error(403, "not_a_member").unwrap();
    world.end().await.unwrap();
}
