//! What happens without the database, and that it goes on by itself afterwards.

use std::{sync::Arc, time::Duration};

use reqwest::RequestBuilder;
use serde_json::json;

use crate::helpers::{
    Answer, Ask, CutProxy, TestApp, TestDatabase, credentials,
    fixtures::{BOUND, BROAD},
    wait::until,
};

/// Longest time to an answer.
const LIMIT: Duration = Duration::from_secs(2);

/// A replica behind a wire, with something of everything at hand.
struct Scene {
    proxy: CutProxy,
    app: TestApp,
    service: String,
    user: String,
    refresh_token: String,
    cookie: String,
}

impl Scene {
    async fn set() -> Self {
        let proxy = CutProxy::start();
        let app = TestApp::with().through(&proxy).spawn().await;
        let session = app.login(&app.alice().await).await;
        let service = app.service_token(&app.demo_client("chat-api-service").await).await;
        app.service_token(&credentials(BOUND)).await;
        let group = app.group_id().await;
        // Both tokens are known to the verifier.
        app.group(&service, group).await.expect(200);
        app.group(&session.access_token, group).await.expect(200);
        let (user, refresh_token, cookie) = (session.access_token, session.refresh_token, session.cookie);
        Self { proxy, app, service, user, refresh_token, cookie }
    }

    /// A request to every operation that needs the database.
    async fn requests(&self) -> Vec<RequestBuilder> {
        let app = &self.app;
        let alice = app.alice().await;
        let group = format!("/api/auth/groups/{}", app.group_id().await);
        let client = credentials(BOUND);
        vec![
            app.post("/auth/login").json(&json!({ "email": alice.email, "password": alice.password })),
            app.post("/auth/refresh").json(&json!({ "refresh_token": self.refresh_token })),
            app.get("/auth/me").header("cookie", &self.cookie),
            app.get("/api/auth/groups").bearer_auth(&self.user),
            app.get(&group).bearer_auth(&self.service),
            app.get(&format!("{group}/members")).bearer_auth(&self.user),
            app.get(&format!("{group}/members")).header("cookie", &self.cookie),
            app.post("/api/auth/groups").bearer_auth(&self.user).json(&json!({ "name": "Never" })),
            app.get(&format!("/api/auth/directory?org_id={}", app.org_id().await)).bearer_auth(&self.service),
            app.get("/api/auth/changes?after=1").bearer_auth(&self.service),
            app.get("/api/auth/changes").bearer_auth(&self.service),
            app.get("/oauth/revocations").bearer_auth(&self.service),
            app.post("/oauth/introspect").bearer_auth(&self.service).form(&[("token", &self.service)]),
            app.post("/oauth/revoke")
                .basic_auth(&client.id, Some(&client.secret))
                .form(&[("token", "art_x")]),
            // A client that is not in memory.
            app.post("/oauth/token")
                .basic_auth(BROAD, Some("aas_x"))
                .form(&[("grant_type", "client_credentials")]),
        ]
    }

    async fn is_ready(&self) -> bool {
        self.app.readyz().await.status == 200
    }
}

/// Says that it cannot now, soon enough, and when to come again.
#[track_caller]
fn is_refused(what: &str, answer: &Answer) {
    assert_eq!(answer.status, 503, "{what}: {}", answer.text);
    let wait = answer.header("retry-after").unwrap_or_else(|| panic!("{what}: no Retry-After"));
    assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{what}: {wait}");
    assert!(answer.took < LIMIT, "{what} took {:?}", answer.took);
}

async fn everything_is_refused(scene: &Scene) {
    for request in scene.requests().await {
        let what = request
            .try_clone()
            .and_then(|it| it.build().ok())
            .map(|it| it.url().path().to_owned())
            .unwrap_or_default();
        let answer = request.ask().await;
        // A token that is no refresh token needs no database to be told so.
        if what == "/oauth/revoke" && answer.status == 200 {
            continue;
        }
        is_refused(&what, &answer);
    }
}

async fn what_needs_no_database_goes_on(scene: &Scene) {
    let app = &scene.app;
    app.jwks().await.expect(200);
    app.get("/.well-known/openid-configuration").ask().await.expect(200);
    app.get("/health").ask().await.expect(200);
    app.admin("/livez").await.expect(200);
    app.get("/auth/me").bearer_auth(&scene.user).ask().await.expect(200);
    let token = app.service_token(&credentials(BOUND)).await;
    assert!(crate::helpers::tokens::is_signed_by(&token, &app.jwks().await.body));
    app.get("/auth/me").ask().await.problem(401, "authentication_required");
}

async fn everything_works_again(scene: &Scene) {
    until("it is ready", async || scene.is_ready().await).await;
    for request in scene.requests().await {
        let answer = request.ask().await;
        assert!(answer.status < 500, "{}", answer.text);
    }
    let alice = scene.app.alice().await;
    scene.app.login(&alice).await;
    let never = "SELECT count(*) FROM groups WHERE name = 'Never'";
    assert_eq!(scene.app.database.number(never).await, 1, "only the one after the return");
}

