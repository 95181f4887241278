//! `GET /oauth/wait`: the way for services in other pods.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::helpers::{Answer, AuthApi, TestApp, assert_took, eventually, soon, state, within};

const RUNTIME: &str = "mozaiks-runtime-service";

/// A relay that knows an auth-api.
struct World {
    auth_api: Arc<AuthApi>,
    app: TestApp,
}

impl World {
    async fn spawn(settings: &[(&str, &str)]) -> Self {
        let auth_api = AuthApi::start();
        let stateless = [("OAUTH_ALLOW_STATELESS", "false")];
        let app = TestApp::spawn_with(&[&auth_api.settings(), &stateless[..], settings].concat()).await;
        let world = Self { auth_api, app };
        // Keys do not gate readiness here.
        within("the keys are known", Duration::from_secs(15), async || {
            world.get(RUNTIME, "").await.status != StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        world
    }

    async fn get(&self, client_id: &str, query: &str) -> Answer {
        let request = self.app.http.request(Method::GET, &format!("/oauth/wait?{query}"));
        Answer::read(request.bearer_auth(self.auth_api.token(client_id))).await
    }

    /// Begins a poll and waits until it is registered.
    async fn poll(&self, client_id: &str, query: &str) -> JoinHandle<Answer> {
        let before = self.app.http.metric("waiters_registered_total").await;
        let poll = self.begin(client_id, query);
        eventually("the poll is registered", async || {
            self.app.http.metric("waiters_registered_total").await > before
        })
        .await;
        poll
    }

    fn begin(&self, client_id: &str, query: &str) -> JoinHandle<Answer> {
        let request = self.app.http.request(Method::GET, &format!("/oauth/wait?{query}"));
        tokio::spawn(Answer::read(request.bearer_auth(self.auth_api.token(client_id))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_its_code_with_all_parameters() {
    let world = World::spawn(&[]).await;
    let name = state("wait");
    let poll = world.poll(RUNTIME, &format!("state={name}&timeout=20")).await;

    world
        .app
        .http
        .callback(&[("code", "C"), ("state", &name), ("iss", "https://p.example")])
        .await
        .is_complete();

    let answer = soon("the answer", poll).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let raw = json!({ "state": name, "iss": "https://p.example" });
    assert_eq!(answer.json(), json!({ "success": true, "code": "C", "state": name, "raw": raw }));
    world.app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_a_denial() {
    let world = World::spawn(&[]).await;
    let name = state("denied");
    let poll = world.poll(RUNTIME, &format!("state={name}&timeout=20")).await;
    world.app.http.callback(&[("error", "access_denied"), ("state", &name)]).await.is_denied();
    let answer = soon("the answer", poll).await.unwrap().json();
    let raw = json!({ "error": "access_denied", "state": name });
    assert_eq!(answer, json!({ "success": false, "state": name, "raw": raw }));
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_ends_with_408_at_its_timeout() {
    let world = World::spawn(&[]).await;
    let name = state("timeout");
    let started = Instant::now();
    let answer = world.get(RUNTIME, &format!("state={name}&timeout=2")).await;
    assert_eq!(answer.error(), (408, "timeout".to_owned()), "{answer:?}");
    assert!(answer.header("content-type").starts_with("application/problem+json"));
    assert_took(started, Duration::from_secs(2));
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registration_outlives_a_poll_and_the_next_one_takes_what_came() {
    let world = World::spawn(&[]).await;
    let name = state("between");
    let query = format!("state={name}&timeout=1");
    assert_eq!(world.get(RUNTIME, &query).await.status, 408);
    // Nobody polls now.
    let (http, parameter) = (world.app.http.clone(), name.clone());
    let page =
        tokio::spawn(async move { http.callback(&[("code", "between"), ("state", &parameter)]).await });
    let answer = soon("the code", async {
        loop {
            let answer = world.get(RUNTIME, &query).await;
            if answer.status != 408 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(answer.json()["code"], "between");
    soon("the page", page).await.unwrap().is_complete();
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_of_no_time_takes_what_came_before_it() {
    let world = World::spawn(&[]).await;
    for round in 0..50 {
        let name = state("instant");
        let query = format!("state={name}&timeout=0");
        assert_eq!(world.get(RUNTIME, &query).await.status, 408);
        let (http, parameter) = (world.app.http.clone(), name.clone());
        let page = tokio::spawn(async move { http.callback(&[("code", "C"), ("state", &parameter)]).await });
        eventually("the callback waits", async || {
            world.app.http.admin("/metrics").await.text.contains("\nhttp_server_active_requests 1\n")
        })
        .await;
        let answer = world.get(RUNTIME, &query).await;
        assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        assert_eq!(answer.json()["code"], "C");
        soon("the page", page).await.unwrap().is_complete();
    }
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_no_further_poll_takes_is_said_to_be_not_delivered() {
    let world = World::spawn(&[]).await;
    let name = state("abandoned");
    assert_eq!(world.get(RUNTIME, &format!("state={name}&timeout=1")).await.status, 408);
    let started = Instant::now();
    world.app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    eventually("the slot is freed", async || world.app.http.waiters().await == 0).await;
    assert_eq!(world.app.http.metric("delivered_total").await, 0);
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registration_ends_5_s_after_its_last_poll() {
    let world = World::spawn(&[]).await;
    let name = state("ends");
    assert_eq!(world.get(RUNTIME, &format!("state={name}&timeout=1")).await.status, 408);
    let ended = Instant::now();
    assert_eq!(world.app.http.waiters().await, 1);
    within("the slot is freed", Duration::from_secs(7), async || world.app.http.waiters().await == 0).await;
    let took = ended.elapsed();
    assert!(took >= Duration::from_millis(4500), "{took:?}");
    world.app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_whose_caller_hung_up_never_makes_a_complete_page() {
    let world = World::spawn(&[]).await;
    let name = state("hung-up");
    let poll = world.poll(RUNTIME, &format!("state={name}&timeout=30")).await;
    poll.abort();
    let _ = poll.await;
    let (http, parameter) = (world.app.http.clone(), name.clone());
    let page = tokio::spawn(async move { http.callback(&[("code", "C"), ("state", &parameter)]).await });
    soon("the page", page).await.unwrap().is_unmatched();
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_poll_of_the_same_client_replaces_the_older() {
    let world = World::spawn(&[]).await;
    let name = state("newer");
    let older = world.poll(RUNTIME, &format!("state={name}&timeout=30")).await;
    let newer = world.begin(RUNTIME, &format!("state={name}&timeout=30"));
    let answer = soon("the older one's end", older).await.unwrap();
    assert_eq!(answer.error(), (409, "replaced".to_owned()));
    world.app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(soon("the newer one's code", newer).await.unwrap().json()["code"], "C");
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_never_steals_a_state_whatever_the_mode() {
    for mode in ["replace", "reject"] {
        let world = World::spawn(&[("OAUTH_DUPLICATE", mode)]).await;
        let name = state("bound");
        let query = format!("state={name}&timeout=20");
        let own = world.poll(RUNTIME, &query).await;
        let answer = world.get("indexer-worker", &query).await;
        assert_eq!(answer.error(), (409, "replaced".to_owned()), "{mode}: {answer:?}");
        // Nor does a program on the relay's own machine.
        let mut thief = world.app.connect().await;
        thief.send(&json!({ "type": "REGISTER", "state": name })).await;
        assert_eq!(thief.refusal().await.as_deref(), Some("replaced"));
        world.app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
        assert_eq!(soon("the code", own).await.unwrap().json()["code"], "C");

        // The reverse: a state that a socket holds.
        let mut holder = world.app.wait_plain(Some(&name)).await;
        let answer = world.get(RUNTIME, &query).await;
        assert_eq!(answer.error(), (409, "replaced".to_owned()), "{mode}: {answer:?}");
        world.app.http.callback(&[("code", "D"), ("state", &name)]).await.is_complete();
        assert_eq!(holder.last_frame().await["code"], "D");
        world.app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_may_not_take_what_is_held_between_polls() {
    let world = World::spawn(&[]).await;
    let name = state("held");
    let query = format!("state={name}&timeout=1");
    assert_eq!(world.get(RUNTIME, &query).await.status, 408);
    let (http, parameter) = (world.app.http.clone(), name.clone());
    let page = tokio::spawn(async move { http.callback(&[("code", "C"), ("state", &parameter)]).await });
    let thief = world.get("indexer-worker", &query).await;
    assert_eq!(thief.status, 409, "{thief:?}");
    let answer = soon("the code", async {
        loop {
            let answer = world.get(RUNTIME, &query).await;
            if answer.status != 408 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(answer.json()["code"], "C");
    page.await.unwrap().is_complete();
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_waiters_are_503_capacity() {
    let world = World::spawn(&[("OAUTH_MAX_WAITERS", "1")]).await;
    let _one = world.poll(RUNTIME, &format!("state={}&timeout=30", state("one"))).await;
    let answer = world.get(RUNTIME, &format!("state={}&timeout=30", state("two"))).await;
    assert_eq!(answer.error(), (503, "capacity".to_owned()), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_polls_with_503_shutdown() {
    let mut world = World::spawn(&[]).await;
    let poll = world.poll(RUNTIME, &format!("state={}&timeout=50", state("stopped"))).await;
    world.app.begin_stop();
    let answer = soon("the poll's end", poll).await.unwrap();
    assert_eq!(answer.error(), (503, "shutdown".to_owned()), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_timeout_are_checked() {
    let world = World::spawn(&[]).await;
    let name = state("checked");
    for query in [
        "timeout=1".to_owned(),
        "state=&timeout=1".to_owned(),
        format!("state={name}&timeout=soon"),
        format!("state={name}&timeout=-1"),
        format!("state={name}&timeout=NaN"),
        format!("state={name}&state=other&timeout=1"),
    ] {
        let answer = world.get(RUNTIME, &query).await;
        assert_eq!(answer.error(), (400, "validation_failed".to_owned()), "{query}: {answer:?}");
    }
    assert_eq!(world.app.http.waiters().await, 0);
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_may_no_longer_wait() {
    let world = World::spawn(&[]).await;
    let token = world.auth_api.token(RUNTIME);
    world.auth_api.revoke_client(RUNTIME);
    within("the revocation bites", Duration::from_secs(5), async || {
        let path = format!("/oauth/wait?state={}&timeout=0.1", state("revoked"));
        let request = world.app.http.request(Method::GET, &path).bearer_auth(&token);
        Answer::read(request).await.status == 401
    })
    .await;
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auth_api_the_relay_is_ready_and_all_but_the_wait_works() {
    // An issuer that nobody answers for.
    let issuer = "http://127.0.0.1:1";
    let app = TestApp::spawn_with(&[("AUTH_API_ISSUER", issuer), ("CLIENT_SECRET", "s")]).await;
    let issuer = common_auth::testing::TestIssuer::new(issuer);
    let token = issuer.service(RUNTIME, "relay:wait").claim("aud", json!(["oauth-relay"])).sign();
    app.works().await;
    let started = Instant::now();
    let request = app.http.request(Method::GET, "/oauth/wait?state=x&timeout=1");
    let answer = Answer::read(request.bearer_auth(token)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.header("retry-after").is_empty());
    assert!(started.elapsed() < Duration::from_secs(2));
    app.stop().await;

    let alone = TestApp::spawn().await;
    assert_eq!(alone.http.ask(Method::GET, "/oauth/wait?state=x&timeout=1").await.status, 404);
    alone.works().await;
    alone.stop().await;
}
