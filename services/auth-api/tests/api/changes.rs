//! `GET /api/auth/changes`: commit order, long polls, expired cursors.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::helpers::{
    TestApp, credentials,
    fixtures::{BOUND, BOUND_ELSEWHERE, DORA, ERIN, WEAK},
    process,
    wait::until,
};

pub async fn reader(app: &TestApp) -> String {
    app.scoped_token(&app.demo_client("chat-api-service").await, "groups:read").await
}

pub async fn head(app: &TestApp, token: &str) -> String {
    let answer = app.changes(token, "").await.expect(200);
    assert!(answer.list_at("/items").is_empty(), "without a cursor there is only the head: {}", answer.text);
    answer.text_at("/next").to_owned()
}

/// The numbers of the items' cursors.
pub fn cursors(items: &[Value]) -> Vec<i64> {
    items.iter().map(|item| item["cursor"].as_str().expect("a cursor").parse().expect("a number")).collect()
}

#[tokio::test]
async fn each_change_of_groups_and_members_is_told() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    let (bob, erin, org) = (app.bob().await, app.person(ERIN).await, app.org_id().await);
    let made = app.create_group(&alice, &json!({ "name": "New" })).await.expect(201);
    let group = made.text_at("/id").parse().unwrap();
    app.add_member(&alice, group, &json!({ "user_id": bob.id })).await.expect(201);
    app.add_member(&alice, group, &json!({ "user_id": bob.id, "role": "admin" })).await.expect(200);
    app.add_member(&alice, group, &json!({ "user_id": bob.id, "role": "admin" })).await.expect(200);
    app.remove_member(&alice, group, bob.id).await.expect(204);
    app.remove_org_member(&alice, org, erin.id).await.expect(204);
    assert_eq!(process::run_on(&app.database, &["users", "disable", &bob.email]).await.code, Some(0));
    let answer = app.changes(&token, &format!("after={start}")).await.expect(200);
    let items = answer.list_at("/items");
    let told: Vec<(&str, Option<&str>, Option<&str>)> = items
        .iter()
        .map(|item| (item["type"].as_str().unwrap(), item["user_id"].as_str(), item["role"].as_str()))
        .collect();
    let (alice_id, bob_id, erin_id) =
        (app.alice().await.id.to_string(), bob.id.to_string(), erin.id.to_string());
    assert_eq!(
        told,
        [
            ("group.created", None, None),
            ("member.added", Some(&*alice_id), Some("admin")),
            ("member.added", Some(&*bob_id), Some("member")),
            ("member.role_changed", Some(&*bob_id), Some("admin")),
            ("member.removed", Some(&*bob_id), None),
            ("org_member.removed", Some(&*erin_id), None),
            ("user.disabled", Some(&*bob_id), None),
        ]
    );
    assert!(items.iter().all(|item| item["org_id"] == org.to_string() && item["at"].is_string()));
    assert!(items[..5].iter().all(|item| item["group_id"] == made.body["id"]));
    let numbers = cursors(items);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(answer.text_at("/next"), numbers.last().unwrap().to_string());
    let rest = app.changes(&token, &format!("after={}", answer.text_at("/next"))).await.expect(200);
    assert!(rest.list_at("/items").is_empty());
}

#[tokio::test]
async fn a_member_removed_from_the_org_is_told_for_each_group() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    app.remove_org_member(&alice, app.org_id().await, app.bob().await.id).await.expect(204);
    let answer = app.changes(&token, &format!("after={start}")).await.expect(200);
    assert_eq!(answer.each("/items", "/type"), ["member.removed", "org_member.removed"]);
}

#[tokio::test]
async fn a_disabled_user_is_told_to_each_of_its_orgs() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    assert_eq!(process::run_on(&app.database, &["users", "disable", DORA]).await.code, Some(0));
    let answer = app.changes(&token, &format!("after={start}")).await.expect(200);
    let mut expected = vec![app.org_id().await.to_string(), app.other_org_id().await.to_string()];
    expected.sort();
    assert_eq!(answer.each("/items", "/org_id"), expected);
    assert_eq!(answer.each("/items", "/type"), ["user.disabled", "user.disabled"]);
}

#[tokio::test]
async fn a_page_has_at_most_limit_entries_and_next_goes_on() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    for number in 0..4 {
        app.create_group(&alice, &json!({ "name": format!("Group {number}") })).await.expect(201);
    }
    let whole = app.changes(&token, &format!("after={start}")).await.expect(200);
    let (mut seen, mut after) = (Vec::new(), start);
    while seen.len() < 8 {
        let page = app.changes(&token, &format!("after={after}&limit=3")).await.expect(200);
        assert!((1..=3).contains(&page.list_at("/items").len()), "{}", page.text);
        seen.extend(page.list_at("/items").to_vec());
        page.text_at("/next").clone_into(&mut after);
    }
    assert_eq!(seen, whole.list_at("/items"));
}

