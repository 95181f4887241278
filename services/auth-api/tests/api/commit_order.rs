//! The order of the feeds is the order of commits, and a reader misses nothing.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    changes::{cursors, head, reader},
    helpers::{TestApp, wait::within},
};

/// The lock under which cursors are taken.
const FEED_LOCK: i64 = 0x6175_7468_0003;

#[tokio::test]
async fn a_transaction_that_took_its_cursor_first_is_read_first() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    // One that has its cursor and is slow to commit.
    let mut slow = app.database.client().await;
    let slow = slow.transaction().await.unwrap();
    slow.execute("SELECT pg_advisory_xact_lock($1)", &[&FEED_LOCK]).await.unwrap();
    let sql = "INSERT INTO changes (cursor, at, type, org_id) VALUES (nextval('feed_cursors'), now(), 'group.updated', $1)";
    slow.execute(sql, &[&app.org_id().await]).await.unwrap();
    // One that comes later and would be done earlier.
    let body = json!({ "name": "Quick" });
    let quick = app.create_group(&alice, &body);
    let observe = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
        within(Duration::from_millis(600), "the second waits for the first", async || {
            (app.database.number(waiting).await > 0).then_some(())
        })
        .await;
        let early = app.changes(&token, &format!("after={start}")).await.expect(200);
        assert!(early.list_at("/items").is_empty(), "{}", early.text);
        slow.commit().await.unwrap();
    };
    let (made, ()) = tokio::join!(quick, observe);
    made.expect(201);
    let answer = app.changes(&token, &format!("after={start}")).await.expect(200);
    let types: Vec<&str> =
        answer.list_at("/items").iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["group.updated", "group.created", "member.added"]);
}

#[tokio::test]
async fn two_transactions_committed_in_reverse_come_in_commit_order() {
    use auth_api::{
        domain::{
            Identity,
            change::{Change, ChangeKind},
            feed,
        },
        store,
    };

    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let identity = app.identity().await;
    let (org, first_user, second_user) = (app.org_id().await, app.alice().await.id, app.bob().await.id);
    let (mut one, mut two) =
        (identity.db.connection().await.unwrap(), identity.db.connection().await.unwrap());
    let (first, second) = (one.transaction().await.unwrap(), two.transaction().await.unwrap());
    // Both have begun and done something before either publishes.
    store::clock(&first).await.unwrap();
    store::clock(&second).await.unwrap();
    let publish = async |transaction: store::Transaction<'_>, identity: &Identity, user| {
        let change = Change::of_user(ChangeKind::OrgMemberAdded, org, user).with_role("member");
        feed::publish(transaction, identity, Vec::new(), vec![change]).await.unwrap();
    };
    publish(second, &identity, second_user).await;
    let early = app.changes(&token, &format!("after={start}")).await.expect(200);
    assert_eq!(early.each("/items", "/user_id"), [second_user.to_string()]);
    publish(first, &identity, first_user).await;
    let rest = app.changes(&token, &format!("after={}", early.text_at("/next"))).await.expect(200);
    assert_eq!(rest.each("/items", "/user_id"), [first_user.to_string()]);
    assert!(cursors(early.list_at("/items")) < cursors(rest.list_at("/items")));
}

#[tokio::test]
async fn a_reader_beside_many_writers_misses_nothing_and_sees_nothing_twice() {
    let app = TestApp::spawn().await;
    let replica = TestApp::with().on(&app.database).spawn().await;
    let token = reader(&app).await;
    let start = head(&app, &token).await;
    let alice = app.login(&app.alice().await).await.access_token;
    let writers =
        join_all(
            (0..24).map(|number| {
                let writer = if number % 2 == 0 { &app } else { &replica };
                let alice = &alice;
                async move {
                    writer.create_group(alice, &json!({ "name": format!("Group {number}") })).await.status
                }
            }),
        );
    let reading = async {
        let (mut seen, mut after) = (Vec::new(), start.clone());
        while seen.len() < 48 {
            let page = app.changes(&token, &format!("after={after}&limit=5&wait=5")).await.expect(200);
            assert!(!page.list_at("/items").is_empty(), "{} of 48 were seen", seen.len());
            seen.extend(cursors(page.list_at("/items")));
            page.text_at("/next").clone_into(&mut after);
        }
        seen
    };
    let (statuses, seen) = tokio::join!(writers, reading);
    assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    let after: i64 = start.parse().unwrap();
    assert_eq!(
        app.database.number(&format!("SELECT count(*) FROM changes WHERE cursor > {after}")).await,
        48
    );
}
