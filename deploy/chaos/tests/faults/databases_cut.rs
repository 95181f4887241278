//! A database is gone, by a closed port or by silence: 503 with `Retry-After` within two seconds, and mending without help.

use std::time::Duration;

use chaos::{Options, World, cut_proxy::Passage};
use e2e::{Answer, wait};

/// Within which an answer has to come, whatever is down.
const LIMIT: Duration = Duration::from_secs(2);
/// P6: within which service returns.
const MENDED: Duration = Duration::from_secs(10);

fn assert_unavailable(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 503, "{what}: {}", answer.text);
    assert_eq!(answer.body["error"], "dependency_unavailable", "{what}: {}", answer.text);
    assert!(answer.header("retry-after").is_some(), "{what}: no Retry-After");
    assert!(answer.took < LIMIT, "{what} took {:?}", answer.took);
}

async fn mongodb_is_gone(passage: Passage) {
    let world = World::start(Options::default()).await.unwrap();
    let (stack, group_id) = (world.stack.clone(), world.stack.settings.group_id);
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    stack.chat.send(&alice.access_token, group_id, "Before").await.unwrap().expect(201).unwrap();
    world.mongodb.set(passage);
    for round in 1..=3 {
        let (sent, read, activity) = tokio::join!(
            stack.chat.send(&alice.access_token, group_id, "Meanwhile"),
            stack.chat.history(&alice.access_token, group_id, ""),
            stack.chat.activity(&alice.access_token, group_id),
        );
        for (answer, what) in [(sent, "send"), (read, "history"), (activity, "activity")] {
            let answer = answer.unwrap();
            assert_unavailable(&answer, &format!("{passage:?}, round {round}, {what}"));
            println!("{passage:?}: {what} refused in {:?}", answer.took);
        }
    }
    // From memory: no store is asked.
    stack.chat.groups(Some(&alice.access_token)).await.unwrap().expect(200).unwrap();
    assert!(world.mongodb.cuts() > 0, "the cut hit no connection");

    world.mongodb.set(Passage::Open);
    let took = wait::until(MENDED, "messages are sent again", async || {
        Ok(stack.chat.send(&alice.access_token, group_id, "After").await?.status == 201)
    });
    println!("{passage:?}: mended after {:?}", took.await.unwrap());
    let history = stack.chat.whole_history(&alice.access_token, group_id).await.unwrap();
    for (message, seq) in history.iter().zip(1..) {
        assert_eq!(message["seq"], seq, "a hole: {history:?}");
    }
    world.end().await.unwrap();
}

async fn postgres_is_gone(passage: Passage) {
    let world = World::start(Options::default()).await.unwrap();
    let stack = world.stack.clone();
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    world.postgres.set(passage);
    for round in 1..=3 {
        let (login, group, me) = tokio::join!(
            stack.auth.try_login(&stack.settings.bob),
            stack.auth.group(Some(&alice.access_token), stack.settings.group_id),
            stack.auth.refresh(&alice.refresh_token),
        );
        for (answer, what) in [(login, "login"), (group, "group"), (me, "refresh")] {
            let answer = answer.unwrap();
            assert_unavailable(&answer, &format!("{passage:?}, round {round}, {what}"));
            println!("{passage:?}: {what} refused in {:?}", answer.took);
        }
        stack.auth.jwks().await.unwrap().expect(200).unwrap();
    }
    assert!(world.postgres.cuts() > 0, "the cut hit no connection");
    assert_eq!(stack.auth.peer.get("/health").send().await.unwrap().status, 200);
    assert_eq!(stack.auth.admin.get("/livez").send().await.unwrap().status, 200);

    world.postgres.set(Passage::Open);
    let took = wait::until(MENDED, "people log in again", async || {
        Ok(stack.auth.try_login(&stack.settings.bob).await?.status == 200)
    });
    println!("{passage:?}: mended after {:?}", took.await.unwrap());
    stack.auth.refresh(&alice.refresh_token).await.unwrap().expect(200).unwrap();
    world.end().await.unwrap();
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn mongodb_refuses_connections() {
    mongodb_is_gone(Passage::Refused).await;
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn mongodb_is_silent() {
    mongodb_is_gone(Passage::Swallowed).await;
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn postgresql_refuses_connections() {
    postgres_is_gone(Passage::Refused).await;
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn postgresql_is_silent() {
    postgres_is_gone(Passage::Swallowed).await;
}
