//! A database that is down: 503 within two seconds, and back by itself.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use crate::helpers::{Answer, TestApp, TestAppOptions, eventually};

fn assert_is_unavailable(answer: &Answer, started: Instant) {
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(answer.error(), (503, "dependency_unavailable"), "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
}

async fn every_use_of_the_database_is_unavailable(app: &TestApp) {
    let (alice, group_id) = (app.token(app.alice), app.group_id);
    let started = Instant::now();
    assert_is_unavailable(&app.send(app.alice, json!({ "content": "x" })).await, started);
    let started = Instant::now();
    assert_is_unavailable(&app.history("").await, started);
    let started = Instant::now();
    assert_is_unavailable(&app.client.put_read_mark(&alice, group_id, 1).await, started);
    let started = Instant::now();
    assert_is_unavailable(&app.client.get_group(&alice, group_id, "?include=activity").await, started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_database_is_503_and_comes_back() {
    let app = TestApp::spawn().await;
    app.send(app.alice, json!({ "content": "1" })).await;

    app.mongodb.cut();
    every_use_of_the_database_is_unavailable(&app).await;
    eventually("the app is not ready", Duration::from_secs(10), async || !app.is_ready().await).await;

    app.mongodb.mend();
    eventually("messages are sent again", Duration::from_secs(10), async || {
        let body = json!({ "content": "2", "client_message_id": "after" });
        app.send(app.alice, body).await.status.is_success()
    })
    .await;
    app.wait_until_ready().await;
    assert_eq!(app.history("").await.body["messages"].as_array().unwrap().last().unwrap()["content"], "2");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_503_and_comes_back() {
    let app = TestApp::spawn().await;
    app.send(app.alice, json!({ "content": "1" })).await;

    app.mongodb.silence();
    every_use_of_the_database_is_unavailable(&app).await;

    app.mongodb.mend();
    eventually("messages are sent again", Duration::from_secs(15), async || {
        let body = json!({ "content": "2", "client_message_id": "after" });
        app.send(app.alice, body).await.status.is_success()
    })
    .await;
    let page = app.history("").await;
    let seqs = page.seqs();
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_back_empty_gets_its_indexes_again() {
    let app = TestApp::spawn().await;
    app.send(app.alice, json!({ "content": "1" })).await;
    let database = app.raw_database().await;
    let timeline = database.collection::<mongodb::bson::Document>("timeline");

    app.mongodb.cut();
    eventually("the app is not ready", Duration::from_secs(10), async || !app.is_ready().await).await;
    database.drop().await.unwrap();
    app.mongodb.mend();

    eventually("the unique indexes are there", Duration::from_secs(10), async || {
        let names = timeline.list_index_names().await.unwrap_or_default();
        ["timeline_seq", "timeline_change", "timeline_client_message_id"]
            .iter()
            .all(|name| names.iter().any(|it| it == name))
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_cut_in_the_middle_are_stored_once_or_not_at_all() {
    let app = TestApp::spawn().await;
    app.send(app.alice, json!({ "content": "warm" })).await;
    let token = app.token(app.alice);
    let send = |number: usize| {
        let (client, token, group_id) = (app.client.clone(), token.clone(), app.group_id);
        let body = json!({ "content": format!("{number}"), "client_message_id": format!("c-{number}") });
        tokio::spawn(async move { client.send_message(&token, group_id, body).await })
    };

    for round in 0..5 {
        let sends: Vec<_> = (0..40).map(|number| send(round * 40 + number)).collect();
        // Somewhere among the inserts.
        tokio::time::sleep(Duration::from_millis(5 + 7 * round as u64)).await;
        app.mongodb.cut();
        for send in sends {
            let answer = send.await.unwrap();
            assert!(answer.status.is_success() || answer.status == StatusCode::SERVICE_UNAVAILABLE);
        }
        app.mongodb.mend();
    }
    for number in 0..200 {
        eventually("a retry succeeds", Duration::from_secs(15), async || {
            send(number).await.unwrap().status.is_success()
        })
        .await;
    }

    let mut contents = Vec::new();
    for after in [0, 200] {
        let page = app.history(&format!("?after_seq={after}&limit=200")).await;
        for message in page.body["messages"].as_array().unwrap() {
            assert_eq!(message["seq"], message["change"]);
            contents.push(message["content"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(contents.len(), 201);
    contents.sort_unstable();
    contents.dedup();
    assert_eq!(contents.len(), 201);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_starts_without_its_peers_and_goes_on_by_itself() {
    let app = TestApp::spawn_with(TestAppOptions {
        starts_without_database: true,
        starts_without_auth_api: true,
        ..Default::default()
    })
    .await;
    let ready = app.admin("/readyz").await;
    assert_eq!(ready.error(), (503, "not_ready"));
    assert_eq!(ready.body["missing"], json!(["database", "keys"]));
    assert_eq!(app.admin("/livez").await.status, StatusCode::OK);
    // No keys yet: nobody can say whether the token is good, so this is no 401.
    let started = Instant::now();
    let answer = app.send(app.alice, json!({ "content": "x" })).await;
    assert_is_unavailable(&answer, started);

    app.peer.mend();
    app.mongodb.mend();
    app.wait_until_ready().await;
    eventually("messages are sent", Duration::from_secs(10), async || {
        app.send(app.alice, json!({ "content": "x" })).await.status == StatusCode::CREATED
    })
    .await;
    app.stop().await;
}