#[tokio::test]
async fn u4_a_cut_database_is_503_within_two_seconds_and_comes_back() {
    let scene = Scene::set().await;
    scene.proxy.cut();
    everything_is_refused(&scene).await;
    what_needs_no_database_goes_on(&scene).await;
    until("it is not ready", async || !scene.is_ready().await).await;
    assert_eq!(scene.app.readyz().await.status, 503);
    what_needs_no_database_goes_on(&scene).await;
    scene.proxy.mend();
    everything_works_again(&scene).await;
}

#[tokio::test]
async fn u4_a_database_that_hangs_is_503_within_two_seconds_and_comes_back() {
    let scene = Scene::set().await;
    scene.proxy.hang();
    everything_is_refused(&scene).await;
    what_needs_no_database_goes_on(&scene).await;
    scene.proxy.mend();
    everything_works_again(&scene).await;
}

#[tokio::test]
async fn a_restart_of_the_database_is_survived() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&app.demo_client("chat-api-service").await).await;
    for _ in 0..3 {
        app.database.end_connections().await;
        until("groups are read again", async || app.group(&token, app.group_id().await).await.status == 200)
            .await;
        app.login(&app.alice().await).await;
    }
}

#[tokio::test]
async fn a_crowd_without_a_database_is_answered_in_time_too() {
    let scene = Scene::set().await;
    scene.proxy.hang();
    let group = scene.app.group_id().await;
    let crowd = futures_util::future::join_all((0..64).map(|_| scene.app.group(&scene.service, group))).await;
    for answer in &crowd {
        is_refused("a group", answer);
    }
    scene.proxy.mend();
    until("it is ready", async || scene.is_ready().await).await;
    until("groups are read again", async || scene.app.group(&scene.service, group).await.status == 200).await;
}

#[tokio::test]
async fn a_locked_table_is_503_within_two_seconds_for_all_who_need_it_and_for_nobody_else() {
    let app = TestApp::spawn().await;
    let (token, group) =
        (app.service_token(&app.demo_client("chat-api-service").await).await, app.group_id().await);
    app.group(&token, group).await.expect(200);
    let mut blocker = app.database.client().await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE groups IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let crowd = futures_util::future::join_all((0..20).map(|_| app.group(&token, group))).await;
    for answer in &crowd {
        is_refused("a group", answer);
    }
    app.jwks().await.expect(200);
    app.service_token(&credentials(BOUND)).await;
    lock.rollback().await.unwrap();
    until("groups are read again", async || app.group(&token, group).await.status == 200).await;
}

#[tokio::test]
async fn a_reader_who_waits_hears_that_the_database_went() {
    let scene = Scene::set().await;
    let next = scene.app.changes(&scene.service, "").await.expect(200).text_at("/next").to_owned();
    let query = format!("after={next}&wait=25");
    let cutting = async {
        until("the reader waits", async || scene.app.metric("http_server_active_requests").await >= 1.0)
            .await;
        scene.proxy.cut();
    };
    let (answer, ()) = tokio::join!(scene.app.changes(&scene.service, &query), cutting);
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.took < Duration::from_secs(10), "{:?}", answer.took);
}

#[tokio::test]
async fn it_starts_without_a_database_and_waits_for_it() {
    let proxy = CutProxy::start_cut();
    let app = TestApp::with().through(&proxy).unready().spawn().await;
    app.admin("/livez").await.expect(200);
    app.readyz().await.expect(503);
    app.get("/health").ask().await.expect(200);
    is_refused("the keys", &app.jwks().await);
    is_refused("a grant", &app.grant(&credentials(BOUND), &[]).await);
    is_refused("a login", &app.login_with(&json!({ "email": "a@b.example", "password": "x" })).await);
    proxy.mend();
    until("it is ready", async || app.readyz().await.status == 200).await;
    app.login(&app.alice().await).await;
    app.jwks().await.expect(200);
}

#[tokio::test]
async fn it_starts_before_its_database_is_migrated_by_another() {
    let database = Arc::new(TestDatabase::empty().await);
    let spawn = || TestApp::with().on(&database).spawn();
    let (one, other) = tokio::join!(spawn(), spawn());
    for app in [&one, &other] {
        app.login_with(&json!({ "email": "a@b.example", "password": "x" }))
            .await
            .problem(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn a_database_that_only_reads_is_503_until_it_writes_again() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let name = &app.database.name;
    let groups = async || app.get("/api/auth/groups").bearer_auth(&token).ask().await.status;
    // As after a failover, before the standby is promoted.
    app.database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    app.database.end_connections().await;
    until("it reads again", async || groups().await == 200).await;
    let answer = app.create_group(&token, &json!({ "name": "Never" })).await;
    answer.problem(503, "dependency_unavailable");
    app.database.execute(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    app.database.end_connections().await;
    until("it writes again", async || {
        app.create_group(&token, &json!({ "name": "Later" })).await.status == 201
    })
    .await;
}
