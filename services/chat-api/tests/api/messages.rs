//! `POST …/messages` and `GET …/messages/{id}`.

use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::helpers::{Answer, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_and_read_back() {
    let app = TestApp::spawn().await;

    let sent = app.send(app.alice, json!({ "content": "Hello via OAuth!", "sender_id": app.alice })).await;

    assert_eq!(sent.status, StatusCode::CREATED, "{sent:?}");
    assert_eq!(sent.body["content"], "Hello via OAuth!");
    assert_eq!(sent.body["sender_id"], json!(app.alice));
    assert_eq!(sent.body["group_id"], json!(app.group_id));
    assert_eq!(sent.body["org_id"], json!(app.org_id));
    assert_eq!((&sent.body["seq"], &sent.body["change"]), (&json!(1), &json!(1)));
    assert_eq!((&sent.body["reply_count"], &sent.body["reactions"]), (&json!(0), &json!({})));
    assert!(Uuid::parse_str(sent.body["client_message_id"].as_str().unwrap()).is_ok());

    let location = sent.headers["location"].to_str().unwrap();
    let read = app.client.request(reqwest::Method::GET, location, Some(&app.token(app.bob)), None).await;
    assert_eq!((read.status, &read.body), (StatusCode::OK, &sent.body));
    let page = app.history("").await;
    assert_eq!(page.body["messages"], json!([sent.body]));
    assert_eq!(page.body["last_seq"], 1);
    assert_eq!(page.body["last_change"], 1);
    assert_eq!(page.body["has_more"], false);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_is_the_first_one_again() {
    let app = TestApp::spawn().await;
    let body = json!({ "content": "once", "client_message_id": "c-1" });

    let first = app.send(app.alice, body.clone()).await;
    let second = app.send(app.alice, body.clone()).await;
    let other_sender = app.send(app.bob, body).await;
    let other_body = app.send(app.alice, json!({ "content": "twice", "client_message_id": "c-1" })).await;

    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!((second.status, &second.body), (StatusCode::OK, &first.body));
    assert_eq!(other_sender.status, StatusCode::CREATED);
    assert_eq!(other_body.error(), (409, "conflict"));
    assert_eq!(app.history("").await.seqs(), [1, 2]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_parallel_retries_store_one_message() {
    let app = TestApp::spawn().await;
    let token = app.token(app.alice);
    let body = json!({ "content": "once", "client_message_id": "retry" });

    let sends = (0..50).map(|_| {
        let (client, token, body, group_id) = (app.client.clone(), token.clone(), body.clone(), app.group_id);
        tokio::spawn(async move { client.send_message(&token, group_id, body).await })
    });
    let mut answers = Vec::new();
    for send in sends.collect::<Vec<_>>() {
        answers.push(send.await.unwrap());
    }

    assert!(answers.iter().all(|answer| answer.status.is_success()), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
    assert!(answers.iter().all(|answer| answer.body["id"] == answers[0].body["id"]));
    // Nothing keeps the same sender from saying more, with an id of the server's making.
    let next = app.send(app.alice, json!({ "content": "once" })).await;
    assert_eq!((next.status, &next.body["seq"]), (StatusCode::CREATED, &json!(2)));
    assert_eq!(app.history("").await.seqs(), [1, 2]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_senders_get_gapless_numbers() {
    let app = TestApp::spawn().await;

    app.send_many(150).await;

    let newest = app.history("?limit=200").await;
    assert_eq!(newest.seqs(), (1..=150).collect::<Vec<_>>());
    let changes: Vec<_> = newest.body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["change"].as_i64())
        .collect();
    assert_eq!(changes, (1..=150).map(Some).collect::<Vec<_>>());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sends_as_itself_only() {
    let app = TestApp::spawn().await;

    let answer = app.send(app.alice, json!({ "content": "x", "sender_id": app.bob })).await;

    assert_eq!(answer.error(), (403, "sender_mismatch"));
    assert_eq!(app.history("").await.seqs(), [0; 0]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_posts_for_a_member() {
    let app = TestApp::spawn().await;
    let token = app.service_token("messages:send messages:read");
    let path = |query: &str| format!("/api/chat/groups/{}/messages{query}", app.group_id);
    let org = format!("?org_id={}", app.org_id);

    let posted = app.client.post(&token, &path(&org), json!({ "content": "x", "sender_id": app.bob })).await;
    assert_eq!(posted.status, StatusCode::CREATED, "{posted:?}");
    assert_eq!(posted.body["sender_id"], json!(app.bob));

    let nobody = app.client.post(&token, &path(&org), json!({ "content": "x" })).await;
    assert_eq!(nobody.error(), (400, "validation_failed"));
    let stranger = json!({ "content": "x", "sender_id": Uuid::now_v7() });
    assert_eq!(app.client.post(&token, &path(&org), stranger).await.error(), (403, "not_a_member"));
    let no_org = json!({ "content": "x", "sender_id": app.bob });
    assert_eq!(app.client.post(&token, &path(""), no_org).await.error(), (400, "validation_failed"));
    let weak = app.service_token("messages:read");
    let body = json!({ "content": "x", "sender_id": app.bob });
    assert_eq!(app.client.post(&weak, &path(&org), body).await.error(), (403, "insufficient_scope"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_without_effect() {
    let app = TestApp::spawn().await;

    for body in [
        json!({}),
        json!([]),
        json!({ "content": "" }),
        json!({ "content": " \n " }),
        json!({ "content": "x".repeat(4001) }),
        json!({ "content": 7 }),
        json!({ "content": "x", "client_message_id": "" }),
        json!({ "content": "x", "client_message_id": "a b" }),
        json!({ "content": "x", "client_message_id": "x".repeat(129) }),
        json!({ "content": "x", "sender_id": "alice" }),
        json!({ "content": "x", "thread_root": Uuid::now_v7() }),
    ] {
        let answer = app.send(app.alice, body.clone()).await;
        assert_eq!(answer.error(), (400, "validation_failed"), "{body}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let large = app.send(app.alice, json!({ "content": "x".repeat(70_000) })).await;
    assert_eq!(large.error(), (413, "payload_too_large"));
    let url = format!("{}/api/chat/groups/{}/messages", app.client.url, app.group_id);
    let request = app.client.http().post(url).bearer_auth(app.token(app.alice));
    let text = request.try_clone().unwrap().header("content-type", "text/plain").body("hello").send().await;
    assert_eq!(text.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let deep = format!("{{\"content\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for raw in [
        b"{\"content\":".as_slice(),
        b"",
        b"{\"content\":\"\xff\"}",
        b"{\"content\":\"\\ud800\"}",
        b"{\"content\":\"a\\u0000b\"}",
        b"{\"content\":\"x\",\"content\":\"y\"}",
        deep.as_bytes(),
    ] {
        let request = request.try_clone().unwrap().header("content-type", "application/json");
        let answer = Answer::read(request.body(raw.to_vec()).send().await.unwrap()).await;
        assert_eq!(answer.error(), (400, "validation_failed"), "{}", String::from_utf8_lossy(raw));
    }
    assert_eq!(app.history("").await.seqs(), [0; 0]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_text_fits_however_it_is_written() {
    let app = TestApp::spawn().await;
    let url = format!("{}/api/chat/groups/{}/messages", app.client.url, app.group_id);
    let escaped = format!("{{\"content\":\"{}\"}}", "\\ud83d\\ude00".repeat(4000));

    let request = app.client.http().post(url).bearer_auth(app.token(app.alice));
    let sent = request.header("content-type", "application/json").body(escaped).send().await.unwrap();

    let sent = Answer::read(sent).await;
    assert_eq!(sent.status, StatusCode::CREATED, "{sent:?}");
    assert_eq!(sent.body["content"], "😀".repeat(4000));
    assert_eq!(app.history("").await.body["messages"][0], sent.body);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_counted_at_their_root() {
    let app = TestApp::spawn().await;
    let root = app.send(app.alice, json!({ "content": "root" })).await.body["id"].clone();

    let reply =
        app.send(app.bob, json!({ "content": "1", "thread_root": root, "client_message_id": "r" })).await;
    app.send(app.alice, json!({ "content": "2", "thread_root": root })).await;
    assert_eq!(reply.body["thread_root"], root);

    let read = app.client.get_message(&app.token(app.bob), app.group_id, root.as_str().unwrap()).await;
    assert_eq!(read.body["reply_count"], 2);
    let page = app.history("").await;
    let counts: Vec<_> =
        page.body["messages"].as_array().unwrap().iter().map(|it| &it["reply_count"]).collect();
    assert_eq!(counts, [2, 0, 0]);

    let nested = app.send(app.bob, json!({ "content": "3", "thread_root": reply.body["id"] })).await;
    assert_eq!(nested.error(), (400, "validation_failed"));
    let other_thread = json!({ "content": "1", "client_message_id": "r" });
    assert_eq!(app.send(app.bob, other_thread).await.error(), (409, "conflict"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_costs_auth_api_a_request() {
    let app = TestApp::spawn().await;
    app.send(app.alice, json!({ "content": "warm" })).await;
    let before = app.auth_api.calls_but_polls();

    app.send_many(50).await;
    for _ in 0..50 {
        app.history("").await;
    }

    assert_eq!(app.auth_api.calls_but_polls(), before);
    assert_eq!(app.auth_api.calls("/api/auth/directory"), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_api_is_asked_about_tokens_when_told_so() {
    let app = TestApp::spawn_with(crate::helpers::TestAppOptions {
        settings: vec![("USE_OAUTH2_AUTH", "false".to_owned())],
        ..Default::default()
    })
    .await;

    let sent = app.send(app.alice, json!({ "content": "x" })).await;
    assert_eq!(sent.status, StatusCode::CREATED, "{sent:?}");
    assert_eq!(app.auth_api.calls("/oauth/introspect"), 1);
    assert_eq!(app.auth_api.calls("/.well-known/jwks.json"), 0);
    let expired = app.auth_api.issuer.user(app.alice, app.org_id).issued(7200, 3600).sign();
    let answer = app.client.send_message(&expired, app.group_id, json!({})).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);

    app.peer.cut();
    let answer = app.send(app.alice, json!({ "content": "x" })).await;
    assert_eq!(answer.error(), (503, "dependency_unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
    app.peer.mend();
    assert_eq!(app.send(app.alice, json!({ "content": "x" })).await.status, StatusCode::CREATED);
    app.stop().await;
}
