//! `POST /oauth/introspect` (RFC 7662).

use reqwest::Method;
use serde_json::json;

use crate::helpers::{
    Answer, Ask, TestApp, credentials,
    fixtures::{BOUND, BROAD, PUBLIC, WEAK},
    process, tokens,
};

const INACTIVE: &str = r#"{"active":false}"#;

/// The answer, which says nothing but that the token does not count.
#[track_caller]
fn inactive(answer: Answer) {
    let answer = answer.expect(200);
    assert_eq!(answer.text, INACTIVE);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn i1_whoever_does_not_say_who_it_is_gets_401_whatever_the_token() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&credentials(BOUND)).await;
    for token in [&*token, "garbage"] {
        let form = [("token", token)];
        let nobody = app.post("/oauth/introspect").form(&form).ask().await.expect(401);
        assert!(nobody.header("www-authenticate").is_some());
        let wrong =
            app.post("/oauth/introspect").basic_auth(BOUND, Some("aas_wrong")).form(&form).ask().await;
        let wrong = wrong.oauth_error(401, "invalid_client");
        assert!(wrong.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Basic")));
        let bearer = app.post("/oauth/introspect").bearer_auth("garbage").form(&form).ask().await;
        let bearer = bearer.oauth_error(401, "invalid_token");
        assert!(bearer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")));
    }
    let empty = app.post("/oauth/introspect").ask().await;
    assert_eq!(empty.status, 401, "authentication comes before validation: {}", empty.text);
}

#[tokio::test]
async fn i2_what_does_not_count_is_inactive_and_nothing_more() {
    let app = TestApp::with().set("ACCESS_TOKEN_TTL_SECONDS", 10).spawn().await;
    let watcher = app.demo_client("chat-api-service").await;
    let client = credentials(BOUND);
    let token = app.service_token(&client).await;
    let mut unsigned: Vec<&str> = token.split('.').collect();
    unsigned[2] = "";
    let garbage = [
        "x",
        "a.b.c",
        "art_x",
        "art_",
        "",
        &tokens::forged(&token),
        &unsigned.join("."),
        &format!("{token}.x"),
    ]
    .map(str::to_owned);
    for text in &garbage {
        let answer = app.introspect(&watcher, text).await;
        if text.is_empty() {
            answer.oauth_error(400, "invalid_request");
        } else {
            inactive(answer);
        }
    }
    inactive(app.introspect(&watcher, &"x".repeat(20_000)).await);
    app.revoke(&client, &token).await.expect(200);
    inactive(app.introspect(&watcher, &token).await);
    inactive(app.introspect(&client, &token).await);
}

#[tokio::test]
async fn i2_an_expired_token_is_inactive_to_the_second() {
    let app = TestApp::spawn().await;
    let watcher = app.demo_client("chat-api-service").await;
    let identity = app.identity().await;
    let good = app.service_token(&credentials(BOUND)).await;
    let ended = tokens::resign(&identity, &good, |claims| {
        (claims.iat, claims.exp) = (claims.iat - 901, claims.exp - 901);
    });
    inactive(app.introspect(&watcher, &ended).await);
    let alive = tokens::resign(&identity, &good, |claims| {
        (claims.iat, claims.exp) = (claims.iat - 800, claims.exp - 800);
    });
    assert_eq!(app.introspect(&watcher, &alive).await.body["active"], true);
}

#[tokio::test]
async fn i2_another_clients_token_looks_like_none_without_the_scope() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&credentials(BROAD)).await;
    inactive(app.introspect(&credentials(BOUND), &token).await);
    let user = app.login(&app.alice().await).await;
    inactive(app.introspect(&credentials(BOUND), &user.access_token).await);
    inactive(app.introspect(&credentials(BOUND), &user.refresh_token).await);
    let own = app.introspect(&credentials(BROAD), &token).await.expect(200);
    assert_eq!(own.body["active"], true);
}

#[tokio::test]
async fn i3_an_active_users_token_answers_with_all_claims() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let session = app.login(&alice).await;
    let answer =
        app.introspect(&app.demo_client("chat-api-service").await, &session.access_token).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.body["active"], true);
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(
        answer.text_at("/username"),
        app.me(&session.access_token).await.expect(200).text_at("/username")
    );
    let claims = tokens::claims(&session.access_token);
    for (claim, value) in claims.as_object().unwrap() {
        assert_eq!(&answer.body[claim], value, "{claim}");
    }
}

