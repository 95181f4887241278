//! `GET …/messages`.

use serde_json::json;

use crate::helpers::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn pages_lie_exactly_where_they_are_asked_for() {
    let app = TestApp::spawn().await;
    // More than two buckets of the store.
    app.send_many(300).await;
    let page = async |query: &str| app.history(query).await;
    let range = |first: i64, last: i64| (first..=last).collect::<Vec<_>>();

    let newest = page("").await;
    assert_eq!((newest.seqs(), &newest.body["has_more"]), (range(251, 300), &json!(true)));
    assert_eq!((&newest.body["last_seq"], &newest.body["last_change"]), (&json!(300), &json!(300)));
    let before = page("?before_seq=251&limit=200").await;
    assert_eq!((before.seqs(), &before.body["has_more"]), (range(51, 250), &json!(true)));
    let oldest = page("?before_seq=51").await;
    assert_eq!((oldest.seqs(), &oldest.body["has_more"]), (range(1, 50), &json!(false)));
    let after = page("?after_seq=0&limit=130").await;
    assert_eq!((after.seqs(), &after.body["has_more"]), (range(1, 130), &json!(true)));
    let end = page("?after_seq=290").await;
    assert_eq!((end.seqs(), &end.body["has_more"]), (range(291, 300), &json!(false)));
    assert_eq!(page("?after_seq=300").await.seqs(), range(1, 0));
    let around = page("?around_seq=128&limit=4").await;
    assert_eq!((around.seqs(), &around.body["has_more"]), (range(126, 129), &json!(true)));
    assert_eq!(page("?around_seq=9999&limit=3").await.seqs(), range(298, 300));
    for (query, expected, has_more) in [
        (format!("?before_seq={}&limit=2", i64::MAX), range(299, 300), true),
        (format!("?after_seq={}", i64::MAX), range(1, 0), false),
        (format!("?around_seq={}&limit=2", i64::MAX), range(299, 300), true),
        ("?around_seq=0&limit=2".to_owned(), range(1, 2), true),
        ("?before_seq=0".to_owned(), range(1, 0), false),
    ] {
        let edge = page(&query).await;
        assert_eq!((edge.seqs(), &edge.body["has_more"]), (expected, &json!(has_more)), "{query}");
    }
    assert_eq!(page("?after_seq=126&limit=1").await.seqs(), [127]);
    assert_eq!(page("?after_seq=127&limit=1").await.seqs(), [128]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_group_has_an_empty_page() {
    let app = TestApp::spawn().await;
    for query in ["", "?before_seq=5", "?after_seq=5", "?around_seq=5"] {
        let page = app.history(query).await;
        let empty = json!({ "messages": [], "has_more": false, "last_seq": 0, "last_change": 0 });
        assert_eq!(page.body, empty, "{query}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_queries_are_refused() {
    let app = TestApp::spawn().await;
    for query in [
        "?limit=0",
        "?limit=201",
        "?limit=-1",
        "?limit=many",
        "?limit=99999999999999999999",
        "?limit=256",
        "?limit=",
        "?limit=5&limit=6",
        "?before_seq=-1",
        "?after_seq=9223372036854775808",
        "?after_seq=-1",
        "?around_seq=x",
        "?before_seq=1&after_seq=2",
        "?before_seq=1&around_seq=2",
        "?before_seq=1&after_seq=2&around_seq=3",
        "?org_id=mine",
    ] {
        let answer = app.history(query).await;
        assert_eq!(answer.error(), (400, "validation_failed"), "{query}");
    }
    for id in ["x", "00000000-0000-0000-0000-00000000000g"] {
        let answer = app.client.get_message(&app.token(app.alice), app.group_id, id).await;
        assert_eq!(answer.error(), (404, "not_found"), "{id}");
    }
    app.stop().await;
}
