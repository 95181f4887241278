//! `GET /api/auth/groups`, `/{id}` and `/{id}/members` as spec 000 lays them out, and `POST /api/auth/groups`.

use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::helpers::{
    Ask, TestApp, credentials,
    fixtures::{BOUND, ERIN, WEAK},
};

#[tokio::test]
async fn a_session_a_user_token_and_a_service_token_see_the_same_group() {
    let app = TestApp::spawn().await;
    let group = app.group_id().await;
    let session = app.login(&app.alice().await).await;
    let service = app.scoped_token(&app.demo_client("chat-api-service").await, "groups:read").await;
    for path in [format!("/api/auth/groups/{group}"), format!("/api/auth/groups/{group}/members")] {
        let by_cookie = app.get(&path).header("cookie", &session.cookie).ask().await.expect(200);
        let by_user = app.get(&path).bearer_auth(&session.access_token).ask().await.expect(200);
        let by_service = app.get(&path).bearer_auth(&service).ask().await.expect(200);
        assert!(by_user.body == by_cookie.body && by_user.body == by_service.body, "{}", by_service.text);
    }
}

#[tokio::test]
async fn a_group_has_the_agreed_members() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let token = app.login(&alice).await.access_token;
    let group = app.group(&token, app.group_id().await).await.expect(200);
    let mut members: Vec<&str> = group.body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["created_at", "created_by", "description", "id", "name", "org_id", "updated_at"]);
    assert_eq!(group.text_at("/id"), app.group_id().await.to_string());
    assert_eq!(group.text_at("/org_id"), app.org_id().await.to_string());
    for time in ["/created_at", "/updated_at"] {
        let time =
            OffsetDateTime::parse(group.text_at(time), &Rfc3339).expect("a time as RFC 3339 writes it");
        assert!(time.offset().is_utc());
    }
}

#[tokio::test]
async fn members_are_a_bare_array() {
    let app = TestApp::spawn().await;
    let (alice, bob) = (app.alice().await, app.bob().await);
    let token = app.login(&alice).await.access_token;
    let answer = app.members(&token, app.group_id().await).await.expect(200);
    let mut expected = vec![alice.id.to_string(), bob.id.to_string()];
    expected.sort();
    assert_eq!(answer.each("", "/user_id"), expected);
    for member in answer.list_at("") {
        let mut names: Vec<&str> = member.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["email", "joined_at", "role", "user_id", "username"]);
    }
    assert_eq!(answer.each("", "/email").len(), 2);
}

#[tokio::test]
async fn without_a_token_it_is_authentication_required() {
    let app = TestApp::spawn().await;
    let group = app.group_id().await;
    for path in [
        "/api/auth/groups",
        &format!("/api/auth/groups/{group}"),
        &format!("/api/auth/groups/{group}/members"),
    ] {
        let answer = app.get(path).ask().await.problem(401, "authentication_required");
        assert_eq!(answer.text_at("/detail"), "Authentication required");
        assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")));
    }
}

#[tokio::test]
async fn a_service_without_groups_read_has_insufficient_scope() {
    let app = TestApp::spawn().await;
    let relay = app.service_token(&app.demo_client("oauth-relay-service").await).await;
    let weak = app.service_token(&credentials(WEAK)).await;
    let group = app.group_id().await;
    for token in [relay, weak] {
        for answer in [app.group(&token, group).await, app.members(&token, group).await] {
            let answer = answer.problem(403, "insufficient_scope");
            assert_eq!(answer.text_at("/detail"), "Insufficient scope");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"insufficient_scope\", scope=\"groups:read\""), "{challenge}");
        }
        let unknown = app.group(&token, Uuid::now_v7()).await;
        unknown.problem(403, "insufficient_scope");
    }
}

#[tokio::test]
async fn j3_a_token_for_another_audience_is_refused() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&app.demo_client("indexer-worker").await).await;
    app.group(&token, app.group_id().await).await.problem(401, "invalid_token");
    let narrowed = app
        .grant(&credentials(crate::helpers::fixtures::BROAD), &[("resource", "chat-api")])
        .await
        .expect(200);
    app.group(narrowed.text_at("/access_token"), app.group_id().await).await.problem(401, "invalid_token");
}

#[tokio::test]
async fn j8_a_token_in_the_query_is_not_looked_at() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let path = format!("/api/auth/groups/{}?access_token={token}", app.group_id().await);
    app.get(&path).ask().await.problem(401, "authentication_required");
}

#[tokio::test]
async fn a_member_of_the_org_sees_its_groups_even_when_in_none() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.person(ERIN).await).await.access_token;
    app.group(&token, app.group_id().await).await.expect(200);
    app.members(&token, app.group_id().await).await.expect(200);
}

