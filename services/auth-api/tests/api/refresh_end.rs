//! When refresh tokens end, and what they outlive.

use crate::{
    helpers::{TestApp, fixtures::OLGA, process, tokens},
    refresh::is_refused,
};

#[tokio::test]
async fn r10_both_ends_count() {
    for column in ["idle_expires_at", "expires_at"] {
        let app = TestApp::spawn().await;
        let session = app.login(&app.alice().await).await;
        app.database.execute(&format!("UPDATE families SET {column} = now() - interval '1 second'")).await;
        is_refused(&app, &session.refresh_token).await;
    }
}

#[tokio::test]
async fn r10_a_refresh_moves_the_idle_end_and_not_the_absolute_one() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    app.database.execute("UPDATE families SET idle_expires_at = now() + interval '1 minute'").await;
    let end = app.database.text("SELECT expires_at::text FROM families").await;
    app.refresh(&session.refresh_token).await.expect(200);
    assert_eq!(app.database.text("SELECT expires_at::text FROM families").await, end);
    let moved = "SELECT count(*) FROM families WHERE idle_expires_at > now() + interval '13 days'";
    assert_eq!(app.database.number(moved).await, 1);
}

#[tokio::test]
async fn r11_after_logout_there_is_no_refresh() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    app.logout(&session.access_token).await;
    is_refused(&app, &session.refresh_token).await;
}

#[tokio::test]
async fn r11_a_disabled_user_has_no_refresh() {
    let app = TestApp::spawn().await;
    let bob = app.bob().await;
    let session = app.login(&bob).await;
    assert_eq!(process::run_on(&app.database, &["users", "disable", &bob.email]).await.code, Some(0));
    is_refused(&app, &session.refresh_token).await;
}

#[tokio::test]
async fn r11_a_removed_member_has_no_refresh() {
    let app = TestApp::spawn().await;
    let bob = app.bob().await;
    let session = app.login(&bob).await;
    let olga = app.login(&app.person(OLGA).await).await;
    let removed = app.remove_org_member(&olga.access_token, app.org_id().await, bob.id).await;
    assert!(removed.status < 300, "{}", removed.text);
    is_refused(&app, &session.refresh_token).await;
}

#[tokio::test]
async fn r11_claims_are_read_anew() {
    let app = TestApp::spawn().await;
    let bob = app.bob().await;
    let session = app.login(&bob).await;
    app.database
        .execute(&format!("UPDATE org_members SET role = 'guest' WHERE user_id = '{}'", bob.id))
        .await;
    app.database.execute(&format!("UPDATE users SET username = 'robert' WHERE id = '{}'", bob.id)).await;
    let answer = app.refresh(&session.refresh_token).await.expect(200);
    let claims = tokens::claims(answer.text_at("/access_token"));
    assert_eq!(claims["roles"], serde_json::json!(["guest"]));
    assert_eq!(claims["username"], "robert");
    assert!(!claims["permissions"].to_string().contains("messages:send"));
}

#[tokio::test]
async fn a_refresh_token_outlives_the_rotation_of_the_key_set() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let old = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let new = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
    let keys = format!("test-2:{new},test-1:{old}");
    let replica = TestApp::with().on(&app.database).set("KEY_ENCRYPTION_KEYS", keys).spawn().await;
    let answer = replica.refresh(&session.refresh_token).await.expect(200);
    let newer = replica.login(&replica.bob().await).await;
    replica.refresh(&newer.refresh_token).await.expect(200);
    let used = replica.database.text("SELECT key_id FROM families ORDER BY created_at DESC LIMIT 1").await;
    assert_eq!(used, "test-2");
    app.refresh(answer.text_at("/refresh_token")).await.expect(200);
}

#[tokio::test]
async fn a_refresh_beside_a_logout_leaves_nothing_behind() {
    let app = TestApp::spawn().await;
    let replica = TestApp::with().on(&app.database).spawn().await;
    let alice = app.alice().await;
    let watcher = app.demo_client("chat-api-service").await;
    for _ in 0..10 {
        let session = app.login(&alice).await;
        let (refreshed, logout) =
            tokio::join!(replica.refresh(&session.refresh_token), app.logout(&session.access_token));
        assert_eq!(logout.status, 204, "{}", logout.text);
        is_refused(&app, &session.refresh_token).await;
        match refreshed.status {
            200 => {
                is_refused(&replica, refreshed.text_at("/refresh_token")).await;
                let token = refreshed.text_at("/access_token");
                assert_eq!(replica.introspect(&watcher, token).await.body["active"], false);
            }
            status => assert_eq!(status, 400, "{}", refreshed.text),
        }
    }
}
