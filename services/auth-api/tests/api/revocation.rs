//! `POST /oauth/revoke` (RFC 7009).

use reqwest::Method;

use crate::helpers::{
    Ask, TestApp, credentials,
    fixtures::{BOUND, BROAD, NO_GRANT},
    tokens,
    wait::until,
};

#[tokio::test]
async fn v1_only_post_and_only_clients() {
    let app = TestApp::spawn().await;
    let answer = app.call(Method::GET, "/oauth/revoke?token=x").ask().await.expect(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    let nobody = app.post("/oauth/revoke").form(&[("token", "x")]).ask().await;
    nobody.oauth_error(401, "invalid_client");
}

#[tokio::test]
async fn v2_a_revoked_access_token_is_refused_everywhere_and_the_answer_is_empty() {
    let app = TestApp::spawn().await;
    let replica = TestApp::with().on(&app.database).spawn().await;
    let client = credentials(BOUND);
    let (token, other) = (app.service_token(&client).await, app.service_token(&client).await);
    let group = app.group_id().await;
    for app in [&app, &replica] {
        app.group(&token, group).await.expect(200);
    }
    let answer = app.revoke(&client, &token).await.expect(200);
    assert_eq!(answer.text, "");
    for app in [&app, &replica] {
        until("the token is refused", async || app.group(&token, group).await.status == 401).await;
        app.group(&token, group).await.problem(401, "invalid_token");
        app.group(&other, group).await.expect(200);
    }
    let late = TestApp::with().on(&app.database).spawn().await;
    late.group(&token, group).await.problem(401, "invalid_token");
}

#[tokio::test]
async fn v3_what_is_no_token_any_more_is_200() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
    let token = app.service_token(&client).await;
    app.revoke(&client, &token).await.expect(200);
    for text in [&*token, "x", "art_x", "a.b.c", &tokens::forged(&token), &"x".repeat(20_000)] {
        let answer = app.revoke(&client, text).await.expect(200);
        assert_eq!(answer.text, "");
    }
    let entries = "SELECT count(*) FROM revocations WHERE kind = 'jti'";
    assert_eq!(app.database.number(entries).await, 1, "a second time changes nothing");
}

#[tokio::test]
async fn v3_a_token_revoked_by_many_at_once_makes_one_entry() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
    let token = app.service_token(&client).await;
    let answers = futures_util::future::join_all((0..12).map(|_| app.revoke(&client, &token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    // More would add up until one entry about everything that its owner has replaces them.
    assert_eq!(app.database.number("SELECT count(*) FROM revocations WHERE kind = 'jti'").await, 1);
}

#[tokio::test]
async fn v4_the_hint_never_matters() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
    let watcher = app.demo_client("chat-api-service").await;
    for hint in ["refresh_token", "access_token", "who knows", ""] {
        let token = app.service_token(&client).await;
        let request = app.post("/oauth/revoke").basic_auth(&client.id, Some(&client.secret));
        request.form(&[("token", &*token), ("token_type_hint", hint)]).ask().await.expect(200);
        assert_eq!(app.introspect(&watcher, &token).await.body["active"], false, "{hint:?}");
    }
}

#[tokio::test]
async fn v5_without_a_token_it_is_400() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
    let request = app.post("/oauth/revoke").basic_auth(&client.id, Some(&client.secret));
    request.form(&[("token_type_hint", "access_token")]).ask().await.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn v6_a_revoked_refresh_token_takes_its_whole_family_along() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let newer = app.refresh(&session.refresh_token).await.expect(200);
    let form = [("token", newer.text_at("/refresh_token")), ("client_id", "first-party")];
    app.post("/oauth/revoke").form(&form).ask().await.expect(200);
    assert_eq!(app.refresh(newer.text_at("/refresh_token")).await.status, 400);
    let watcher = app.demo_client("chat-api-service").await;
    for token in [&session.access_token, newer.text_at("/access_token")] {
        assert_eq!(app.introspect(&watcher, token).await.body["active"], false);
        until("the access token is refused", async || app.me(token).await.status == 401).await;
    }
    app.get("/auth/me").header("cookie", &session.cookie).ask().await.expect(401);
}

#[tokio::test]
async fn v6_a_token_whose_successor_got_lost_still_revokes_its_family() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let lost = app.refresh(&session.refresh_token).await.expect(200);
    let form = [("token", &*session.refresh_token), ("client_id", "first-party")];
    app.post("/oauth/revoke").form(&form).ask().await.expect(200);
    assert_eq!(app.refresh(lost.text_at("/refresh_token")).await.status, 400);
}

#[tokio::test]
async fn v7_another_clients_token_stays() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&credentials(BOUND)).await;
    app.revoke(&credentials(BROAD), &token).await.oauth_error(400, "unauthorized_client");
    let session = app.login(&app.alice().await).await;
    for token in [&session.refresh_token, &session.access_token] {
        app.revoke(&credentials(NO_GRANT), token).await.oauth_error(400, "unauthorized_client");
    }
    let watcher = app.demo_client("chat-api-service").await;
    assert_eq!(app.introspect(&watcher, &token).await.body["active"], true);
    app.refresh(&session.refresh_token).await.expect(200);
}

#[tokio::test]
async fn v8_a_failed_authentication_is_401_with_a_challenge() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&credentials(BOUND)).await;
    let request = app.post("/oauth/revoke").basic_auth(BOUND, Some("aas_wrong"));
    let answer = request.form(&[("token", &*token)]).ask().await.oauth_error(401, "invalid_client");
    assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Basic")));
    assert_eq!(app.introspect(&credentials(BOUND), &token).await.body["active"], true);
}

#[tokio::test]
async fn a_user_takes_its_own_access_token_back() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let (first, second) = (app.login(&alice).await, app.login(&alice).await);
    let form = [("token", &*first.access_token), ("client_id", "first-party")];
    app.post("/oauth/revoke").form(&form).ask().await.expect(200);
    until("the token is refused", async || app.me(&first.access_token).await.status == 401).await;
    app.me(&second.access_token).await.expect(200);
    // One token, not the login.
    app.refresh(&first.refresh_token).await.expect(200);
}
