//! `GET /oauth/revocations`.

use std::time::{Duration, Instant};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::helpers::{
    TestApp, credentials,
    fixtures::{BOUND, WEAK},
    process, tokens,
    wait::until,
};

async fn reader(app: &TestApp) -> String {
    app.scoped_token(&app.demo_client("oauth-relay-service").await, "revocations:read").await
}

async fn entries(app: &TestApp, token: &str) -> Vec<Value> {
    app.revocations(token, "").await.expect(200).list_at("/items").to_vec()
}

/// The one entry of a kind.
#[track_caller]
fn of_kind<'a>(entries: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = entries.iter().filter(|entry| entry["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind} in {entries:#?}");
    found[0]
}

fn time(entry: &Value, member: &str) -> OffsetDateTime {
    OffsetDateTime::parse(entry[member].as_str().expect("a time"), &Rfc3339).expect("RFC 3339")
}

#[tokio::test]
async fn each_kind_names_what_it_is_about() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let (alice, bob) = (app.alice().await, app.bob().await);
    let (alices, bobs) = (app.login(&alice).await, app.login(&bob).await);
    let service = app.service_token(&credentials(BOUND)).await;
    app.revoke(&credentials(BOUND), &service).await.expect(200);
    app.remove_org_member(&alices.access_token, app.org_id().await, bob.id).await.expect(204);
    app.logout(&alices.access_token).await;
    let entries = entries(&app, &token).await;
    assert_eq!(of_kind(&entries, "jti")["value"], tokens::claims(&service)["jti"]);
    assert_eq!(of_kind(&entries, "family")["value"], tokens::claims(&alices.access_token)["sid"]);
    let subject = of_kind(&entries, "subject");
    assert_eq!(
        (&subject["value"], &subject["org_id"]),
        (&bob.id.to_string().into(), &app.org_id().await.to_string().into())
    );
    assert!(of_kind(&entries, "jti").get("org_id").is_none_or(Value::is_null));
    for entry in entries.iter().filter(|entry| entry["kind"] != "keys_changed") {
        let (at, before, end) = (time(entry, "at"), time(entry, "issued_before"), time(entry, "expires_at"));
        assert!(at < before && before - at <= Duration::from_secs(1) && before.nanosecond() == 0, "{entry}");
        assert!(end >= at + Duration::from_mins(15), "it stays as long as a token lives: {entry}");
    }
    let issued = tokens::claims(&bobs.access_token)["iat"].as_i64().unwrap();
    assert!(issued < time(subject, "issued_before").unix_timestamp());
}

#[tokio::test]
async fn a_disabled_user_is_revoked_in_every_org() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let bob = app.bob().await;
    assert_eq!(process::run_on(&app.database, &["users", "disable", &bob.email]).await.code, Some(0));
    let entries = entries(&app, &token).await;
    let entry = of_kind(&entries, "subject");
    assert_eq!(entry["value"], bob.id.to_string());
    assert!(entry.get("org_id").is_none_or(Value::is_null));
}

#[tokio::test]
async fn the_first_page_starts_at_the_oldest_and_next_goes_on() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let client = credentials(BOUND);
    for _ in 0..7 {
        let token = app.service_token(&client).await;
        app.revoke(&client, &token).await.expect(200);
    }
    let whole = entries(&app, &token).await;
    assert!(whole.len() >= 7);
    let (mut seen, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = app.revocations(&token, &query).await.expect(200);
        let items = page.list_at("/items");
        seen.extend(items.to_vec());
        if items.len() < 3 {
            break;
        }
        query = format!("limit=3&after={}", page.text_at("/next"));
    }
    assert_eq!(seen, whole);
    let numbers: Vec<i64> =
        seen.iter().map(|entry| entry["cursor"].as_str().unwrap().parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn the_load_does_not_wait_and_the_next_page_does() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    app.database.execute("UPDATE revocations SET expires_at = now() - interval '1 second'").await;
    let load = app.revocations(&token, "wait=20").await.expect(200);
    assert!(load.list_at("/items").is_empty(), "what has expired is not told: {}", load.text);
    assert!(load.took < Duration::from_secs(1));
    let session = app.login(&app.alice().await).await;
    let query = format!("after={}&wait=25", load.text_at("/next"));
    let waiting = async { (app.revocations(&token, &query).await.expect(200), Instant::now()) };
    let logout = async {
        until("the reader waits", async || app.metric("http_server_active_requests").await >= 1.0).await;
        app.logout(&session.access_token).await;
        Instant::now()
    };
    let ((page, heard), done) = tokio::join!(waiting, logout);
    assert_eq!(page.list_at("/items")[0]["kind"], "family");
    assert!(heard.saturating_duration_since(done) < Duration::from_secs(1));
}

