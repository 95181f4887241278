//! SIGTERM: open requests end well, nothing is lost, the process exits with 0.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::helpers::{TestApp, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_answered() {
    let mut app = TestApp::spawn().await;
    app.send(app.alice, json!({ "content": "warm" })).await;
    // So that none is answered before the order to stop.
    app.mongodb.silence();
    let token = app.token(app.alice);
    let sends = (0..100).map(|number| {
        let (client, token, group_id) = (app.client.clone(), token.clone(), app.group_id);
        tokio::spawn(async move {
            let body = Some(json!({ "content": number.to_string() }));
            let path = format!("/api/chat/groups/{group_id}/messages");
            client.try_request(reqwest::Method::POST, &path, Some(&token), body).await
        })
    });
    let sends: Vec<_> = sends.collect();
    let metrics = async || app.admin("/metrics").await.body.as_str().unwrap().to_owned();
    eventually("requests are in flight", Duration::from_secs(5), async || {
        !metrics().await.contains("\nhttp_server_active_requests 0\n")
    })
    .await;

    let started = Instant::now();
    app.begin_stop();
    app.mongodb.mend();
    let mut created = 0;
    for answer in join_all(sends).await {
        // Connections that came too late are refused, those that were open are served.
        if let Ok(answer) = answer.unwrap() {
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
            created += 1;
        }
    }
    assert!(created > 0);
    let (database, key) = (app.raw_database().await, format!("{}/{}", app.org_id, app.group_id));
    app.stop().await;

    assert!(started.elapsed() < Duration::from_secs(20));
    let rows = database.collection::<mongodb::bson::Document>("timeline");
    let rows = rows.count_documents(mongodb::bson::doc! {}).await.unwrap();
    assert!(rows > created, "{rows} rows, {created} answers of 201");
    // The last heads are stored before the end.
    let heads = database.collection::<mongodb::bson::Document>("group_heads");
    let head = heads.find_one(mongodb::bson::doc! { "_id": key }).await.unwrap().unwrap();
    assert_eq!(u64::try_from(head.get_i64("last_seq").unwrap()).unwrap(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_lead_callers_elsewhere_while_draining() {
    let mut app = TestApp::spawn().await;
    let usual = app.send(app.alice, json!({ "content": "warm" })).await;
    assert!(!usual.headers.contains_key("connection"));
    // A request that takes its time.
    app.mongodb.silence();
    let (client, token, group_id) = (app.client.clone(), app.token(app.alice), app.group_id);
    let slow = tokio::spawn(async move { client.list_messages(&token, group_id, "").await });
    eventually("the request is in flight", Duration::from_secs(5), async || {
        let metrics = app.admin("/metrics").await.body;
        metrics.as_str().unwrap().contains("\nhttp_server_active_requests 1\n")
    })
    .await;

    app.begin_stop();

    let answer = slow.await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["connection"], "close");
    app.mongodb.mend();
    app.stop().await;
}

/// Asks on a connection that stays open; the head of the answer, empty where the connection was closed instead.
async fn ask_on(connection: &mut BufReader<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
    let _ = connection.write_all(request.as_bytes()).await;
    let (mut head, mut length) = (String::new(), 0);
    while connection.read_line(&mut head).await.is_ok_and(|read| read > 2) {
        let last = head.lines().last().unwrap_or_default();
        length = last.strip_prefix("content-length: ").map_or(length, |value| value.parse().unwrap());
    }
    let mut body = vec![0; length];
    let _ = connection.read_exact(&mut body).await;
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_idle_at_sigterm_is_told_before_it_is_closed() {
    let mut app = TestApp::spawn().await;
    let address = app.client.url.strip_prefix("http://").unwrap();
    let mut connection = BufReader::new(TcpStream::connect(address).await.unwrap());
    let head = ask_on(&mut connection, "/health").await;
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("connection: close"), "{head:?}");

    app.begin_stop();
    eventually("it drains", Duration::from_secs(5), async || !app.is_ready().await).await;
    let closed = tokio::time::timeout(Duration::from_millis(500), connection.fill_buf()).await;
    assert!(closed.is_err(), "closed without a word: {closed:?}");

    let head = ask_on(&mut connection, "/health").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_process_with_0() {
    let world = World::new(1);
    let mut replica = world.replica().await;
    let body = json!({ "content": "x" });
    let sent = replica.client.send_message(&world.token(0), world.group_id, body).await;
    assert_eq!(sent.status, StatusCode::CREATED);

    let pid = replica.process.id().to_string();
    let kill = std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(kill.success());

    eventually("the process ends", Duration::from_secs(20), async || {
        replica.process.try_wait().unwrap().is_some()
    })
    .await;
    assert_eq!(replica.process.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_up_does_not_stop_its_message() {
    let app = TestApp::spawn().await;
    app.send(app.alice, json!({ "content": "warm" })).await;
    let url = format!("{}/api/chat/groups/{}/messages", app.client.url, app.group_id);
    let token = app.token(app.alice);

    for number in 0..20_u64 {
        let body = json!({ "content": "x", "client_message_id": format!("h-{number}") });
        let request = app.client.http().post(&url).bearer_auth(&token).json(&body);
        let _ = request.timeout(Duration::from_micros(500 + number * 300)).send().await;
    }

    // Whatever was cut off, the numbers have no hole, and each message is there at most once.
    let page = app.history("?limit=200").await;
    let seqs = page.seqs();
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
    for number in 0..20 {
        let body = json!({ "content": "x", "client_message_id": format!("h-{number}") });
        assert!(app.send(app.alice, body).await.status.is_success());
    }
    assert_eq!(app.history("?limit=200").await.body["last_seq"], 21);
    app.stop().await;
}
