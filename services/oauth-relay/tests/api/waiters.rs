//! The checklist's "Waiters": who gets which code, once, and what becomes of those who wait in vain.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{Folder, Process, TestApp, assert_took, eventually, soon, state, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_state_matches_exactly_and_with_its_case() {
    let app = TestApp::spawn().await;
    let state = "Straße-Case-0123456789";
    let mut waiter = app.wait_plain(Some(state)).await;
    for other in [
        "straße-case-0123456789",
        "STRASSE-CASE-0123456789",
        "Straße-Case-0123456789 ",
        " Straße-Case-0123456789",
        "Straße-Case-012345678",
        "Straße-Case-01234567890",
        // The same letters, composed otherwise.
        "Strasse\u{301}-Case-0123456789",
        "*",
        "Straße-Case-%",
    ] {
        app.http.callback(&[("code", "C"), ("state", other)]).await.is_unmatched();
    }
    // `state` itself has no other spelling.
    app.http.callback(&[("code", "C"), ("STATE", state)]).await.is_unmatched();
    app.http.callback(&[("code", "C"), ("state", state)]).await.is_complete();
    assert_eq!(waiter.last_frame().await["state"], state);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_single_slot_collides_with_no_state_that_a_client_may_send() {
    let app = TestApp::spawn().await;
    let names = ["__default__", "none", "null", "default", "None", "\u{1}"];
    let mut single = app.wait_plain(None).await;
    for name in names {
        let mut other = app.wait_plain(Some(name)).await;
        assert_eq!(app.http.waiters().await, 2, "{name}");
        app.http.callback(&[("code", "named"), ("state", name)]).await.is_complete();
        assert_eq!(other.last_frame().await["code"], "named");
    }
    app.http.callback(&[("code", "single")]).await.is_complete();
    assert_eq!(single.last_frame().await, json!({ "type": "DELIVER", "code": "single" }));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateless_callback_never_reaches_a_stateful_waiter_nor_the_reverse() {
    let app = TestApp::spawn().await;
    let name = state("stateful");
    let mut stateful = app.wait_plain(Some(&name)).await;
    app.http.callback(&[("code", "C")]).await.is_unmatched();
    app.http.callback_query("code=C&state=").await.is_unmatched();
    app.http.callback(&[("code", "mine"), ("state", &name)]).await.is_complete();
    assert_eq!(stateful.last_frame().await["code"], "mine");

    let mut stateless = app.wait_plain(None).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    app.http.callback(&[("code", "any")]).await.is_complete();
    assert_eq!(stateless.last_frame().await["code"], "any");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_single_slot_can_be_disabled() {
    let app = TestApp::spawn_with(&[("OAUTH_ALLOW_STATELESS", "false")]).await;
    for frame in [json!({ "type": "REGISTER" }), json!({ "type": "REGISTER", "state": "" })] {
        let mut refused = app.connect().await;
        refused.send(&frame).await;
        refused.refusal().await;
    }
    assert_eq!(app.http.waiters().await, 0);
    app.http.callback(&[("code", "C")]).await.is_unmatched();
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_registration_wins_and_the_loser_is_told_at_once() {
    let app = TestApp::spawn().await;
    for name in [Some(state("twice")), None] {
        let mut first = app.wait_plain(name.as_deref()).await;
        let started = Instant::now();
        let mut second = app.wait_plain(name.as_deref()).await;
        let frame = first.last_frame().await;
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!((&frame["type"], &frame["error"]), (&json!("ERROR"), &json!("replaced")));
        assert_eq!(frame.get("state"), name.as_ref().map(|name| json!(name)).as_ref());
        assert_eq!(app.http.waiters().await, 1);
        let query = name.map_or("code=C".to_owned(), |name| format!("code=C&state={name}"));
        app.http.callback_query(&query).await.is_complete();
        assert_eq!(second.last_frame().await["code"], "C");
    }
    assert_eq!(app.http.metric("replaced_total").await, 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reject_mode_keeps_the_first_registration() {
    let app = TestApp::spawn_with(&[("OAUTH_DUPLICATE", "reject")]).await;
    let name = state("kept");
    let mut first = app.wait_plain(Some(&name)).await;
    for frame in [
        json!({ "type": "REGISTER", "state": name }),
        json!({ "type": "REGISTER", "state": name, "extended": true }),
    ] {
        let mut thief = app.connect().await;
        thief.send(&frame).await;
        assert_eq!(thief.refusal().await.as_deref(), Some("replaced"));
    }
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(first.last_frame().await["code"], "C");
    // The slot is free again.
    let mut next = app.wait_plain(Some(&name)).await;
    app.http.callback(&[("code", "D"), ("state", &name)]).await.is_complete();
    assert_eq!(next.last_frame().await["code"], "D");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_waiters_own_timeout_rules_on_the_server_within_5_percent() {
    let app = TestApp::spawn_with(&[("OAUTH_DEFAULT_TIMEOUT", "600.0")]).await;
    let waits = [2.0, 3.0, 4.5].map(|seconds| {
        let app = &app;
        async move {
            let name = state("timed");
            let started = Instant::now();
            let frame = json!({ "state": name, "timeout": seconds });
            let mut waiter = app.register_extended(frame).await;
            assert_eq!(
                waiter.last_frame().await,
                json!({ "type": "ERROR", "state": name, "error": "timeout" })
            );
            assert_took(started, Duration::from_secs_f64(seconds));
            app.http.callback(&[("code", "late"), ("state", &name)]).await.is_unmatched();
        }
    });
    join_all(waits).await;
    assert_eq!(app.http.metric("timed_out_total").await, 3);
    assert_eq!(app.http.waiters().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_timeout_of_its_own_the_default_rules() {
    let app = TestApp::spawn_with(&[("OAUTH_DEFAULT_TIMEOUT", "2.0")]).await;
    let started = Instant::now();
    let mut waiter = app.connect().await;
    waiter.send(&json!({ "type": "REGISTER", "state": "default-0123456789" })).await;
    assert_eq!(waiter.last_frame().await["error"], "timeout");
    assert_took(started, Duration::from_secs(2));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_is_bounded_by_the_servers_maximum() {
    let app = TestApp::spawn_with(&[("OAUTH_MAX_TIMEOUT", "2"), ("OAUTH_DEFAULT_TIMEOUT", "1")]).await;
    let started = Instant::now();
    let mut waiter = app.register_extended(json!({ "state": state("bounded"), "timeout": 1e9 })).await;
    assert_eq!(waiter.last_frame().await["error"], "timeout");
    assert_took(started, Duration::from_secs(2));
    for nonsense in [json!(-1), json!(0), json!("10"), json!([5])] {
        let mut refused = app.connect().await;
        refused.send(&json!({ "type": "REGISTER", "state": state("nonsense"), "timeout": nonsense })).await;
        refused.refusal().await;
    }
    assert_eq!(app.http.waiters().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_is_noticed_at_once_and_the_next_callback_is_404() {
    let app = TestApp::spawn().await;
    for is_extended in [false, true] {
        let name = state("gone");
        let waiter =
            if is_extended { app.wait_extended(&name).await } else { app.wait_plain(Some(&name)).await };
        assert_eq!(app.http.waiters().await, 1);
        drop(waiter);
        within("the slot is freed", Duration::from_secs(1), async || app.http.waiters().await == 0).await;
        app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unregister_frees_the_slot() {
    let app = TestApp::spawn().await;
    let name = state("unregistered");
    let mut waiter = app.wait_plain(Some(&name)).await;
    waiter.send(&json!({ "type": "UNREGISTER" })).await;
    eventually("the slot is freed", async || app.http.waiters().await == 0).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    assert_eq!(waiter.line().await, None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_acknowledgement_the_page_is_404_and_the_slot_is_free() {
    let app = TestApp::spawn().await;
    let name = state("mute");
    let mut mute = app.wait_extended(&name).await;
    let started = Instant::now();

    let answer = app.http.callback(&[("code", "C"), ("state", &name)]).await;

    answer.is_unmatched();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(mute.frame().await.unwrap()["code"], "C");
    assert_eq!(mute.line().await, None, "an unacknowledged client is hung up on");
    assert_eq!(app.http.waiters().await, 0);
    assert_eq!(app.http.metric("delivered_total").await, 0);
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_instead_of_acknowledging_makes_a_404_at_once() {
    let app = TestApp::spawn().await;
    let name = state("crash");
    let mut crashing = app.wait_extended(&name).await;
    let crash = tokio::spawn(async move {
        assert_eq!(crashing.frame().await.unwrap()["type"], "DELIVER");
        drop(crashing);
    });
    let started = Instant::now();
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    assert!(started.elapsed() < Duration::from_millis(1500));
    crash.await.unwrap();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_ends_well_though_its_browser_has_gone() {
    let app = TestApp::spawn().await;
    let name = state("closed-tab");
    let mut waiter = app.wait_extended(&name).await;
    let (http, parameter) = (app.http.clone(), name.clone());
    let page = tokio::spawn(async move { http.callback(&[("code", "C"), ("state", &parameter)]).await });
    assert_eq!(waiter.frame().await.unwrap()["code"], "C");

    page.abort();
    let _ = page.await;
    eventually("the browser is gone", async || {
        app.http.admin("/metrics").await.text.contains("\nhttp_server_active_requests 0\n")
    })
    .await;

    assert_eq!(app.http.metric("delivered_total").await, 0);
    waiter.send(&json!({ "type": "ACK" })).await;
    eventually("it counts", async || app.http.metric("delivered_total").await == 1).await;
    assert_eq!(waiter.line().await, None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_that_races_the_callback_is_never_complete_and_lost() {
    let app = TestApp::spawn().await;
    for round in 0..200 {
        let name = state("race");
        let mut waiter = app.wait_extended(&name).await;
        let leaves = tokio::spawn(async move {
            // Every second one is gone before the callback, or while it is under way.
            if round % 2 == 0 {
                drop(waiter);
                return false;
            }
            waiter.frame().await.is_some() && {
                waiter.send(&json!({ "type": "ACK" })).await;
                true
            }
        });
        let answer = app.http.callback(&[("code", "C"), ("state", &name)]).await;
        let is_taken = leaves.await.unwrap();
        assert_eq!(answer.status == 200, is_taken, "round {round}: {answer:?}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_simultaneous_callbacks_exactly_one_is_delivered_in_1000_rounds() {
    const CALLBACKS: usize = 8;
    let app = TestApp::spawn().await;
    for round in 0..1000 {
        let name = format!("stress-{round}-0123456789");
        let mut waiter = app.wait_extended(&name).await;
        let delivery = tokio::spawn(async move { waiter.acknowledge().await });
        let callbacks = (0..CALLBACKS).map(|number| {
            let (http, name) = (app.http.clone(), name.clone());
            tokio::spawn(async move {
                let code = format!("code-{number}");
                (http.callback(&[("code", &code), ("state", &name)]).await, code)
            })
        });
        let answers = join_all(callbacks).await;
        let taken = delivery.await.unwrap()["code"].as_str().unwrap().to_owned();
        let mut complete = Vec::new();
        for answer in answers {
            let (answer, code) = answer.unwrap();
            match answer.status.as_u16() {
                200 => complete.push(code),
                404 => answer.is_unmatched(),
                _ => panic!("{answer:?}"),
            }
        }
        assert_eq!(complete, [taken], "round {round}");
        app.http.callback(&[("code", "replay"), ("state", &name)]).await.is_unmatched();
    }
    assert_eq!(app.http.metric("delivered_total").await, 1000);
    assert_eq!(app.http.metric("unmatched_total").await, 1000 * u64::try_from(CALLBACKS).unwrap());
    assert_eq!(app.http.waiters().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_before_its_registration_is_404_by_default() {
    let app = TestApp::spawn().await;
    let name = state("early");
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    let mut waiter = app.wait_plain(Some(&name)).await;
    app.http.callback(&[("code", "D"), ("state", &name)]).await.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "D");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_window_delivers_to_a_waiter_that_arrives_within_it() {
    let app = TestApp::spawn_with(&[("OAUTH_HOLD_SECONDS", "3")]).await;
    for is_extended in [false, true] {
        let name = state("held");
        let (http, parameter) = (app.http.clone(), name.clone());
        let callback =
            tokio::spawn(async move { http.callback(&[("code", "held"), ("state", &parameter)]).await });
        // Once with another state first, whose waiter takes nothing of it.
        let other = app.wait_plain(Some(&state("other"))).await;
        let code = if is_extended {
            app.wait_extended(&name).await.acknowledge().await["code"].clone()
        } else {
            let mut waiter = app.connect().await;
            waiter.send(&json!({ "type": "REGISTER", "state": name })).await;
            waiter.last_frame().await["code"].clone()
        };
        assert_eq!(code, "held");
        soon("the page", callback).await.unwrap().is_complete();
        app.http.callback(&[("code", "replay"), ("state", &name)]).await.is_unmatched();
        drop(other);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_callback_that_nobody_comes_for_is_404_after_the_window() {
    let app = TestApp::spawn_with(&[("OAUTH_HOLD_SECONDS", "1")]).await;
    let name = state("held");
    let started = Instant::now();
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let mut late = app.wait_plain(Some(&name)).await;
    app.http.callback(&[("code", "D"), ("state", &name)]).await.is_complete();
    assert_eq!(late.last_frame().await["code"], "D");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_state_is_warned_of_and_refused_in_strict_mode() {
    let folder = Folder::new();
    // Little enough for any limit of open files, of which the other warning is.
    let process = Process::serve(&folder, &[("OAUTH_MAX_WAITERS", "100")]).await;
    let mut wire = crate::helpers::Wire::unix(&folder.socket()).await;
    wire.send(&json!({ "type": "REGISTER", "state": "short" })).await;
    eventually("a warning", async || process.output().lines().any(|line| line.contains("WARN"))).await;
    process.http.callback(&[("code", "C"), ("state", "short")]).await.is_complete();
    assert_eq!(wire.last_frame().await["code"], "C");
    let warnings = process.output().lines().filter(|line| line.contains("WARN")).count();
    let mut wire = crate::helpers::Wire::unix(&folder.socket()).await;
    wire.send(&json!({ "type": "REGISTER", "state": "long-enough-to-be-random" })).await;
    eventually("it is registered", async || process.http.waiters().await == 1).await;
    assert_eq!(process.output().lines().filter(|line| line.contains("WARN")).count(), warnings);

    let app = TestApp::spawn_with(&[("OAUTH_STRICT_STATE", "true")]).await;
    let mut refused = app.connect().await;
    refused.send(&json!({ "type": "REGISTER", "state": "short" })).await;
    refused.refusal().await;
    app.http.callback(&[("code", "C"), ("state", "short")]).await.is_unmatched();
    app.works().await;
    app.stop().await;
}
