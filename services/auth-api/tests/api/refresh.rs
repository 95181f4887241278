//! Refresh tokens: `POST /auth/refresh`, and the grant at `POST /oauth/token`.

use std::collections::HashSet;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::helpers::{Answer, Ask, Session, TestApp, credentials, fixtures::NO_GRANT, tokens, wait::until};

/// The grant as a public client uses it.
async fn grant(app: &TestApp, token: &str, more: &[(&str, &str)]) -> Answer {
    let form = [("grant_type", "refresh_token"), ("client_id", "first-party"), ("refresh_token", token)];
    let form: Vec<(&str, &str)> = form.iter().chain(more).copied().collect();
    app.token(&form).await
}

/// Both doors refuse the token, each in its own form.
pub async fn is_refused(app: &TestApp, token: &str) {
    let refused = app.refresh(token).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(refused.body["error"], "invalid_grant", "{}", refused.text);
    grant(app, token, &[]).await.oauth_error(400, "invalid_grant");
}

fn family(session: &Session) -> Uuid {
    tokens::claims(&session.access_token)["sid"].as_str().unwrap().parse().unwrap()
}

async fn generation(app: &TestApp, session: &Session) -> i64 {
    app.database.number(&format!("SELECT generation FROM families WHERE id = '{}'", family(session))).await
}

async fn audited(app: &TestApp, event: &str) -> i64 {
    app.database.number(&format!("SELECT count(*) FROM audit WHERE event = '{event}'")).await
}

#[tokio::test]
async fn r1_a_refresh_brings_a_new_refresh_token_and_a_new_access_token() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let answer = app.refresh(&session.refresh_token).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.text_at("/token_type"), "Bearer");
    assert_ne!(answer.text_at("/refresh_token"), session.refresh_token);
    let (old, new) = (tokens::claims(&session.access_token), tokens::claims(answer.text_at("/access_token")));
    assert_ne!(old["jti"], new["jti"]);
    for claim in ["sub", "sid", "org_id", "app_id", "aud", "scope", "auth_time", "client_id"] {
        assert_eq!(old[claim], new[claim], "{claim}");
    }
    assert_eq!(generation(&app, &session).await, 2);
    app.me(answer.text_at("/access_token")).await.expect(200);
}

#[tokio::test]
async fn the_same_token_works_at_the_token_endpoint() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let answer = grant(&app, &session.refresh_token, &[]).await.expect(200);
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    let again = app.refresh(answer.text_at("/refresh_token")).await.expect(200);
    assert_eq!(generation(&app, &session).await, 3);
    app.me(again.text_at("/access_token")).await.expect(200);
}

#[tokio::test]
async fn r2_what_is_no_refresh_token_is_invalid_grant() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let (body, mac) = session.refresh_token.rsplit_once('.').unwrap();
    let (start, _) = body.rsplit_once('.').unwrap();
    let wrong = [
        "x".to_owned(),
        "art_".to_owned(),
        format!("art_{}.1.{mac}", Uuid::now_v7().simple()),
        format!("{start}.2.{mac}"),
        format!("{start}.-1.{mac}"),
        format!("{start}.99999999999999999999999.{mac}"),
        format!("{body}.{}", "A".repeat(43)),
        format!("{body}."),
        format!("{}.x", session.refresh_token),
        session.access_token.clone(),
        "art_\u{0}".to_owned(),
        "a".repeat(20_000),
    ];
    for token in &wrong {
        is_refused(&app, token).await;
    }
    app.refresh(&session.refresh_token).await.expect(200);
}

#[tokio::test]
async fn a_request_without_the_token_is_400() {
    let app = TestApp::spawn().await;
    app.post("/auth/refresh").json(&serde_json::json!({})).ask().await.expect(400);
    app.token(&[("grant_type", "refresh_token"), ("client_id", "first-party")])
        .await
        .oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn r3_a_token_that_comes_again_ends_its_family() {
    let app = TestApp::with().set("REFRESH_GRACE_SECONDS", 0).spawn().await;
    let session = app.login(&app.alice().await).await;
    let newer = app.refresh(&session.refresh_token).await.expect(200);
    is_refused(&app, &session.refresh_token).await;
    is_refused(&app, newer.text_at("/refresh_token")).await;
    assert_eq!(audited(&app, "refresh_reuse_detected").await, 1);
    let watcher = app.demo_client("chat-api-service").await;
    for token in [&session.access_token, newer.text_at("/access_token")] {
        let answer = app.introspect(&watcher, token).await.expect(200);
        assert_eq!(answer.text, r#"{"active":false}"#);
        until("the access token is refused", async || app.me(token).await.status == 401).await;
    }
    let feed = app.revocations(&app.service_token(&watcher).await, "").await.expect(200);
    let entry = feed.list_at("/items").iter().find(|item| item["kind"] == "family");
    assert_eq!(entry.expect("an entry in the feed")["value"], family(&session).to_string());
    app.get("/auth/me").header("cookie", &session.cookie).ask().await.expect(401);
}

#[tokio::test]
async fn r3_many_at_once_end_the_family_once() {
    let app = TestApp::with().set("REFRESH_GRACE_SECONDS", 0).spawn().await;
    let session = app.login(&app.alice().await).await;
    app.refresh(&session.refresh_token).await.expect(200);
    let answers = futures_util::future::join_all((0..12).map(|_| app.refresh(&session.refresh_token))).await;
    assert!(answers.iter().all(|answer| answer.status == 400));
    assert_eq!(audited(&app, "refresh_reuse_detected").await, 1);
    assert_eq!(app.database.number("SELECT count(*) FROM revocations WHERE kind = 'family'").await, 1);
}

#[tokio::test]
async fn r4_other_families_of_the_same_user_survive() {
    let app = TestApp::with().set("REFRESH_GRACE_SECONDS", 0).spawn().await;
    let alice = app.alice().await;
    let (stolen, other) = (app.login(&alice).await, app.login(&alice).await);
    app.refresh(&stolen.refresh_token).await.expect(200);
    is_refused(&app, &stolen.refresh_token).await;
    let refreshed = app.refresh(&other.refresh_token).await.expect(200);
    app.me(refreshed.text_at("/access_token")).await.expect(200);
}

#[tokio::test]
async fn r5_a_lost_answer_can_be_fetched_again() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let first = app.refresh(&session.refresh_token).await.expect(200);
    let again = app.refresh(&session.refresh_token).await.expect(200);
    let by_grant = grant(&app, &session.refresh_token, &[]).await.expect(200);
    for answer in [&again, &by_grant] {
        assert_eq!(answer.text_at("/refresh_token"), first.text_at("/refresh_token"));
    }
    assert_eq!(generation(&app, &session).await, 2);
    app.refresh(first.text_at("/refresh_token")).await.expect(200);
}

#[tokio::test]
async fn r5_only_the_immediate_predecessor_has_a_grace() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let second = app.refresh(&session.refresh_token).await.expect(200);
    app.refresh(second.text_at("/refresh_token")).await.expect(200);
    is_refused(&app, &session.refresh_token).await;
    assert_eq!(audited(&app, "refresh_reuse_detected").await, 1);
}

