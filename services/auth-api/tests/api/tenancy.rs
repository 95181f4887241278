//! A foreign id reads exactly like an unknown one.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::helpers::{
    Answer, Ask, TestApp, credentials,
    fixtures::{BOUND, BOUND_ELSEWHERE, ERIN},
};

/// Nothing tells the two answers apart.
#[track_caller]
fn look_alike(foreign: Answer, unknown: Answer) {
    let plain = |answer: Answer| {
        let answer = answer.problem(404, "not_found");
        let mut body = answer.body.clone();
        body["request_id"] = Value::Null;
        let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        (body, headers)
    };
    assert_eq!(plain(foreign), plain(unknown));
}

#[tokio::test]
async fn o1_a_user_of_another_org_sees_nothing() {
    let app = TestApp::spawn().await;
    let carol = app.login(&app.carol().await).await.access_token;
    let (foreign, unknown) = (app.group_id().await, Uuid::now_v7());
    look_alike(app.group(&carol, foreign).await, app.group(&carol, unknown).await);
    look_alike(app.members(&carol, foreign).await, app.members(&carol, unknown).await);
    let erin = app.person(ERIN).await.id;
    let body = json!({ "user_id": app.carol().await.id });
    look_alike(app.add_member(&carol, foreign, &body).await, app.add_member(&carol, unknown, &body).await);
    look_alike(
        app.remove_member(&carol, foreign, erin).await,
        app.remove_member(&carol, unknown, erin).await,
    );
    let (org, no_org) = (app.org_id().await, Uuid::now_v7());
    look_alike(
        app.remove_org_member(&carol, org, erin).await,
        app.remove_org_member(&carol, no_org, erin).await,
    );
    assert_eq!(app.database.number("SELECT count(*) FROM group_members").await, 3, "nothing was changed");
    let member = format!("SELECT count(*) FROM org_members WHERE user_id = '{erin}'");
    assert_eq!(app.database.number(&member).await, 1);
}

#[tokio::test]
async fn o1_an_owner_does_not_remove_a_member_of_another_org_through_its_own() {
    let app = TestApp::spawn().await;
    let carol = app.login(&app.carol().await).await.access_token;
    let bob = app.bob().await;
    let own_org = app.other_org_id().await;
    look_alike(
        app.remove_org_member(&carol, own_org, bob.id).await,
        app.remove_org_member(&carol, own_org, Uuid::now_v7()).await,
    );
    app.login(&bob).await;
}

#[tokio::test]
async fn o1_a_session_of_another_org_sees_nothing() {
    let app = TestApp::spawn().await;
    let session = app.login(&app.carol().await).await;
    let get = async |id: Uuid| {
        let request = app.get(&format!("/api/auth/groups/{id}")).header("cookie", &session.cookie);
        crate::helpers::Ask::ask(request).await
    };
    look_alike(get(app.group_id().await).await, get(Uuid::now_v7()).await);
}

#[tokio::test]
async fn a_service_bound_to_one_org_sees_no_other() {
    let app = TestApp::spawn().await;
    let here = app.service_token(&credentials(BOUND)).await;
    let elsewhere = app.service_token(&credentials(BOUND_ELSEWHERE)).await;
    let (group, carols) = (app.group_id().await, app.carols_group_id().await);
    for (token, own, foreign) in [(&here, group, carols), (&elsewhere, carols, group)] {
        app.group(token, own).await.expect(200);
        app.members(token, own).await.expect(200);
        look_alike(app.group(token, foreign).await, app.group(token, Uuid::now_v7()).await);
        look_alike(app.members(token, foreign).await, app.members(token, Uuid::now_v7()).await);
    }
}

#[tokio::test]
async fn a_user_cannot_name_another_org() {
    let app = TestApp::spawn().await;
    let alice = app.login(&app.alice().await).await.access_token;
    let list = async |org: Uuid| {
        let request = app.get(&format!("/api/auth/groups?org_id={org}")).bearer_auth(&alice);
        crate::helpers::Ask::ask(request).await
    };
    look_alike(list(app.other_org_id().await).await, list(Uuid::now_v7()).await);
    list(app.org_id().await).await.expect(200);
}

#[tokio::test]
async fn a_platform_service_sees_every_group_without_naming_its_org() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&app.demo_client("chat-api-service").await).await;
    for group in [app.group_id().await, app.carols_group_id().await] {
        app.group(&token, group).await.expect(200);
        app.members(&token, group).await.expect(200);
    }
    app.group(&token, Uuid::now_v7()).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_service_that_is_bound_to_an_org_introspects_no_token_of_another() {
    let app = TestApp::spawn().await;
    let sql =
        "UPDATE clients SET scopes = scopes || '{tokens:introspect}' WHERE client_id = 'elsewhere-service'";
    app.database.execute(sql).await;
    let client = credentials(BOUND_ELSEWHERE);
    let bearer = app.service_token(&client).await;
    let (alice, carol) = (app.login(&app.alice().await).await, app.login(&app.carol().await).await);
    for (session, is_active) in [(&alice, false), (&carol, true)] {
        for token in [&session.access_token, &session.refresh_token] {
            assert_eq!(app.introspect(&client, token).await.body["active"], is_active);
            let request = app.post("/oauth/introspect").bearer_auth(&bearer).form(&[("token", token)]);
            assert_eq!(request.ask().await.body["active"], is_active);
        }
    }
}
