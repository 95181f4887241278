//! The directory: loaded once, kept current, and good for a while without auth-api.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::helpers::{TestApp, TestAppOptions, eventually};

const SOON: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_within_three_seconds() {
    let app = TestApp::spawn().await;
    let (alice, carol) = (app.token(app.alice), Uuid::now_v7());
    let carols = app.token(carol);
    let status = async |token: &str, group_id| app.client.get_group(token, group_id, "").await.status;
    assert_eq!(status(&carols, app.group_id).await, StatusCode::FORBIDDEN);

    app.auth_api.add_member(app.org_id, app.group_id, carol);
    eventually("a member is added", SOON, async || status(&carols, app.group_id).await == 200).await;
    app.auth_api.remove_member(app.org_id, app.group_id, carol);
    eventually("a member is removed", SOON, async || status(&carols, app.group_id).await == 403).await;

    let second = app.auth_api.create_group(app.org_id, &[app.alice, carol]);
    eventually("a group is created", SOON, async || status(&alice, second).await == 200).await;
    app.auth_api.rename_group(app.org_id, second, "Renamed");
    eventually("a group is renamed", SOON, async || {
        app.client.get_group(&alice, second, "").await.body["name"] == "Renamed"
    })
    .await;
    app.auth_api.remove_org_member(app.org_id, carol);
    eventually("a user is out of every group", SOON, async || status(&carols, second).await == 403).await;
    app.auth_api.delete_group(app.org_id, second);
    eventually("a group is deleted", SOON, async || status(&alice, second).await == 404).await;
    assert_eq!(app.auth_api.calls("/api/auth/directory"), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auth_api_that_keeps_nobody_waiting_is_not_asked_in_a_tight_circle() {
    let app = TestApp::spawn().await;
    let polls = || app.auth_api.calls("/api/auth/changes");
    app.auth_api.close();
    let before = polls();
    eventually("it is asked again", SOON, async || polls() > before).await;

    let (before, window) = (polls(), Duration::from_secs(1));
    tokio::time::sleep(window).await;

    let asked = polls() - before;
    assert!((1..=20).contains(&asked), "{asked} times within {window:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_groups_cost_auth_api_nothing() {
    let app = TestApp::spawn().await;
    let token = app.token(app.alice);
    assert_eq!(app.client.get_group(&token, app.group_id, "").await.status, StatusCode::OK);
    let before = app.auth_api.calls_but_polls();

    for _ in 0..20 {
        assert_eq!(app.client.get_group(&token, Uuid::now_v7(), "").await.error(), (404, "not_found"));
    }

    assert_eq!(app.auth_api.calls_but_polls(), before);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_load_serves_all_who_wait_and_reads_every_page() {
    let app = TestApp::spawn().await;
    app.auth_api.set_page(2);
    for _ in 0..4 {
        app.auth_api.create_group(app.org_id, &[app.alice]);
    }
    let token = app.token(app.alice);

    let requests = (0..20).map(|_| {
        let (client, token) = (app.client.clone(), token.clone());
        tokio::spawn(async move { client.list_groups(&token, "").await })
    });
    for request in requests.collect::<Vec<_>>() {
        let answer = request.await.unwrap();
        assert_eq!(answer.body["items"].as_array().unwrap().len(), 5, "{answer:?}");
    }

    assert_eq!(app.auth_api.calls("/api/auth/directory"), 3, "one call for each page");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_goes_on_when_the_caller_hangs_up() {
    let app = TestApp::spawn().await;
    let url = format!("{}/api/chat/groups", app.client.url);
    app.peer.silence();
    let request = app.client.http().get(url).bearer_auth(app.token(app.alice));
    assert!(request.timeout(Duration::from_millis(100)).send().await.is_err());

    app.peer.mend();

    eventually("the organization is loaded", SOON, async || app.auth_api.calls("/api/auth/directory") == 1)
        .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auth_api_known_organizations_go_on_and_others_wait() {
    let app = TestApp::spawn().await;
    assert_eq!(app.send(app.alice, json!({ "content": "before" })).await.status, StatusCode::CREATED);
    let other_org = Uuid::now_v7();
    let carol = Uuid::now_v7();
    app.auth_api.create_group(other_org, &[carol]);
    let carols = app.auth_api.issuer.user(carol, other_org).permissions(&["groups:read"]).sign();

    app.peer.cut();
    assert_eq!(app.send(app.alice, json!({ "content": "during" })).await.status, StatusCode::CREATED);
    assert_eq!(app.history("").await.seqs(), [1, 2]);
    let started = std::time::Instant::now();
    let answer = app.client.list_groups(&carols, "").await;
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(answer.error(), (503, "dependency_unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
    // Removed while nobody could hear it.
    app.auth_api.remove_member(app.org_id, app.group_id, app.bob);
    assert!(app.is_ready().await, "a peer that is down makes nobody unready");

    app.peer.mend();
    let back = std::time::Instant::now();
    eventually("Bob is out", SOON, async || app.history("").await.error() == (403, "not_a_member")).await;
    eventually("Carol gets in", SOON, async || {
        app.client.list_groups(&carols, "").await.status == StatusCode::OK
    })
    .await;
    assert!(back.elapsed() < SOON);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_whose_connection_is_lost_is_asked_anew() {
    let app = TestApp::spawn().await;
    assert_eq!(app.history("").await.status, StatusCode::OK);
    app.peer.lose();
    app.auth_api.remove_member(app.org_id, app.group_id, app.bob);

    let back = std::time::Instant::now();
    eventually("Bob is out", Duration::from_secs(20), async || {
        app.history("").await.error() == (403, "not_a_member")
    })
    .await;
    assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_news_for_too_long_is_not_trusted() {
    let settings = vec![("DIRECTORY_MAX_STALE_SECONDS", "2".to_owned())];
    let app = TestApp::spawn_with(TestAppOptions { settings, ..Default::default() }).await;
    let token = app.token(app.alice);
    eventually("the organization is loaded", SOON, async || {
        app.client.list_groups(&token, "").await.status == StatusCode::OK
    })
    .await;

    app.peer.cut();
    eventually("the directory is too old", SOON, async || {
        app.client.list_groups(&token, "").await.error() == (503, "dependency_unavailable")
    })
    .await;
    app.peer.mend();
    eventually("the directory is current again", SOON, async || {
        app.client.list_groups(&token, "").await.status == StatusCode::OK
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_in_the_feed_makes_every_organization_load_anew() {
    let app = TestApp::spawn().await;
    let bob = app.token(app.bob);
    assert_eq!(app.client.get_group(&bob, app.group_id, "").await.status, StatusCode::OK);
    app.peer.cut();
    app.auth_api.remove_member_silently(app.group_id, app.bob);
    app.auth_api.forget_changes();

    app.peer.mend();

    eventually("the gap is noticed", SOON, async || {
        app.client.get_group(&bob, app.group_id, "").await.error() == (403, "not_a_member")
    })
    .await;
    assert_eq!(app.auth_api.calls("/api/auth/directory"), 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_new_groups_hold_a_removal_back_for_no_three_seconds() {
    let app = TestApp::spawn().await;
    let bob = app.token(app.bob);
    assert_eq!(app.client.get_group(&bob, app.group_id, "").await.status, StatusCode::OK);
    app.auth_api.slow_down(Duration::from_millis(50));
    for _ in 0..150 {
        app.auth_api.create_group(app.org_id, &[app.alice]);
    }
    app.auth_api.remove_member(app.org_id, app.group_id, app.bob);
    eventually("he is out", SOON, async || {
        app.client.get_group(&bob, app.group_id, "").await.status == StatusCode::FORBIDDEN
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_cannot_be_read_holds_no_other_organization_back() {
    let app = TestApp::spawn().await;
    let token = app.service_token("groups:read");
    let (elsewhere, alice) = (Uuid::now_v7(), app.token(app.alice));
    let count = async || {
        let list = app.client.list_groups(&token, &format!("?org_id={elsewhere}")).await;
        list.body["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((count().await, app.client.list_groups(&alice, "").await.status), (0, StatusCode::OK));

    app.auth_api.break_group(app.group_id);
    app.auth_api.rename_group(app.org_id, app.group_id, "Renamed");
    app.auth_api.create_group(elsewhere, &[]);

    eventually("the other organization's change arrives", SOON, async || count().await == 1).await;
    // Its own organization is read as a whole again, at its next use.
    eventually("the name is new", SOON, async || {
        app.client.get_group(&alice, app.group_id, "").await.body["name"] == "Renamed"
    })
    .await;
    app.auth_api.create_group(elsewhere, &[]);
    eventually("the feed goes on", SOON, async || count().await == 2).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_recently_used_organization_makes_room() {
    let settings = vec![("DIRECTORY_MAX_ORGS", "2".to_owned())];
    let app = TestApp::spawn_with(TestAppOptions { settings, ..Default::default() }).await;
    let token = app.service_token("groups:read");
    let orgs: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for org_id in &orgs {
        app.auth_api.create_group(*org_id, &[]);
        let answer = app.client.list_groups(&token, &format!("?org_id={org_id}")).await;
        assert_eq!(answer.body["items"].as_array().unwrap().len(), 1, "{answer:?}");
    }
    let metrics = app.admin("/metrics").await;
    assert!(metrics.body.as_str().unwrap().contains("\ndirectory_organizations 2\n"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_cannot_have_any_number_of_organizations_loaded() {
    let app = TestApp::spawn().await;
    let token = app.service_token("groups:read");
    let list = async || app.client.list_groups(&token, &format!("?org_id={}", Uuid::now_v7())).await;
    for _ in 0..60 {
        assert_eq!(list().await.status, StatusCode::OK);
    }
    let refused = list().await;
    assert_eq!(refused.error(), (429, "rate_limited"));
    assert_eq!(refused.headers["retry-after"], "60");
    app.stop().await;
}