#[tokio::test]
async fn it_is_for_services_with_the_scope() {
    let app = TestApp::spawn().await;
    let weak = app.service_token(&credentials(WEAK)).await;
    app.revocations(&weak, "").await.problem(403, "insufficient_scope");
    let alice = app.login(&app.alice().await).await.access_token;
    assert_eq!(app.revocations(&alice, "").await.status, 403);
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_410_and_a_load_goes_on() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let session = app.login(&app.alice().await).await;
    app.logout(&session.access_token).await;
    app.database
        .execute(
            "UPDATE feed_floors SET floor = (SELECT max(cursor) FROM revocations) WHERE feed = 'revocations'",
        )
        .await;
    app.revocations(&token, "after=0").await.problem(410, "cursor_expired");
    app.revocations(&token, "after=999999999999").await.problem(410, "cursor_expired");
    assert!(!entries(&app, &token).await.is_empty());
}

#[tokio::test]
async fn a_client_with_very_many_entries_gets_one_for_all() {
    let app = TestApp::spawn().await;
    let reader = reader(&app).await;
    let client = credentials(BOUND);
    let mut tokens = Vec::new();
    for _ in 0..101 {
        tokens.push(app.service_token(&client).await);
    }
    let innocent = app.service_token(&client).await;
    for token in &tokens {
        app.revoke(&client, token).await.expect(200);
    }
    let entries = entries(&app, &reader).await;
    assert_eq!(of_kind(&entries, "client")["value"], BOUND);
    assert!(!entries.iter().any(|entry| entry["kind"] == "jti"), "they are replaced");
    let group = app.group_id().await;
    for token in tokens.iter().take(3).chain([&innocent]) {
        until("the token is refused", async || app.group(token, group).await.status == 401).await;
    }
    let after = app.service_token(&client).await;
    app.group(&after, group).await.expect(200);
    assert_eq!(app.introspect(&client, &after).await.body["active"], true);
}

#[tokio::test]
async fn a_subject_is_revoked_in_the_order_of_commits() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = app.revocations(&token, "").await.expect(200).text_at("/next").to_owned();
    let alice = app.alice().await;
    let sessions = [app.login(&alice).await, app.login(&alice).await, app.login(&alice).await];
    for session in &sessions {
        app.logout(&session.access_token).await;
    }
    let page = app.revocations(&token, &format!("after={start}")).await.expect(200);
    let ended: Vec<&Value> = page.list_at("/items").iter().map(|entry| &entry["value"]).collect();
    let expected: Vec<Value> =
        sessions.iter().map(|it| tokens::claims(&it.access_token)["sid"].clone()).collect();
    assert_eq!(ended, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_load_goes_past_what_was_swept_behind_an_entry_in_force() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    // Tokens that live for a day: an older entry is in force, a younger notice is over.
    let entry = |value: &str, hours: i64, end: &str| {
        format!(
            "INSERT INTO revocations (cursor, at, kind, value, issued_before, expires_at) VALUES (nextval('feed_cursors'), \
             now() - interval '{hours} hours', 'jti', '{value}', now(), now() {end} interval '1 hour');"
        )
    };
    app.database.execute("DELETE FROM revocations").await;
    app.database.execute(&(entry("old", 30, "+") + &entry("over", 25, "-") + &entry("new", 1, "+"))).await;
    auth_api::domain::retention::sweep(&app.identity().await).await.unwrap();
    let first = app.revocations(&token, "limit=1").await.expect(200);
    assert_eq!(first.text_at("/items/0/value"), "old");
    let next = first.text_at("/next").to_owned();
    let second = app.revocations(&token, &format!("after={next}&limit=1")).await.expect(200);
    assert_eq!(second.text_at("/items/0/value"), "new");
}
