//! `GET /groups` and `GET /groups/{id}`.

use reqwest::StatusCode;
use serde_json::json;

use crate::helpers::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_lists_the_groups_it_is_in() {
    let app = TestApp::spawn().await;
    let second = app.auth_api.create_group(app.org_id, &[app.bob]);
    let both = app.client.list_groups(&app.token(app.bob), "").await;
    let one = app.client.list_groups(&app.token(app.alice), "").await;

    let ids = |answer: &crate::helpers::Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().unwrap();
        items.iter().map(|group| group["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&both), [app.group_id.to_string(), second.to_string()]);
    assert_eq!(ids(&one), [app.group_id.to_string()]);
    assert_eq!(both.body["next"], json!(null));
    let group = &both.body["items"][0];
    assert_eq!(group["org_id"], json!(app.org_id));
    assert_eq!(group["name"], format!("Group {}", app.group_id));
    assert_eq!(group["created_at"], "2026-01-02T03:04:05.678Z");
    assert_eq!(group["role"], "member");
    assert!(group.get("last_seq").is_none());
    let single = app.client.get_group(&app.token(app.bob), app.group_id, "").await;
    assert_eq!(&single.body, group);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_need_no_database() {
    let app = TestApp::spawn().await;
    app.mongodb.cut();

    let token = app.token(app.alice);
    assert_eq!(app.client.list_groups(&token, "").await.status, StatusCode::OK);
    assert_eq!(app.client.get_group(&token, app.group_id, "").await.status, StatusCode::OK);
    let with_activity = app.client.list_groups(&token, "?include=activity").await;
    assert_eq!(with_activity.error(), (503, "dependency_unavailable"));
    app.mongodb.mend();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_shows_what_is_unread() {
    let app = TestApp::spawn().await;
    let quiet = app.auth_api.create_group(app.org_id, &[app.bob]);
    app.wait_for_group(quiet).await;
    app.send_many(4).await;
    let newest = app.send(app.alice, json!({ "content": "ä".repeat(300) })).await;
    let bob = app.token(app.bob);
    app.client.put_read_mark(&bob, app.group_id, 3).await;

    let list = app.client.list_groups(&bob, "?include=activity").await;

    let group = &list.body["items"][0];
    assert_eq!((&group["last_seq"], &group["last_change"]), (&json!(5), &json!(5)), "{list:?}");
    assert_eq!((&group["last_read_seq"], &group["unread"]), (&json!(3), &json!(2)));
    assert_eq!(group["last_message"]["id"], newest.body["id"]);
    assert_eq!(group["last_message"]["sender_id"], json!(app.alice));
    assert_eq!(group["last_message"]["content"], "ä".repeat(200));
    assert_eq!(group["last_message"]["created_at"], newest.body["created_at"]);
    let empty = &list.body["items"][1];
    assert_eq!((&empty["last_seq"], &empty["unread"]), (&json!(0), &json!(0)));
    assert_eq!(empty["last_message"], json!(null));

    let single = app.client.get_group(&bob, app.group_id, "?include=activity").await;
    assert_eq!(&single.body, group);
    let unknown = app.client.list_groups(&bob, "?include=everything").await;
    assert_eq!(unknown.error(), (400, "validation_failed"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_lists_the_groups_of_the_organization_without_marks() {
    let app = TestApp::spawn().await;
    app.send_many(1).await;
    let token = app.service_token("groups:read");

    let list = app.client.list_groups(&token, &format!("?org_id={}&include=activity", app.org_id)).await;

    assert_eq!(list.status, StatusCode::OK, "{list:?}");
    let group = &list.body["items"][0];
    assert_eq!(group["last_seq"], 1);
    assert!(
        group.get("unread").is_none() && group.get("last_read_seq").is_none() && group.get("role").is_none()
    );
    app.stop().await;
}