#[tokio::test]
async fn i3_an_active_services_token_answers_with_all_claims() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&credentials(BOUND)).await;
    let answer = app.introspect(&app.demo_client("chat-api-service").await, &token).await.expect(200);
    assert_eq!((&answer.body["active"], &answer.body["token_type"]), (&json!(true), &json!("Bearer")));
    for (claim, value) in tokens::claims(&token).as_object().unwrap() {
        assert_eq!(&answer.body[claim], value, "{claim}");
    }
}

#[tokio::test]
async fn i4_a_wrong_hint_still_finds_the_token() {
    let app = TestApp::spawn().await;
    let watcher = app.demo_client("chat-api-service").await;
    let session = app.login(&app.alice().await).await;
    for (token, hint) in [
        (&session.access_token, "refresh_token"),
        (&session.refresh_token, "access_token"),
        (&session.access_token, "id_token"),
        (&session.access_token, "who knows"),
    ] {
        let request = app.post("/oauth/introspect").basic_auth(&watcher.id, Some(&watcher.secret));
        let answer = request.form(&[("token", &**token), ("token_type_hint", hint)]).ask().await.expect(200);
        assert_eq!(answer.body["active"], true, "{hint}");
    }
}

#[tokio::test]
async fn i4_a_refresh_token_is_never_a_bearer_token() {
    let app = TestApp::spawn().await;
    let watcher = app.demo_client("chat-api-service").await;
    let alice = app.alice().await;
    let session = app.login(&alice).await;
    let answer = app.introspect(&watcher, &session.refresh_token).await.expect(200);
    assert_eq!(answer.body["active"], true);
    assert_ne!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["sub"], alice.id.to_string());
    assert_eq!(answer.body["client_id"], "first-party");
    app.logout(&session.access_token).await;
    inactive(app.introspect(&watcher, &session.refresh_token).await);
    inactive(app.introspect(&watcher, &session.access_token).await);
}

#[tokio::test]
async fn i5_a_public_client_may_not_ask() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&credentials(BOUND)).await;
    for id in [PUBLIC, "first-party"] {
        let answer = app.post("/oauth/introspect").form(&[("token", &*token), ("client_id", id)]).ask().await;
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert!(!answer.text.contains("active"), "{}", answer.text);
    }
}

#[tokio::test]
async fn i6_without_a_token_it_is_400_and_with_two_as_well() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
    let ask = async |form: &[(&str, &str)]| {
        app.post("/oauth/introspect").basic_auth(&client.id, Some(&client.secret)).form(form).ask().await
    };
    ask(&[]).await.oauth_error(400, "invalid_request");
    ask(&[("token", "")]).await.oauth_error(400, "invalid_request");
    ask(&[("token", "a"), ("token", "b")]).await.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn i7_get_is_405() {
    let app = TestApp::spawn().await;
    let answer = app.call(Method::GET, "/oauth/introspect?token=x").ask().await.expect(405);
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn a_service_may_ask_with_its_own_token() {
    let app = TestApp::spawn().await;
    let watcher = app.service_token(&app.demo_client("chat-api-service").await).await;
    let weak = app.service_token(&credentials(WEAK)).await;
    let session = app.login(&app.alice().await).await;
    let ask = async |bearer: &str| {
        app.post("/oauth/introspect")
            .bearer_auth(bearer)
            .form(&[("token", &*session.access_token)])
            .ask()
            .await
    };
    let answer = ask(&watcher).await.expect(200);
    assert_eq!(answer.body["sub"], tokens::claims(&session.access_token)["sub"]);
    inactive(ask(&weak).await);
    // With fewer scopes than the client has, fewer count.
    let narrow = app.scoped_token(&app.demo_client("chat-api-service").await, "groups:read").await;
    inactive(ask(&narrow).await);
}

#[tokio::test]
async fn o2_a_disabled_or_removed_users_token_is_inactive_at_once() {
    let app = TestApp::spawn().await;
    let watcher = app.demo_client("chat-api-service").await;
    let (alice, bob) = (app.alice().await, app.bob().await);
    let (alices, bobs) = (app.login(&alice).await.access_token, app.login(&bob).await.access_token);
    let removed = app.remove_org_member(&alices, app.org_id().await, bob.id).await;
    assert!(removed.status < 300, "{}", removed.text);
    inactive(app.introspect(&watcher, &bobs).await);
    assert_eq!(process::run_on(&app.database, &["users", "disable", &alice.email]).await.code, Some(0));
    inactive(app.introspect(&watcher, &alices).await);
}