#[tokio::test]
async fn r7_twenty_at_once_get_the_same_successor() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let answers = join_all((0..20).map(|_| app.refresh(&session.refresh_token))).await;
    let successors: HashSet<String> =
        answers.into_iter().map(|answer| answer.expect(200).text_at("/refresh_token").to_owned()).collect();
    assert_eq!(successors.len(), 1);
    assert_eq!(generation(&app, &session).await, 2);
}

#[tokio::test]
async fn r7_at_two_replicas_it_is_one_successor_too() {
    let app = TestApp::spawn().await;
    let replica = TestApp::with().on(&app.database).spawn().await;
    let session = app.login(&app.alice().await).await;
    let attempts = (0..20).map(|n| [&app, &replica][n % 2].refresh(&session.refresh_token));
    let answers = join_all(attempts).await;
    let successor = answers[0].text_at("/refresh_token");
    for answer in &answers {
        assert_eq!((answer.status, answer.text_at("/refresh_token")), (200, successor), "{}", answer.text);
    }
    assert_eq!(generation(&app, &session).await, 2);
}

#[tokio::test]
async fn r7_without_a_grace_one_of_twenty_succeeds() {
    let app = TestApp::with().set("REFRESH_GRACE_SECONDS", 0).spawn().await;
    let session = app.login(&app.alice().await).await;
    let answers = join_all((0..20).map(|_| app.refresh(&session.refresh_token))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!((count(200), count(400)), (1, 19), "{statuses:?}");
    assert_eq!(generation(&app, &session).await, 2);
}

#[tokio::test]
async fn r8_a_retry_extends_nothing() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    app.refresh(&session.refresh_token).await.expect(200);
    let times = "SELECT concat(rotated_at, ' ', idle_expires_at, ' ', expires_at) FROM families";
    let before = app.database.text(times).await;
    app.refresh(&session.refresh_token).await.expect(200);
    assert_eq!(app.database.text(times).await, before);
    // Once the grace is over, the retries within it have not started it anew.
    app.database.execute("UPDATE families SET rotated_at = rotated_at - interval '10 seconds'").await;
    is_refused(&app, &session.refresh_token).await;
}

#[tokio::test]
async fn r9_a_narrower_scope_is_given_and_the_refresh_token_keeps_the_whole() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let narrow = grant(&app, &session.refresh_token, &[("scope", "openid")]).await.expect(200);
    assert_eq!(narrow.scopes(), ["openid"]);
    assert_eq!(tokens::claims(narrow.text_at("/access_token"))["scope"], "openid");
    let whole = grant(&app, narrow.text_at("/refresh_token"), &[]).await.expect(200);
    assert_eq!(whole.scopes(), ["openid", "profile", "email"]);
}

#[tokio::test]
async fn r9_a_wider_scope_is_invalid_scope_and_uses_nothing_up() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let wider = grant(&app, &session.refresh_token, &[("scope", "openid groups:read")]).await;
    wider.oauth_error(400, "invalid_scope");
    let elsewhere = grant(&app, &session.refresh_token, &[("resource", "oauth-relay")]).await;
    elsewhere.oauth_error(400, "invalid_target");
    assert_eq!(generation(&app, &session).await, 1);
    grant(&app, &session.refresh_token, &[("resource", "chat-api")]).await.expect(200);
}

#[tokio::test]
async fn r12_another_clients_token_is_invalid_grant_and_harms_nobody() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let other = credentials(NO_GRANT);
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*session.refresh_token)];
    let request = app.post("/oauth/token").basic_auth(&other.id, Some(&other.secret)).form(&form);
    request.ask().await.oauth_error(400, "invalid_grant");
    let event = "SELECT count(*) FROM audit WHERE client_id = 'refresh-only' AND outcome = 'refused'";
    assert_eq!(app.database.number(event).await, 1);
    app.refresh(&session.refresh_token).await.expect(200);
}

#[tokio::test]
async fn r13_a_chain_of_fifty_holds() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let mut token = session.refresh_token.clone();
    for _ in 0..50 {
        token = app.refresh(&token).await.expect(200).text_at("/refresh_token").to_owned();
    }
    assert_eq!(generation(&app, &session).await, 51);
}
