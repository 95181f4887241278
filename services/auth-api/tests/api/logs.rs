//! No secret and no address of a person in the logs, at any level.

use auth_api::store::org_member;
use serde_json::json;

use crate::helpers::{
    Answer, Ask, Process, TestApp, TestDatabase,
    app::http,
    database::seeded,
    fixtures::{BOUND, DORA, ERIN, HENRY, secret_of},
    process,
    wait::until,
};

#[tokio::test]
async fn u3_the_logs_hold_no_secrets_even_at_trace_level() {
    let database = TestDatabase::create().await;
    let mut settings = process::base_settings();
    settings.extend(database.settings(None));
    settings.push(("RUST_LOG", "trace".to_owned()));
    let mut server = Process::serve(&settings).await;
    let mut secrets = use_everything(&server).await;
    let disabled = process::run_on(&database, &["users", "disable", ERIN]).await;
    server.signal("TERM").await;
    server.exit_code().await;
    let logs = server.output() + &disabled.stderr + &disabled.stdout;
    for there in ["\"TRACE\"", "signing keys loaded", "draining"] {
        assert!(logs.contains(there), "no {there} in the logs: {logs}");
    }
    let password = settings.iter().find(|(name, _)| *name == "POSTGRES_PASSWORD");
    // A short one may be part of any word.
    secrets.extend(password.map(|(_, value)| value.clone()).filter(|value| value.len() > 8));
    secrets.push("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned());
    secrets.extend([DORA, ERIN].map(str::to_owned));
    secrets.extend(["SecurePass123", "wrong-password", "nobody@example.com", "art_"].map(str::to_owned));
    for secret in secrets {
        let line = logs.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "{secret} is in the logs: {line:?}");
    }
}

/// Requests of every kind, good and bad; the secrets in them and in their answers.
async fn use_everything(server: &Process) -> Vec<String> {
    let client = http();
    let url = |path: &str| format!("{}{path}", server.url);
    let (email, password) = (seeded("ALICE_EMAIL").await, seeded("ALICE_PASSWORD").await);
    until("it is ready", async || {
        client.get(format!("{}/readyz", server.admin_url)).ask().await.status == 200
    })
    .await;
    let login = async |email: &str, password: &str| {
        client.post(url("/auth/login")).json(&json!({ "email": email, "password": password })).ask().await
    };
    let first = login(&email, &password).await.expect(200);
    login(&email, "wrong-password").await.expect(401);
    login("nobody@example.com", "wrong-password").await.expect(401);
    login(DORA, &seeded("BOB_PASSWORD").await).await.expect(409);
    let cookie = first.cookies()[0].split(';').next().unwrap().to_owned();
    let (access, refresh) =
        (first.text_at("/access_token").to_owned(), first.text_at("/refresh_token").to_owned());
    let refreshed =
        client.post(url("/auth/refresh")).json(&json!({ "refresh_token": refresh })).ask().await.expect(200);
    client.post(url("/auth/refresh")).json(&json!({ "refresh_token": "art_broken" })).ask().await.expect(400);
    client.get(url("/auth/me")).header("cookie", &cookie).ask().await.expect(200);
    client.get(url(&format!("/auth/me?access_token={access}"))).ask().await.expect(401);
    client.get(url("/auth/me")).bearer_auth("broken.access.token").ask().await.expect(401);
    let group = client
        .post(url("/api/auth/groups"))
        .bearer_auth(&access)
        .json(&json!({ "name": "Logged" }))
        .ask()
        .await
        .expect(201);
    let members = url(&format!("/api/auth/groups/{}/members", group.text_at("/id")));
    client.get(members).bearer_auth(&access).ask().await.expect(200);
    let secret = secret_of(BOUND);
    let form = [("grant_type", "client_credentials"), ("client_id", BOUND), ("client_secret", &*secret)];
    let service: Answer = client.post(url("/oauth/token")).form(&form).ask().await.expect(200);
    client.post(url(&format!("/oauth/token?client_secret={secret}"))).form(&form).ask().await.expect(400);
    client
        .post(url("/oauth/token"))
        .basic_auth(BOUND, Some("wrong-password"))
        .form(&form[..1])
        .ask()
        .await
        .expect(401);
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let form = [("token", service.text_at("/access_token"))];
        client.post(url(path)).basic_auth(BOUND, Some(&secret)).form(&form).ask().await.expect(200);
    }
    client.post(url("/auth/logout")).bearer_auth(&access).json(&json!({})).ask().await.expect(204);
    let (_, cookie) = cookie.split_once('=').unwrap();
    let signature = |token: &str| token.rsplit('.').next().unwrap_or_default().to_owned();
    vec![
        email,
        password,
        secret,
        cookie.to_owned(),
        signature(&access),
        signature(refreshed.text_at("/access_token")),
        signature(service.text_at("/access_token")),
        signature(&refresh),
        signature(refreshed.text_at("/refresh_token")),
    ]
}

#[tokio::test]
async fn u3_a_failed_query_does_not_tell_what_was_in_it() {
    let app = TestApp::spawn().await;
    let identity = app.identity().await;
    let connection = identity.db.connection().await.unwrap();
    let (org, henry) = (app.org_id().await, app.person(HENRY).await.id);
    let now = time::OffsetDateTime::now_utc();
    // The constraint on roles refuses, and PostgreSQL's words for it hold the whole row.
    let error = org_member::insert(&connection, org, henry, "emperor", now).await.unwrap_err();
    let words = format!("{error} {error:?}");
    assert!(!words.contains("emperor") && !words.contains(&henry.to_string()), "{words}");
    assert!(words.contains("23514"), "what it was is told: {words}");
}