#[tokio::test]
async fn the_list_is_the_orgs_and_comes_in_pages() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    for number in 1..5 {
        app.create_group(&token, &json!({ "name": format!("Group {number}") })).await.expect(201);
    }
    let whole = app.get("/api/auth/groups").bearer_auth(&token).ask().await.expect(200);
    assert_eq!(whole.list_at("/items").len(), 5);
    assert!(whole.body["next"].is_null(), "{}", whole.text);
    assert!(
        whole
            .each("/items", "/org_id")
            .iter()
            .all(|org| whole.list_at("/items")[0]["org_id"] == org.as_str())
    );
    let mut seen = Vec::new();
    let mut path = "/api/auth/groups?limit=2".to_owned();
    loop {
        let page = app.get(&path).bearer_auth(&token).ask().await.expect(200);
        assert!(page.list_at("/items").len() <= 2);
        seen.extend(page.each("/items", "/id"));
        let Some(next) = page.body["next"].as_str() else { break };
        path = format!("/api/auth/groups?limit=2&after={next}");
    }
    seen.sort();
    assert_eq!(seen, whole.each("/items", "/id"));
}

#[tokio::test]
async fn a_service_lists_the_groups_of_the_org_it_names() {
    let app = TestApp::spawn().await;
    let platform = app.scoped_token(&app.demo_client("chat-api-service").await, "groups:read").await;
    let list = async |token: &str, query: &str| {
        app.get(&format!("/api/auth/groups{query}")).bearer_auth(token).ask().await
    };
    list(&platform, "").await.problem(400, "validation_failed");
    let of_other = list(&platform, &format!("?org_id={}", app.other_org_id().await)).await.expect(200);
    assert_eq!(of_other.each("/items", "/id"), [app.carols_group_id().await.to_string()]);
    let bound = app.service_token(&credentials(BOUND)).await;
    let own = list(&bound, "").await.expect(200);
    assert_eq!(own.each("/items", "/id"), [app.group_id().await.to_string()]);
    list(&bound, &format!("?org_id={}", app.other_org_id().await)).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_made_group_is_there_at_once_with_its_maker_in_it() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let token = app.login(&alice).await.access_token;
    let made = app
        .create_group(&token, &json!({ "name": "  Plans  ", "description": "Next year" }))
        .await
        .expect(201);
    assert_eq!(made.text_at("/name"), "Plans");
    assert_eq!(made.text_at("/description"), "Next year");
    assert_eq!(made.text_at("/created_by"), alice.id.to_string());
    assert_eq!(made.text_at("/org_id"), app.org_id().await.to_string());
    let id: Uuid = made.text_at("/id").parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(app.group(&token, id).await.expect(200).body, made.body);
    assert_eq!(app.members(&token, id).await.expect(200).each("", "/user_id"), [alice.id.to_string()]);
}

#[tokio::test]
async fn a_group_needs_a_name() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let count = "SELECT count(*) FROM groups";
    let before = app.database.number(count).await;
    for body in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": "   " }),
        json!({ "name": "a\nb" }),
        json!({ "name": "x".repeat(101) }),
        json!({ "name": 7 }),
        json!({ "name": null }),
        json!([]),
        json!({ "name": "a\u{0}b" }),
        json!({ "name": "a", "description": "\u{0}" }),
        json!({ "name": "a", "description": "x".repeat(100_000) }),
    ] {
        let answer = app.create_group(&token, &body).await;
        assert!(matches!(answer.status, 400 | 413), "{body}: {}", answer.text);
    }
    assert_eq!(app.database.number(count).await, before);
}

#[tokio::test]
async fn only_those_with_groups_create_make_groups() {
    let app = TestApp::spawn().await;
    let body = json!({ "name": "Mine" });
    let bob = app.login(&app.bob().await).await.access_token;
    let refused = app.create_group(&bob, &body).await.problem(403, "permission_denied");
    assert_eq!(refused.text_at("/detail"), "Permission denied");
    let service = app.service_token(&app.demo_client("chat-api-service").await).await;
    assert_eq!(app.create_group(&service, &body).await.status, 403);
    app.post("/api/auth/groups").json(&body).ask().await.problem(401, "authentication_required");
    // Authentication comes before validation.
    app.post("/api/auth/groups").body("{").ask().await.problem(401, "authentication_required");
    app.create_group(&bob, &json!({})).await.problem(403, "permission_denied");
}

#[tokio::test]
async fn what_is_no_id_is_no_group() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    for id in ["x", "00000000", "%00", "' OR 1=1"] {
        let answer = app.get(&format!("/api/auth/groups/{id}")).bearer_auth(&token).ask().await;
        assert!(matches!(answer.status, 400 | 404), "{id}: {} {}", answer.status, answer.text);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    for query in ["limit=0", "limit=x", "limit=100000", "after=x", "org_id=x"] {
        let answer = app.get(&format!("/api/auth/groups?{query}")).bearer_auth(&token).ask().await;
        assert!(matches!(answer.status, 200 | 400), "{query}: {} {}", answer.status, answer.text);
    }
    app.get("/api/auth/groups?after=x").bearer_auth(&token).ask().await.problem(400, "validation_failed");
}
