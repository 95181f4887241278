//! Sessions: cookies, refreshing, logging out, revoking.

use serde_json::json;

use crate::{SOON, alice, bob, stack};

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_cookie_reads_at_auth_api_and_nothing_else() {
    let stack = stack();
    let alice = alice(&stack).await;
    let group_id = stack.settings.group_id;
    for path in ["/auth/me".to_owned(), format!("/api/auth/groups/{group_id}/members")] {
        let read = stack.auth.peer.get(&path).header("cookie", &alice.cookie).send().await.unwrap();
        assert_eq!(read.status, 200, "{path}: {}", read.text);
    }
    let write = stack.auth.peer.post("/api/auth/groups").header("cookie", &alice.cookie);
    write.json(&json!({ "name": "By cookie" })).send().await.unwrap().expect(401).unwrap();
    let chat = stack.chat.peer.get("/api/chat/groups").header("cookie", &alice.cookie);
    chat.send().await.unwrap().expect_problem(401, "Authentication required").unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_bad_bearer_is_not_saved_by_a_good_cookie() {
    let stack = stack();
    let alice = alice(&stack).await;
    let path = format!("/api/auth/groups/{}", stack.settings.group_id);
    let call = stack.auth.peer.get(&path).header("cookie", &alice.cookie).bearer("no.good.token");
    call.send().await.unwrap().expect_error(401, "invalid_token").unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn me_says_who_is_logged_in() {
    let stack = stack();
    let bob = bob(&stack).await;
    for prefix in ["", "/api"] {
        let me = stack.auth.peer.get(&format!("{prefix}/auth/me")).bearer(&bob.access_token).send().await;
        let me = me.unwrap().expect(200).unwrap();
        assert_eq!(me.body["id"], bob.user_id.to_string(), "{}", me.text);
        assert_eq!(me.body["email"], stack.settings.bob.email);
    }
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_wrong_password_and_an_unknown_address_look_alike() {
    let stack = stack();
    let mut wrong = stack.settings.bob.clone();
    wrong.password = "not this one".to_owned();
    let mut unknown = wrong.clone();
    // Another one each time: failures are counted by address, for an hour.
    unknown.email = format!("nobody-{}@example.com", uuid::Uuid::now_v7());
    let wrong = stack.auth.try_login(&wrong).await.unwrap().expect(401).unwrap();
    let unknown = stack.auth.try_login(&unknown).await.unwrap().expect(401).unwrap();
    assert_eq!(wrong.body["detail"], unknown.body["detail"]);
    assert_eq!(wrong.body["error"], unknown.body["error"]);
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_session() {
    let stack = stack();
    let session = bob(&stack).await;
    let second = stack.auth.refresh(&session.refresh_token).await.unwrap().expect(200).unwrap();
    let second_token = second.text_at("/refresh_token").unwrap();
    assert_ne!(second_token, session.refresh_token);
    let third = stack.auth.refresh(second_token).await.unwrap().expect(200).unwrap();
    stack.chat.groups(third.text_at("/access_token").ok()).await.unwrap().expect(200).unwrap();
    // Two generations old: no network hiccup explains that.
    stack.auth.refresh(&session.refresh_token).await.unwrap().expect_error(400, "invalid_grant").unwrap();
    let newest = third.text_at("/refresh_token").unwrap();
    stack.auth.refresh(newest).await.unwrap().expect_error(400, "invalid_grant").unwrap();
    let access = third.text_at("/access_token").unwrap();
    e2e::wait::until(SOON, "chat-api refuses the stolen session", async || {
        Ok(stack.chat.groups(Some(access)).await?.status == 401)
    })
    .await
    .unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_logged_out_token_is_refused_at_chat_api_within_three_seconds() {
    let stack = stack();
    let session = bob(&stack).await;
    let other = bob(&stack).await;
    stack.chat.groups(Some(&session.access_token)).await.unwrap().expect(200).unwrap();
    let out = stack.auth.logout(&session.access_token).await.unwrap();
    assert!((200..300).contains(&out.status), "{}", out.text);
    e2e::wait::until(SOON, "chat-api refuses the logged-out token", async || {
        Ok(stack.chat.groups(Some(&session.access_token)).await?.status == 401)
    })
    .await
    .unwrap();
    stack.auth.refresh(&session.refresh_token).await.unwrap().expect_error(400, "invalid_grant").unwrap();
    let cookie = stack.auth.peer.get("/auth/me").header("cookie", &session.cookie).send().await.unwrap();
    assert_eq!(cookie.status, 401, "the cookie outlived the session: {}", cookie.text);
    stack.chat.groups(Some(&other.access_token)).await.unwrap().expect(200).unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_revoked_service_token_is_refused_at_chat_api_within_three_seconds() {
    let stack = stack();
    let client = &stack.settings.mozaiks_runtime_service;
    let token = stack.auth.service_token(client, None).await.unwrap();
    let other = stack.auth.service_token(client, None).await.unwrap();
    let query = format!("org_id={}&limit=1", stack.settings.org_id);
    let read =
        async |token: &str| Ok(stack.chat.history(token, stack.settings.group_id, &query).await?.status);
    assert_eq!(read(&token).await.unwrap_or_else(|error: anyhow::Error| panic!("{error}")), 200);
    stack.auth.revoke(client, &token).await.unwrap().expect(200).unwrap();
    e2e::wait::until(SOON, "chat-api refuses the revoked token", async || Ok(read(&token).await? == 401))
        .await
        .unwrap();
    assert_eq!(read(&other).await.unwrap_or_else(|error: anyhow::Error| panic!("{error}")), 200);
}
