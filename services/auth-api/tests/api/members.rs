//! Members of groups and of the organization.

use serde_json::json;
use uuid::Uuid;

use crate::helpers::{
    Ask, TestApp,
    fixtures::{DORA, ERIN, OLGA},
    tokens,
    wait::until,
};

#[tokio::test]
async fn a_member_is_added_once() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let (group, erin) = (app.group_id().await, app.person(ERIN).await);
    let added = app.add_member(&token, group, &json!({ "user_id": erin.id })).await.expect(201);
    assert_eq!(added.text_at("/user_id"), erin.id.to_string());
    assert_eq!(added.text_at("/role"), "member");
    assert_eq!(added.text_at("/username"), "erin");
    let again = app.add_member(&token, group, &json!({ "user_id": erin.id })).await.expect(200);
    assert_eq!(added.body, again.body);
    let ids = app.members(&token, group).await.expect(200).each("", "/user_id");
    assert_eq!(ids.iter().filter(|id| **id == erin.id.to_string()).count(), 1);
}

#[tokio::test]
async fn adding_with_another_role_changes_it() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let (group, bob) = (app.group_id().await, app.bob().await);
    let changed =
        app.add_member(&token, group, &json!({ "user_id": bob.id, "role": "admin" })).await.expect(200);
    assert_eq!(changed.text_at("/role"), "admin");
    let members = app.members(&token, group).await.expect(200);
    let role = |member: &serde_json::Value| {
        (member["user_id"] == bob.id.to_string()).then(|| member["role"].clone())
    };
    assert_eq!(members.list_at("").iter().find_map(role), Some(json!("admin")));
}

#[tokio::test]
async fn only_members_of_the_org_can_be_added() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let group = app.group_id().await;
    let carol = app.add_member(&token, group, &json!({ "user_id": app.carol().await.id })).await;
    let unknown = app.add_member(&token, group, &json!({ "user_id": Uuid::now_v7() })).await;
    assert!((400..500).contains(&carol.status), "{}", carol.text);
    assert_eq!(
        (carol.status, &carol.body["error"], &carol.body["detail"]),
        (unknown.status, &unknown.body["error"], &unknown.body["detail"])
    );
    assert_eq!(app.members(&token, group).await.list_at("").len(), 2);
}

#[tokio::test]
async fn a_bad_body_is_400() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    for body in [
        json!({}),
        json!({ "user_id": "x" }),
        json!({ "user_id": app.person(ERIN).await.id, "role": "king" }),
        json!([]),
    ] {
        app.add_member(&token, app.group_id().await, &body).await.problem(400, "validation_failed");
    }
}

#[tokio::test]
async fn a_removed_member_is_gone_and_cannot_be_removed_again() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let (group, bob) = (app.group_id().await, app.bob().await);
    let removed = app.remove_member(&token, group, bob.id).await.expect(204);
    assert_eq!(removed.text, "");
    assert!(!app.members(&token, group).await.text.contains(&bob.id.to_string()));
    app.remove_member(&token, group, bob.id).await.problem(404, "not_found");
    app.remove_member(&token, group, Uuid::now_v7()).await.problem(404, "not_found");
    app.remove_member(&token, Uuid::now_v7(), bob.id).await.problem(404, "not_found");
}

#[tokio::test]
async fn only_those_with_members_manage_change_members() {
    let app = TestApp::spawn().await;
    let (group, org) = (app.group_id().await, app.org_id().await);
    let (alice, erin) = (app.alice().await, app.person(ERIN).await);
    let bob = app.login(&app.bob().await).await.access_token;
    let service = app.service_token(&app.demo_client("chat-api-service").await).await;
    for (token, error) in [(&bob, "permission_denied"), (&service, "permission_denied")] {
        app.add_member(token, group, &json!({ "user_id": erin.id })).await.problem(403, error);
        app.remove_member(token, group, alice.id).await.problem(403, error);
        app.remove_org_member(token, org, erin.id).await.problem(403, error);
    }
}

