//! Organizations do not see each other.

use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::helpers::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_group_reads_like_an_unknown_one() {
    let app = TestApp::spawn().await;
    let message = app.send(app.alice, json!({ "content": "secret" })).await;
    let message_id = message.body["id"].as_str().unwrap();
    let other_org = Uuid::now_v7();
    let carol = Uuid::now_v7();
    let own_group = app.auth_api.create_group(other_org, &[carol]);
    let carols = app
        .auth_api
        .issuer
        .user(carol, other_org)
        .permissions(&["groups:read", "messages:read", "messages:send"])
        .sign();

    for group_id in [app.group_id, Uuid::now_v7()] {
        let client = &app.client;
        let answers = [
            client.get_group(&carols, group_id, "").await,
            client.get_group(&carols, group_id, "?include=activity").await,
            client.list_messages(&carols, group_id, "").await,
            client.get_message(&carols, group_id, message_id).await,
            client.send_message(&carols, group_id, json!({ "content": "x" })).await,
            client.put_read_mark(&carols, group_id, 1).await,
        ];
        for answer in answers {
            assert_eq!(answer.error(), (404, "not_found"), "{answer:?}");
            assert_eq!(answer.body["detail"], "Not found");
        }
    }
    // Nor does a foreign message answer under a group of one's own.
    let answer = app.client.get_message(&carols, own_group, message_id).await;
    assert_eq!(answer.error(), (404, "not_found"));
    let thread = json!({ "content": "x", "thread_root": message_id });
    assert_eq!(app.client.send_message(&carols, own_group, thread).await.error(), (400, "validation_failed"));
    let groups = app.client.list_groups(&carols, "?include=activity").await;
    assert_eq!(groups.body["items"].as_array().unwrap().len(), 1);
    // Naming the other organization does not help.
    let query = format!("?org_id={}", app.org_id);
    assert_eq!(app.client.list_messages(&carols, app.group_id, &query).await.error(), (404, "not_found"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_stays_within_the_organizations_it_is_bound_to() {
    let app = TestApp::spawn().await;
    let bound_to = |org_id: Uuid| {
        let service = app.auth_api.issuer.service("indexer", "messages:read groups:read");
        service.claim("orgs", json!([org_id])).sign()
    };
    let (own, other) = (bound_to(app.org_id), bound_to(Uuid::now_v7()));
    let query = format!("?org_id={}", app.org_id);

    assert_eq!(app.client.list_messages(&own, app.group_id, &query).await.status, StatusCode::OK);
    assert_eq!(app.client.list_messages(&own, app.group_id, "").await.status, StatusCode::OK);
    assert_eq!(app.client.list_groups(&own, "").await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.client.list_messages(&other, app.group_id, &query).await.error(), (404, "not_found"));
    assert_eq!(app.client.list_groups(&other, &query).await.error(), (404, "not_found"));
    assert_eq!(app.client.list_messages(&other, app.group_id, "").await.error(), (404, "not_found"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_message_id_in_two_organizations_is_two_messages() {
    let app = TestApp::spawn().await;
    let other_org = Uuid::now_v7();
    let other_group = app.auth_api.create_group(other_org, &[app.alice]);
    let token = app.auth_api.issuer.user(app.alice, other_org).permissions(&["messages:send"]).sign();
    let body = |content: &str| json!({ "content": content, "client_message_id": "same" });

    let first = app.send(app.alice, body("one")).await;
    let second = app.client.send_message(&token, other_group, body("two")).await;

    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!((&first.body["seq"], &second.body["seq"]), (&json!(1), &json!(1)));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_organization_is_not_a_member_of_every_group() {
    let app = TestApp::spawn().await;
    let group_id = app.auth_api.create_group(app.org_id, &[app.alice]);
    let token = app.token(app.bob);
    app.wait_for_group(group_id).await;

    let answers = [
        app.client.get_group(&token, group_id, "").await,
        app.client.list_messages(&token, group_id, "").await,
        app.client.send_message(&token, group_id, json!({ "content": "x" })).await,
        app.client.put_read_mark(&token, group_id, 1).await,
    ];
    for answer in answers {
        assert_eq!(answer.error(), (403, "not_a_member"), "{answer:?}");
    }
    app.stop().await;
}
