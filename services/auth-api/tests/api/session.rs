//! The session cookie, `GET /auth/me` and `POST /auth/logout`.

use serde_json::json;

use crate::helpers::{Ask, Session, TestApp, fixtures::ERIN, process, wait::until};

#[tokio::test]
async fn on_loopback_the_cookie_is_http_only_and_same_site() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let [cookie] = session.answer.cookies()[..] else { panic!("{:?}", session.answer.cookies()) };
    let attributes: Vec<String> = cookie.split("; ").skip(1).map(str::to_lowercase).collect();
    assert!(attributes.contains(&"httponly".to_owned()), "{cookie}");
    assert!(attributes.contains(&"samesite=lax".to_owned()), "{cookie}");
    assert!(attributes.contains(&"path=/".to_owned()), "{cookie}");
    assert!(!attributes.iter().any(|attribute| attribute.starts_with("domain")), "{cookie}");
    assert!(!cookie.starts_with("__Host-"), "{cookie}");
}

#[tokio::test]
async fn elsewhere_it_is_a_host_cookie() {
    let app = TestApp::with().set("PUBLIC_URL", "https://auth.example").spawn().await;
    let session = app.login(&app.alice().await).await;
    let [cookie] = session.answer.cookies()[..] else { panic!("{:?}", session.answer.cookies()) };
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    let attributes: Vec<String> = cookie.split("; ").skip(1).map(str::to_lowercase).collect();
    for attribute in ["secure", "httponly", "samesite=lax", "path=/"] {
        assert!(attributes.contains(&attribute.to_owned()), "{attribute} is not in {cookie}");
    }
    app.get("/auth/me").header("cookie", session.cookie).ask().await.expect(200);
}

#[tokio::test]
async fn the_cookie_holds_nothing_that_the_database_keeps() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let (_, value) = session.cookie.split_once('=').unwrap();
    assert!(value.len() >= 43, "256 bits: {value}");
    let rows = app
        .database
        .text("SELECT string_agg(sessions::text || families::text, ' ') FROM sessions, families")
        .await;
    assert!(!rows.contains(value) && !rows.contains(&session.refresh_token));
}

#[tokio::test]
async fn me_answers_for_a_cookie_and_for_a_token_alike() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let session = app.login(&alice).await;
    let by_token = app.me(&session.access_token).await.expect(200);
    let by_cookie = app.get("/auth/me").header("cookie", &session.cookie).ask().await.expect(200);
    for answer in [&by_token, &by_cookie] {
        assert!(
            answer.text.contains(&alice.id.to_string()) && answer.text.contains(&alice.email),
            "{}",
            answer.text
        );
    }
    assert_eq!(by_token.body["permissions"], by_cookie.body["permissions"]);
}

#[tokio::test]
async fn me_without_anything_is_401() {
    let app = TestApp::spawn().await;
    let answer = app.get("/auth/me").ask().await.problem(401, "authentication_required");
    assert_eq!(answer.text_at("/detail"), "Authentication required");
    // RFC 6750, section 3.1: no error code where there were no credentials.
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm=") && !challenge.contains("error"), "{challenge}");
    let name = app.login(&app.alice().await).await.cookie.split('=').next().unwrap().to_owned();
    for value in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        app.get("/auth/me")
            .header("cookie", format!("{name}={value}"))
            .ask()
            .await
            .problem(401, "authentication_required");
    }
}

#[tokio::test]
async fn me_is_for_users() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&app.demo_client("chat-api-service").await).await;
    app.me(&token).await.problem(403, "permission_denied");
}

