//! Two things at the same moment: whatever the order, the page says complete exactly when somebody has the code.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use oauth_relay::client::{OAuthRelayError, Settings, WaitForCode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::helpers::{AuthApi, Http, SOON, TestApp, Wire, eventually, soon, state, within};

const ROUNDS: u64 = 60;

/// Calls back after a while, and says whether the page is complete.
async fn complete_after(http: &Http, pause: Duration, state: &str) -> bool {
    tokio::time::sleep(pause).await;
    let answer = http.callback(&[("code", "C"), ("state", state)]).await;
    if answer.status == 200 {
        answer.is_complete();
    } else {
        answer.is_unmatched();
    }
    answer.status == 200
}

/// Whether a waiter got the code, which it acknowledges where it is extended.
async fn has_code(mut waiter: Wire, is_extended: bool) -> bool {
    let Some(frame) = waiter.frame().await else { return false };
    if frame["type"] == "DELIVER" && is_extended {
        waiter.send(&json!({ "type": "ACK" })).await;
    }
    frame["type"] == "DELIVER"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_and_a_callback() {
    let app = TestApp::spawn().await;
    let limit = Duration::from_millis(500);
    let rounds = (0..ROUNDS).map(|round| {
        let app = &app;
        async move {
            let name = state("timed");
            let settings = Settings { socket_path: app.socket(), ..Settings::default() };
            let wait =
                WaitForCode::new().state(&name).timeout(limit).settings(settings).extended(true).wait();
            // From well before to well after.
            let pause = limit / 2 + Duration::from_millis(8 * round);
            let (outcome, is_complete) = tokio::join!(wait, complete_after(&app.http, pause, &name));
            match outcome {
                Ok(result) => assert_eq!(result.code.as_deref(), Some("C")),
                Err(OAuthRelayError::Timeout(_)) => assert!(!is_complete, "complete, and nobody has it"),
                Err(error) => panic!("{error}"),
            }
            is_complete
        }
    });
    let complete = join_all(rounds).await.into_iter().filter(|is_complete| *is_complete).count() as u64;
    assert!((1..ROUNDS).contains(&complete), "{complete} of {ROUNDS}");
    assert_eq!(app.http.metric("delivered_total").await, complete);
    assert_eq!(app.http.metric("unmatched_total").await, ROUNDS - complete);
    assert_eq!(app.http.waiters().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_and_a_callback() {
    let app = TestApp::spawn().await;
    for round in 0..ROUNDS {
        let is_extended = round % 2 == 0;
        let name = state("replaced");
        let register = async || {
            let mut waiter = app.connect().await;
            waiter.send(&json!({ "type": "REGISTER", "state": name, "extended": is_extended })).await;
            if is_extended {
                waiter.frame().await;
            }
            waiter
        };
        let first = register().await;
        eventually("the first one waits", async || app.http.waiters().await == 1).await;
        let mut second = JoinSet::new();
        let (first, (), is_complete) = tokio::join!(
            has_code(first, is_extended),
            async { _ = second.spawn(has_code(register().await, is_extended)) },
            complete_after(&app.http, Duration::ZERO, &name)
        );
        assert!(is_complete, "round {round}: somebody waited all the time");
        if first {
            assert!(second.try_join_next().is_none(), "round {round}: both have it");
            second.shutdown().await;
        } else {
            assert!(
                soon("the code", second.join_next()).await.unwrap().unwrap(),
                "round {round}: nobody has it"
            );
        }
        eventually("nobody waits", async || app.http.waiters().await == 0).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_ends_or_begins_and_a_callback() {
    let auth_api: Arc<AuthApi> = AuthApi::start();
    let app = TestApp::spawn_with(&auth_api.settings()).await;
    let token = auth_api.token("mozaiks-runtime-service");
    let poll = async |name: &str, timeout: &str| {
        let path = format!("/oauth/wait?state={name}&timeout={timeout}");
        let request = app.http.request(reqwest::Method::GET, &path).bearer_auth(&token);
        crate::helpers::Answer::read(request).await
    };
    within("the keys are known", SOON, async || poll("keys", "0").await.status == 408).await;
    let rounds = (0..ROUNDS).map(|round| {
        let (http, poll) = (&app.http, &poll);
        async move {
            let name = state("polled");
            let timeout = if round % 3 == 0 { "0" } else { "0.02" };
            assert_eq!(poll(&name, timeout).await.status, 408);
            let polling = soon("the code", async {
                loop {
                    let answer = poll(&name, timeout).await;
                    if answer.status != 408 {
                        return answer;
                    }
                }
            });
            let (answer, is_complete) =
                tokio::join!(polling, complete_after(http, Duration::from_millis(round), &name));
            assert_eq!((answer.status.as_u16(), is_complete), (200, true), "round {round}: {answer:?}");
            assert_eq!(answer.json()["code"], "C");
        }
    });
    join_all(rounds).await;
    app.stop().await;
}
