//! A database that is down: 503 within two seconds, and back by itself.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
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

    eventually("messages are sent again", Duration::from_secs(10), async || {
        app.send(app.alice, json!({ "content": "2" })).await.status == StatusCode::CREATED
    })
    .await;
    // Not one message is stored without them: two rows could have one number.
    let names = timeline.list_index_names().await.unwrap();
    for name in ["timeline_seq", "timeline_change", "timeline_client_message_id"] {
        assert!(names.iter().any(|it| it == name), "{names:?}");
    }
    assert_eq!(app.history("").await.seqs(), [1]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_connections_are_lost_is_connected_to_anew() {
    let app = TestApp::spawn().await;
    app.send_many(20).await;

    app.mongodb.lose();

    eventually("messages are sent again", Duration::from_secs(5), async || {
        let started = Instant::now();
        let answer = app.send(app.alice, json!({ "content": "x" })).await;
        if answer.status != StatusCode::CREATED {
            assert_is_unavailable(&answer, started);
        }
        answer.status == StatusCode::CREATED
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_taken_as_it_is() {
    let app = TestApp::spawn().await;
    app.send_many(3).await;
    let (database, key) = (app.raw_database().await, format!("{}/{}", app.org_id, app.group_id));
    let heads = database.collection::<Document>("group_heads");
    eventually("the head is stored", Duration::from_secs(5), async || {
        let head = heads.find_one(doc! { "_id": &key }).await.unwrap();
        head.is_some_and(|head| head.get_i64("last_seq") == Ok(3))
    })
    .await;

    app.mongodb.cut();
    eventually("the app is not ready", Duration::from_secs(10), async || !app.is_ready().await).await;
    // The backup is older than what the app remembers, and of its collections the heads were read last.
    let timeline = database.collection::<Document>("timeline");
    timeline.delete_many(doc! { "seq": { "$gt": 1 } }).await.unwrap();
    app.mongodb.mend();

    let token = app.token(app.bob);
    eventually("the list agrees with the timeline", Duration::from_secs(10), async || {
        let list = app.client.list_groups(&token, "?include=activity").await;
        list.body["items"][0]["last_seq"] == 1 && list.body["items"][0]["last_message"]["seq"] == 1
    })
    .await;
    let sent = app.send(app.alice, json!({ "content": "next" })).await;
    assert_eq!((sent.status, &sent.body["seq"]), (StatusCode::CREATED, &json!(2)));
    assert_eq!(app.history("").await.seqs(), [1, 2]);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_auth_api_is_503_within_two_seconds_and_comes_back() {
    for use_oauth2_auth in ["true", "false"] {
        let settings = vec![("USE_OAUTH2_AUTH", use_oauth2_auth.to_owned())];
        let app = TestApp::spawn_with(TestAppOptions { settings, ..Default::default() }).await;
        // An organization that is not known yet, so that auth-api is needed either way.
        app.peer.silence();
        let token = app.token(app.alice);
        let started = Instant::now();
        assert_is_unavailable(&app.client.list_groups(&token, "").await, started);
        let started = Instant::now();
        assert_is_unavailable(&app.send(app.alice, json!({ "content": "x" })).await, started);
        app.peer.mend();
        eventually("the groups are there", Duration::from_secs(10), async || {
            app.client.list_groups(&token, "").await.status == StatusCode::OK
        })
        .await;
        app.stop().await;
    }
}
