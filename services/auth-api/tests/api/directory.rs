//! `GET /api/auth/directory`.

use serde_json::json;

use crate::helpers::{
    TestApp, credentials,
    fixtures::{BOUND, WEAK},
};

/// chat-api's token, which is good for every organization.
async fn reader(app: &TestApp) -> String {
    app.scoped_token(&app.demo_client("chat-api-service").await, "groups:read").await
}

#[tokio::test]
async fn it_lists_groups_with_their_members_and_roles() {
    let app = TestApp::spawn().await;
    let (alice, bob) = (app.alice().await, app.bob().await);
    let answer =
        app.directory(&reader(&app).await, &format!("org_id={}", app.org_id().await)).await.expect(200);
    let [group] = answer.list_at("/items") else { panic!("{}", answer.text) };
    assert_eq!(group["id"], app.group_id().await.to_string());
    assert_eq!(group["org_id"], app.org_id().await.to_string());
    let members = group["members"].as_array().expect("members");
    assert_eq!(members.len(), 2);
    for id in [alice.id, bob.id] {
        assert!(
            members.iter().any(|member| member["user_id"] == id.to_string() && member["role"] == "member"),
            "{group}"
        );
    }
    assert!(answer.body["next"].is_null());
    assert!(answer.text_at("/cursor").parse::<i64>().is_ok());
    assert!(!answer.text.contains("example.com"), "no addresses in the directory");
}

#[tokio::test]
async fn it_comes_in_pages_and_the_cursor_with_the_first() {
    let app = TestApp::spawn().await;
    let sql = "INSERT INTO groups (id, org_id, name, created_at, updated_at) \
               SELECT gen_random_uuid(), org_id, 'Group ' || n, now(), now() FROM groups, generate_series(1, 450) AS n WHERE id = ";
    app.database.execute(&format!("{sql}'{}'", app.group_id().await)).await;
    let token = reader(&app).await;
    let org = app.org_id().await;
    let mut seen = Vec::new();
    let mut query = format!("org_id={org}");
    let mut pages = 0;
    loop {
        let page = app.directory(&token, &query).await.expect(200);
        assert_eq!(page.body["cursor"].is_string(), pages == 0, "page {pages}");
        seen.extend(page.each("/items", "/id"));
        pages += 1;
        let Some(next) = page.body["next"].as_str() else { break };
        query = format!("org_id={org}&page={next}");
    }
    assert!(pages > 1);
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), count), (451, 451));
}

#[tokio::test]
async fn what_changes_after_the_first_page_is_in_the_feed_after_its_cursor() {
    let app = TestApp::spawn().await;
    let token = reader(&app).await;
    let cursor = app
        .directory(&token, &format!("org_id={}", app.org_id().await))
        .await
        .expect(200)
        .text_at("/cursor")
        .to_owned();
    let alice = app.login(&app.alice().await).await.access_token;
    let made = app.create_group(&alice, &json!({ "name": "Later" })).await.expect(201);
    let changes = app.changes(&token, &format!("after={cursor}")).await.expect(200);
    let ids = changes.each("/items", "/group_id");
    assert!(!ids.is_empty() && ids.iter().all(|id| id == made.text_at("/id")), "{}", changes.text);
}

#[tokio::test]
async fn it_is_for_services_with_groups_read() {
    let app = TestApp::spawn().await;
    let query = format!("org_id={}", app.org_id().await);
    let weak = app.service_token(&credentials(WEAK)).await;
    app.directory(&weak, &query).await.problem(403, "insufficient_scope");
    let alice = app.login(&app.alice().await).await.access_token;
    assert_eq!(app.directory(&alice, &query).await.status, 403);
}

#[tokio::test]
async fn a_service_names_the_org_and_only_one_of_its_own() {
    let app = TestApp::spawn().await;
    app.directory(&reader(&app).await, "").await.problem(400, "validation_failed");
    app.directory(&reader(&app).await, "org_id=x").await.problem(400, "validation_failed");
    app.directory(&reader(&app).await, &format!("org_id={}&page=x", app.org_id().await))
        .await
        .problem(400, "validation_failed");
    let bound = app.service_token(&credentials(BOUND)).await;
    app.directory(&bound, &format!("org_id={}", app.org_id().await)).await.expect(200);
    let foreign = app.directory(&bound, &format!("org_id={}", app.other_org_id().await)).await;
    foreign.problem(404, "not_found");
}

#[tokio::test]
async fn a_page_is_bounded_by_members_too_and_splits_no_group() {
    const MOST: usize = 5000;
    let app = TestApp::spawn().await;
    let org = app.org_id().await;
    let sql = format!(
        "INSERT INTO users (id, email, username, created_at, updated_at) \
         SELECT gen_random_uuid(), 'many' || n || '@example.com', 'many', now(), now() FROM generate_series(1, 6000) AS n; \
         INSERT INTO org_members (org_id, user_id, role, joined_at) \
         SELECT '{org}', id, 'member', now() FROM users WHERE username = 'many'; \
         INSERT INTO groups (id, org_id, name, created_at, updated_at) \
         SELECT gen_random_uuid(), '{org}', n::text, now(), now() FROM unnest(ARRAY[0, 100, 3000, 3000, 6000]) AS n; \
         INSERT INTO group_members (group_id, user_id, org_id, role, joined_at) \
         SELECT g.id, u.id, g.org_id, 'member', now() FROM groups g JOIN LATERAL (SELECT id FROM users \
         WHERE username = 'many' ORDER BY id LIMIT CASE WHEN g.name ~ '^[0-9]+$' THEN g.name::int ELSE 0 END) u ON true"
    );
    app.database.execute(&sql).await;
    let token = reader(&app).await;
    let (mut sizes, mut query) = (std::collections::HashMap::new(), format!("org_id={org}"));
    loop {
        let page = app.directory(&token, &query).await.expect(200);
        let groups = page.list_at("/items");
        let size = |group: &serde_json::Value| group["members"].as_array().expect("members").len();
        let members: usize = groups.iter().map(size).sum();
        assert!(members <= MOST || groups.len() == 1, "{members} members of {} groups", groups.len());
        for group in groups {
            let known = sizes.insert(group["id"].to_string(), (group["name"].to_string(), size(group)));
            assert!(known.is_none(), "a group comes once");
        }
        let Some(next) = page.body["next"].as_str() else { break };
        query = format!("org_id={org}&page={next}");
    }
    let mut sizes: Vec<_> =
        sizes.into_values().map(|(name, size)| (name.trim_matches('"').to_owned(), size)).collect();
    sizes.sort();
    let expected = [("0", 0), ("100", 100), ("3000", 3000), ("3000", 3000), ("6000", 6000), ("General", 2)];
    assert_eq!(sizes, expected.map(|(name, size)| (name.to_owned(), size)));
}