#[tokio::test]
async fn a_waiting_reader_hears_within_a_second_also_from_another_replica() {
    let app = TestApp::spawn().await;
    let replica = TestApp::with().on(&app.database).spawn().await;
    let token = reader(&app).await;
    let alice = app.login(&app.alice().await).await.access_token;
    for writer in [&app, &replica] {
        let query = format!("after={}&wait=25", head(&app, &token).await);
        let reading = async {
            let answer = app.changes(&token, &query).await.expect(200);
            (answer, Instant::now())
        };
        let writing = async {
            until("the reader waits", async || app.metric("http_server_active_requests").await >= 1.0).await;
            writer.create_group(&alice, &json!({ "name": "News" })).await.expect(201);
            Instant::now()
        };
        let ((answer, heard), written) = tokio::join!(reading, writing);
        assert!(!answer.list_at("/items").is_empty(), "{}", answer.text);
        assert!(heard.saturating_duration_since(written) < Duration::from_secs(1), "{:?}", heard - written);
    }
}

#[tokio::test]
async fn a_wait_without_news_ends_with_an_empty_page() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let answer = app.changes(&token, &format!("after={start}&wait=1")).await.expect(200);
    assert!(answer.list_at("/items").is_empty());
    assert_eq!(answer.text_at("/next"), start);
    assert!((0.9..3.0).contains(&answer.took.as_secs_f64()), "{:?}", answer.took);
}

#[tokio::test]
async fn waiting_readers_hold_no_pooled_connection() {
    let app = TestApp::with().set("POSTGRES_MAX_CONNECTIONS", 2).spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    let query = format!("after={start}&wait=25");
    let readers = join_all((0..20).map(|_| app.changes(&token, &query)));
    let working = async {
        until("the readers wait", async || app.metric("http_server_active_requests").await >= 20.0).await;
        for _ in 0..10 {
            let answer = app.group(&token, app.group_id().await).await.expect(200);
            assert!(answer.took < Duration::from_millis(500), "{:?}", answer.took);
        }
        app.create_group(&alice, &json!({ "name": "News" })).await.expect(201);
    };
    let (answers, ()) = tokio::join!(readers, working);
    for answer in answers {
        assert_eq!(answer.expect(200).list_at("/items")[0]["type"], "group.created");
    }
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_410() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    app.create_group(&alice, &json!({ "name": "New" })).await.expect(201);
    app.changes(&token, &format!("after={start}")).await.expect(200);
    app.database
        .execute("UPDATE feed_floors SET floor = (SELECT max(cursor) FROM changes) WHERE feed = 'changes'")
        .await;
    app.changes(&token, &format!("after={start}")).await.problem(410, "cursor_expired");
    app.changes(&token, &format!("after={start}&wait=20")).await.problem(410, "cursor_expired");
    app.changes(&token, &format!("after={}", head(&app, &token).await)).await.expect(200);
    // One that this database never gave.
    app.changes(&token, "after=999999999999").await.problem(410, "cursor_expired");
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_400() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    for query in ["after=x", "after=1.5", "limit=x", "wait=x", "wait=-1", "after=99999999999999999999999"] {
        app.changes(&token, query).await.problem(400, "validation_failed");
    }
    for query in ["after=-1", "limit=0", "limit=1000000", "after="] {
        let answer = app.changes(&token, query).await;
        assert!(matches!(answer.status, 200 | 400 | 410), "{query}: {} {}", answer.status, answer.text);
    }
}

#[tokio::test]
async fn a_service_hears_only_of_its_own_orgs() {
    let app = TestApp::spawn().await;
    let here = app.service_token(&credentials(BOUND)).await;
    let elsewhere = app.service_token(&credentials(BOUND_ELSEWHERE)).await;
    let (start_here, start_elsewhere) = (head(&app, &here).await, head(&app, &elsewhere).await);
    let alice = app.login(&app.alice().await).await.access_token;
    app.create_group(&alice, &json!({ "name": "Ours" })).await.expect(201);
    let heard = app.changes(&here, &format!("after={start_here}")).await.expect(200);
    assert_eq!(heard.list_at("/items").len(), 2);
    let silent = app.changes(&elsewhere, &format!("after={start_elsewhere}&wait=1")).await.expect(200);
    assert!(silent.list_at("/items").is_empty(), "{}", silent.text);
    assert_eq!(silent.text_at("/next"), heard.text_at("/next"), "it does not read the same entries again");
}

#[tokio::test]
async fn it_is_for_services_with_groups_read() {
    let app = TestApp::spawn().await;
    let weak = app.service_token(&credentials(WEAK)).await;
    app.changes(&weak, "").await.problem(403, "insufficient_scope");
    let alice = app.login(&app.alice().await).await.access_token;
    assert_eq!(app.changes(&alice, "").await.status, 403);
}

#[tokio::test]
async fn old_changes_are_swept_and_their_cursors_expire() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    app.create_group(&alice, &json!({ "name": "Old" })).await.expect(201);
    let next = head(&app, &token).await;
    app.database.execute("UPDATE changes SET at = now() - interval '25 hours'").await;
    auth_api::domain::retention::sweep(&app.identity().await).await.unwrap();
    assert_eq!(app.database.number("SELECT count(*) FROM changes").await, 0);
    app.changes(&token, &format!("after={start}")).await.problem(410, "cursor_expired");
    assert_eq!(head(&app, &token).await, next);
    app.changes(&token, &format!("after={next}")).await.expect(200);
}
