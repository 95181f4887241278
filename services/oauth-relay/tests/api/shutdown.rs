//! SIGTERM: nobody new, those who wait are told, callbacks under way end, the socket is gone, and the exit code is 0.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{Folder, Process, SOON, TestApp, Wire, eventually, state};

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_told_shutdown_and_the_socket_is_removed() {
    let folder = Folder::new();
    let mut process = Process::serve(&folder, &[]).await;
    let mut waiters = Vec::new();
    for number in 0..20 {
        let mut wire = Wire::unix(&folder.socket()).await;
        let frame = json!({ "type": "REGISTER", "state": format!("s-{number}-0123456789"), "extended": number % 2 == 0 });
        wire.send(&frame).await;
        if number % 2 == 0 {
            assert_eq!(wire.frame().await.unwrap()["type"], "REGISTERED");
        }
        waiters.push((wire, number));
    }
    eventually("all are registered", async || process.http.waiters().await == 20).await;
    let started = Instant::now();

    process.signal("TERM").await;

    for (mut waiter, number) in waiters {
        let expected =
            json!({ "type": "ERROR", "state": format!("s-{number}-0123456789"), "error": "shutdown" });
        assert_eq!(waiter.last_frame().await, expected);
    }
    assert_eq!(process.exit_code().await, Some(0));
    assert!(started.elapsed() < SOON);
    assert!(!folder.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_under_way_ends_well() {
    let mut app = TestApp::spawn().await;
    let name = state("under-way");
    let mut waiter = app.wait_extended(&name).await;
    let (http, parameter) = (app.http.clone(), name.clone());
    let page = tokio::spawn(async move { http.callback(&[("code", "C"), ("state", &parameter)]).await });
    assert_eq!(waiter.frame().await.unwrap()["code"], "C");

    // Delivered, and not acknowledged yet.
    app.begin_stop();
    eventually("it drains", async || {
        app.http.admin("/readyz").await.status == 503
            || tokio::net::UnixStream::connect(app.socket()).await.is_err()
    })
    .await;
    waiter.send(&json!({ "type": "ACK" })).await;

    page.await.unwrap().is_complete();
    assert_eq!(waiter.line().await, None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_reaches_its_waiter_or_the_page_says_otherwise() {
    const WAITERS: usize = 100;
    let mut app = TestApp::spawn().await;
    let mut waiters = Vec::new();
    for number in 0..WAITERS {
        let name = format!("stop-{number}-0123456789");
        let is_extended = number % 2 == 0;
        let mut waiter =
            if is_extended { app.wait_extended(&name).await } else { app.wait_plain(Some(&name)).await };
        let taken = tokio::spawn(async move {
            let frame = waiter.frame().await?;
            if is_extended {
                waiter.send(&json!({ "type": "ACK" })).await;
            }
            (frame["type"] == "DELIVER").then(|| frame["code"].as_str().unwrap().to_owned())
        });
        waiters.push((name, taken));
    }
    let pages = waiters.iter().map(|(name, _)| {
        let request =
            app.http.request(reqwest::Method::GET, &format!("/oauth/callback?code=of-{name}&state={name}"));
        tokio::spawn(async move { request.send().await.map(|response| response.status().as_u16()) })
    });
    let pages: Vec<_> = pages.collect();
    eventually("some are under way", async || app.http.metric("delivered_total").await > 0).await;

    app.begin_stop();

    let mut delivered = 0;
    for (page, (name, taken)) in join_all(pages).await.into_iter().zip(waiters) {
        let code = taken.await.unwrap();
        match page.unwrap() {
            Ok(200) => {
                assert_eq!(code, Some(format!("of-{name}")), "complete, and nobody has it");
                delivered += 1;
            }
            // Refused, or answered that nobody took it.
            Ok(404 | 503) | Err(_) => {
                assert_eq!(code, None, "{name} was taken, and its page does not say so");
            }
            Ok(status) => panic!("{status}"),
        }
    }
    assert!(delivered > 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_callback_does_not_hold_up_the_end() {
    let mut app = TestApp::spawn_with(&[("OAUTH_HOLD_SECONDS", "15")]).await;
    let http = app.http.clone();
    let page =
        tokio::spawn(async move { http.callback(&[("code", "C"), ("state", "held-0123456789")]).await });
    eventually("the callback is held", async || {
        app.http.admin("/metrics").await.text.contains("\nhttp_server_active_requests 1\n")
    })
    .await;
    let started = Instant::now();
    app.begin_stop();
    page.await.unwrap().is_unmatched();
    app.stop().await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_and_a_restart_work() {
    let folder = Folder::new();
    let first = Process::serve(&folder, &[]).await;
    first.kill().await;
    assert!(folder.socket().exists(), "nobody could remove it");
    let second = Process::serve(&folder, &[]).await;
    let mut waiter = Wire::unix(&folder.socket()).await;
    waiter.send(&json!({ "type": "REGISTER", "state": "after-0123456789" })).await;
    eventually("it is registered", async || second.http.waiters().await == 1).await;
    second.http.callback(&[("code", "C"), ("state", "after-0123456789")]).await.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "C");
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_somebody_else_put_there_meanwhile_is_left_alone() {
    let app = TestApp::spawn().await;
    std::fs::remove_file(app.socket()).unwrap();
    let other = tokio::net::UnixListener::bind(app.socket()).unwrap();
    let (app, folder) = app.with_folder();

    app.stop().await;

    let (connected, accepted) =
        tokio::join!(tokio::net::UnixStream::connect(folder.socket()), other.accept());
    connected.expect("the socket of another process was removed");
    accepted.unwrap();
}
