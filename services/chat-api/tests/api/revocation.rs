//! Revoked tokens are refused soon, also by a service that starts afterwards.

use std::time::Duration;

use reqwest::StatusCode;

use crate::helpers::{TestApp, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_user_is_refused_within_three_seconds() {
    let app = TestApp::spawn().await;
    let token = app.token(app.alice);
    assert_eq!(app.client.list_groups(&token, "").await.status, StatusCode::OK);

    app.auth_api.revoke_subject(app.alice);

    eventually("the token is refused", Duration::from_secs(3), async || {
        app.client.list_groups(&token, "").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(app.client.list_groups(&app.token(app.bob), "").await.status, StatusCode::OK);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_rotation_refuses_no_good_token() {
    let app = TestApp::spawn().await;
    let old = app.token(app.alice);
    assert_eq!(app.client.list_groups(&old, "").await.status, StatusCode::OK);

    app.auth_api.issuer.rotate();

    let new = app.token(app.alice);
    assert_eq!(app.client.list_groups(&new, "").await.status, StatusCode::OK);
    assert_eq!(app.client.list_groups(&old, "").await.status, StatusCode::OK);
    app.stop().await;
}
