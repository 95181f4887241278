//! `PUT …/read`.

use serde_json::json;

use crate::helpers::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_only_moves_forward_and_not_beyond_the_last_message() {
    let app = TestApp::spawn().await;
    app.send_many(5).await;
    let token = app.token(app.bob);
    let put = async |seq| app.client.put_read_mark(&token, app.group_id, seq).await.body;

    assert_eq!(
        put(3).await,
        json!({ "group_id": app.group_id, "last_seq": 5, "last_read_seq": 3, "unread": 2 })
    );
    assert_eq!(put(2).await["last_read_seq"], 3);
    assert_eq!(put(i64::MAX).await["last_read_seq"], 5);
    assert_eq!(put(0).await["unread"], 0);
    // Everybody has marks of its own.
    let alice = app.client.put_read_mark(&app.token(app.alice), app.group_id, 1).await;
    assert_eq!(alice.body["last_read_seq"], 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_marks_are_refused() {
    let app = TestApp::spawn().await;
    let token = app.token(app.bob);

    assert_eq!(app.client.put_read_mark(&token, app.group_id, -1).await.error(), (400, "validation_failed"));
    let path = format!("/api/chat/groups/{}/read", app.group_id);
    for seq in [json!("three"), json!(1.5), json!(null), json!(9_223_372_036_854_775_808_u64)] {
        let body = Some(json!({ "seq": seq }));
        let answer = app.client.request(reqwest::Method::PUT, &path, Some(&token), body).await;
        assert_eq!(answer.error(), (400, "validation_failed"), "{seq}");
    }
    app.stop().await;
}