#[tokio::test]
async fn a_member_removed_from_the_org_loses_groups_tokens_and_logins_there() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let (group, bob) = (app.group_id().await, app.bob().await);
    let bobs = app.login(&bob).await;
    app.remove_org_member(&token, app.org_id().await, bob.id).await.expect(204);
    assert!(!app.members(&token, group).await.text.contains(&bob.id.to_string()));
    until("his token is refused", async || app.me(&bobs.access_token).await.status == 401).await;
    let login = app.try_login(&bob).await;
    assert!((400..500).contains(&login.status), "{}", login.text);
    app.remove_org_member(&token, app.org_id().await, bob.id).await.problem(404, "not_found");
}

#[tokio::test]
async fn removal_from_one_org_leaves_the_other_alone() {
    let app = TestApp::spawn().await;
    let dora = app.person(DORA).await;
    let login = async |org: Uuid| {
        let body = json!({ "email": dora.email, "password": dora.password, "org_id": org });
        app.login_with(&body).await.expect(200).text_at("/access_token").to_owned()
    };
    let (here, there) = (login(app.org_id().await).await, login(app.other_org_id().await).await);
    let alice = app.login(&app.alice().await).await.access_token;
    app.remove_org_member(&alice, app.org_id().await, dora.id).await.expect(204);
    until("the one is refused", async || app.me(&here).await.status == 401).await;
    app.me(&there).await.expect(200);
    // With one organization left, it need not be named any more.
    let answer = app.try_login(&dora).await.expect(200);
    assert_eq!(
        tokens::claims(answer.text_at("/access_token"))["org_id"],
        app.other_org_id().await.to_string()
    );
}

#[tokio::test]
async fn o3_the_last_owner_stays() {
    let app = TestApp::spawn().await;
    let olga = app.person(OLGA).await;
    let token = app.login(&olga).await.access_token;
    app.remove_org_member(&token, app.org_id().await, olga.id).await.problem(409, "conflict");
    app.me(&token).await.expect(200);
}

#[tokio::test]
async fn nobody_removes_somebody_above() {
    let app = TestApp::spawn().await;
    let olga = app.person(OLGA).await;
    let alice = app.login(&app.alice().await).await.access_token;
    app.remove_org_member(&alice, app.org_id().await, olga.id).await.problem(403, "permission_denied");
    app.login(&olga).await;
}

#[tokio::test]
async fn no_token_of_the_same_second_survives_a_removal() {
    let app = TestApp::spawn().await;
    let bob = app.bob().await;
    let alice = app.login(&app.alice().await).await.access_token;
    let org = app.org_id().await;
    for _ in 0..3 {
        let before = app.login(&bob).await.access_token;
        app.remove_org_member(&alice, org, bob.id).await.expect(204);
        let sql = format!("INSERT INTO org_members VALUES ('{org}', '{}', 'member', now())", bob.id);
        app.database.execute(&sql).await;
        // Back within the same second: the new token has to be told from the old one.
        let after = app.login(&bob).await.access_token;
        until("the old one is refused", async || app.me(&before).await.status == 401).await;
        app.me(&after).await.expect(200);
    }
}

#[tokio::test]
async fn changes_of_members_are_written_down() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let (group, erin) = (app.group_id().await, app.person(ERIN).await);
    app.add_member(&token, group, &json!({ "user_id": erin.id })).await.expect(201);
    app.remove_member(&token, group, erin.id).await.expect(204);
    app.remove_org_member(&token, app.org_id().await, erin.id).await.expect(204);
    let sql = format!(
        "SELECT count(*) FROM audit WHERE actor = '{}' AND target LIKE '%{}%'",
        app.alice().await.id,
        erin.id
    );
    assert_eq!(app.database.number(&sql).await, 3);
}

#[tokio::test]
async fn a_member_can_be_in_a_body_of_any_json_order() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let body = format!(r#"{{"role":"admin","extra":1,"user_id":"{}"}}"#, app.person(ERIN).await.id);
    let path = format!("/api/auth/groups/{}/members", app.group_id().await);
    let request = app.post(&path).bearer_auth(&token).header("content-type", "application/json").body(body);
    request.ask().await.expect(201);
}
