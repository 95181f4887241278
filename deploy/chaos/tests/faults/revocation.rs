//! Logged out, revoked, disabled: refused within three seconds, also where the deny-list had to be loaded anew.

use chaos::{Options, Service, World};
use e2e::{ChatApi, Session, Stack, wait};

use crate::{SOON, answers, chat};

/// A token each, and how it ends.
struct Ended {
    logged_out: Session,
    disabled: Session,
    /// A service's, revoked by its `jti`.
    revoked: String,
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn ended_tokens_are_refused_within_three_seconds_and_by_a_chat_api_started_later() {
    let mut world = World::start(Options::default()).await.unwrap();
    let (stack, group_id) = (world.stack.clone(), world.stack.settings.group_id);
    let alice = stack.auth.login(&stack.settings.alice).await.unwrap();
    let tokens = give_out(&stack).await;
    // The way back has to be found first.
    world.auth.kill().await.unwrap();
    answers(&stack.chat, &tokens.logged_out, group_id, 200, "it is good without auth-api").await.unwrap();
    world.auth.start().await.unwrap();

    stack.auth.logout(&tokens.logged_out.access_token).await.unwrap();
    let took = answers(&stack.chat, &tokens.logged_out, group_id, 401, "logged out").await.unwrap();
    println!("logged out: refused after {took:?}");
    let client = &stack.settings.mozaiks_runtime_service;
    stack.auth.revoke(client, &tokens.revoked).await.unwrap().expect(200).unwrap();
    let took =
        wait::until(SOON, "revoked", async || service_reads(&stack, &stack.chat, &tokens.revoked, 401).await);
    println!("revoked: refused after {:?}", took.await.unwrap());
    world.auth.run(&["users", "disable", &stack.settings.bob.email]).await.unwrap();
    let took = answers(&stack.chat, &tokens.disabled, group_id, 401, "disabled").await.unwrap();
    println!("disabled: refused after {took:?}");
    stack.auth.try_login(&stack.settings.bob).await.unwrap().expect(401).unwrap();

    let later = world.another_chat_api(&[]).await.unwrap();
    all_refused(&stack, &later, &tokens).await;
    // Ready means that the deny-list is loaded, and that the others still pass.
    chat(&later).history(&alice.access_token, group_id, "").await.unwrap().expect(200).unwrap();
    let rollback = world.another_chat_api(&[("USE_OAUTH2_AUTH", "false")]).await.unwrap();
    all_refused(&stack, &rollback, &tokens).await;
    world.end().await.unwrap();
}

async fn give_out(stack: &Stack) -> Ended {
    let revoked = stack.auth.service_token(&stack.settings.mozaiks_runtime_service, None).await.unwrap();
    let tokens = Ended {
        logged_out: stack.auth.login(&stack.settings.bob).await.unwrap(),
        disabled: stack.auth.login(&stack.settings.bob).await.unwrap(),
        revoked,
    };
    for session in [&tokens.logged_out, &tokens.disabled] {
        answers(&stack.chat, session, stack.settings.group_id, 200, "it is good at first").await.unwrap();
    }
    assert!(service_reads(stack, &stack.chat, &tokens.revoked, 200).await.unwrap());
    tokens
}

/// At the first request, without any grace.
async fn all_refused(stack: &Stack, service: &Service, tokens: &Ended) {
    let chat = chat(service);
    for (session, what) in [(&tokens.logged_out, "logged out"), (&tokens.disabled, "disabled")] {
        let answer = chat.history(&session.access_token, stack.settings.group_id, "").await.unwrap();
        assert_eq!(answer.status, 401, "{what}: {}", answer.text);
    }
    assert!(service_reads(stack, &chat, &tokens.revoked, 401).await.unwrap(), "revoked");
}

async fn service_reads(stack: &Stack, chat: &ChatApi, token: &str, status: u16) -> anyhow::Result<bool> {
    let query = format!("limit=1&org_id={}", stack.settings.org_id);
    Ok(chat.history(token, stack.settings.group_id, &query).await?.status == status)
}
