//! An older version starts on the schema of a newer one.

use std::sync::Arc;

use crate::helpers::{TestApp, TestDatabase, process};

/// What a later version might add: a migration that this one does not know, a table, a column.
const NEWER: &str = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
     VALUES (999, 'later', '2030-01-01T00:00:00Z', '1234567890'); \
     CREATE TABLE later (id bigint PRIMARY KEY); \
     ALTER TABLE users ADD COLUMN later text NOT NULL DEFAULT ''; \
     ALTER TABLE groups ADD COLUMN later bigint;";

#[tokio::test]
async fn a_migration_that_is_not_known_stops_nothing() {
    let database = Arc::new(TestDatabase::create().await);
    database.execute(NEWER).await;
    let app = TestApp::with().on(&database).spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    app.group(&token, app.group_id().await).await.expect(200);
    app.create_group(&token, &serde_json::json!({ "name": "New" })).await.expect(201);
    let outcome = process::run_on(&database, &["migrate"]).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(database.number("SELECT count(*) FROM refinery_schema_history WHERE version = 999").await, 1);
}