#[tokio::test]
async fn with_a_bearer_the_cookie_is_not_looked_at() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let group = format!("/api/auth/groups/{}", app.group_id().await);
    for path in ["/auth/me", "/api/auth/groups", &group] {
        app.get(path).header("cookie", &session.cookie).ask().await.expect(200);
        let request = app.get(path).header("cookie", &session.cookie).bearer_auth("not-a-token");
        request.ask().await.problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_cookie_changes_nothing_but_its_own_end() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let session = app.login(&alice).await;
    let group = app.group_id().await;
    let erin = app.person(ERIN).await.id;
    let attempts = [
        app.post("/api/auth/groups").json(&json!({ "name": "By cookie" })),
        app.post(&format!("/api/auth/groups/{group}/members")).json(&json!({ "user_id": erin })),
        app.delete(&format!("/api/auth/groups/{group}/members/{}", alice.id)),
        app.delete(&format!("/api/auth/orgs/{}/members/{erin}", app.org_id().await)),
    ];
    for attempt in attempts {
        attempt.header("cookie", &session.cookie).ask().await.problem(401, "authentication_required");
    }
    // A session has no scopes.
    for path in ["/oauth/revocations", "/api/auth/changes", "/api/auth/directory"] {
        let answer = app.get(path).header("cookie", &session.cookie).ask().await;
        assert!(matches!(answer.status, 401 | 403), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn logout_by_token_ends_cookie_refresh_token_and_access_token() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let answer = app.logout(&session.access_token).await;
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
    is_over(&app, &session).await;
}

#[tokio::test]
async fn logout_by_cookie_does_the_same_and_clears_it() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    let answer = app.post("/auth/logout").header("cookie", &session.cookie).json(&json!({})).ask().await;
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
    let cleared = answer.cookies().first().expect("a cookie").to_lowercase();
    let name = session.cookie.split('=').next().unwrap().to_lowercase();
    assert!(cleared.starts_with(&format!("{name}=;")) && cleared.contains("max-age=0"), "{cleared}");
    is_over(&app, &session).await;
}

/// Nothing of the session counts any more, and another replica hears of it.
async fn is_over(app: &TestApp, session: &Session) {
    app.get("/auth/me").header("cookie", &session.cookie).ask().await.problem(401, "authentication_required");
    assert_eq!(app.refresh(&session.refresh_token).await.status, 400);
    until("the access token is refused", async || app.me(&session.access_token).await.status == 401).await;
    app.me(&session.access_token).await.problem(401, "invalid_token");
    let replica = TestApp::with().on(&app.database).spawn().await;
    replica.me(&session.access_token).await.problem(401, "invalid_token");
}

#[tokio::test]
async fn logout_leaves_other_sessions_alone() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let (first, second) = (app.login(&alice).await, app.login(&alice).await);
    app.logout(&first.access_token).await;
    until("the first is refused", async || app.me(&first.access_token).await.status == 401).await;
    app.me(&second.access_token).await.expect(200);
    app.refresh(&second.refresh_token).await.expect(200);
}

#[tokio::test]
async fn logout_without_anything_is_401_and_from_another_site_403() {
    let app = TestApp::spawn().await;
    app.post("/auth/logout").json(&json!({})).ask().await.problem(401, "authentication_required");
    let session = app.login(&app.alice().await).await;
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let logout = app.post("/auth/logout").header("cookie", &session.cookie).header(name, value);
        logout.json(&json!({})).ask().await.expect(403);
    }
    app.get("/auth/me").header("cookie", &session.cookie).ask().await.expect(200);
}

#[tokio::test]
async fn a_disabled_user_has_no_session_any_more() {
    let app = TestApp::spawn().await;
    let bob = app.bob().await;
    let session = app.login(&bob).await;
    let outcome = process::run_on(&app.database, &["users", "disable", &bob.email]).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    is_over(&app, &session).await;
    app.try_login(&bob).await.problem(401, "invalid_credentials");
    let again = process::run_on(&app.database, &["users", "disable", &bob.email]).await;
    assert_eq!(again.code, Some(0), "disabling twice: {}", again.stderr);
    let unknown = process::run_on(&app.database, &["users", "disable", "nobody@example.com"]).await;
    assert_ne!(unknown.code, Some(0));
}

#[tokio::test]
async fn a_removed_member_has_no_session_in_that_org_any_more() {
    let app = TestApp::spawn().await;
    let bob = app.bob().await;
    let session = app.login(&bob).await;
    let alice = app.login(&app.alice().await).await;
    let removed = app.remove_org_member(&alice.access_token, app.org_id().await, bob.id).await;
    assert!(matches!(removed.status, 200 | 204), "{}", removed.text);
    is_over(&app, &session).await;
}

#[tokio::test]
async fn an_expired_session_is_401() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.alice().await).await;
    app.database.execute("UPDATE sessions SET expires_at = now() - interval '1 second'").await;
    app.get("/auth/me").header("cookie", &session.cookie).ask().await.problem(401, "authentication_required");
}

#[tokio::test]
async fn a_session_may_do_what_its_user_may_now() {
    let app = TestApp::spawn().await;
    let bob = app.bob().await;
    let session = app.login(&bob).await;
    let me = async || app.get("/auth/me").header("cookie", &session.cookie).ask().await.expect(200);
    assert_eq!(me().await.body["roles"], json!(["guest", "member"]));
    app.database
        .execute(&format!("UPDATE org_members SET role = 'guest' WHERE user_id = '{}'", bob.id))
        .await;
    assert_eq!(me().await.body["roles"], json!(["guest"]));
}
