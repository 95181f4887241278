//! Whose clock counts: the database's, which all replicas share. Here the replica's own is far ahead of it.

use std::sync::Arc;

use auth_api::domain::retention;
use time::OffsetDateTime;

use crate::helpers::{TestApp, TestDatabase, credentials, fixtures::BOUND, tokens};

/// A database whose clock is so far behind.
async fn behind(interval: &str) -> Arc<TestDatabase> {
    let database = TestDatabase::create().await;
    let functions = ["clock_timestamp", "now"].map(|name| {
        format!(
            "CREATE FUNCTION public.{name}() RETURNS timestamptz LANGUAGE sql VOLATILE \
             AS $$ SELECT pg_catalog.{name}() - interval '{interval}' $$;"
        )
    });
    // PostgreSQL's own come first unless they are named last.
    let path = format!("ALTER DATABASE {} SET search_path = public, pg_catalog;", database.name);
    database.execute(&format!("{}{path}", functions.concat())).await;
    Arc::new(database)
}

#[tokio::test]
async fn a_services_token_is_issued_by_the_databases_clock() {
    let app = TestApp::with().on(&behind("10 minutes").await).spawn().await;
    let token = app.service_token(&credentials(BOUND)).await;
    let age = OffsetDateTime::now_utc().unix_timestamp() - tokens::claims(&token)["iat"].as_i64().unwrap();
    assert!((600..610).contains(&age), "issued {age} seconds ago");
}

#[tokio::test]
async fn what_ends_by_the_databases_clock_is_swept_by_it() {
    let app = TestApp::with().on(&behind("100 days").await).spawn().await;
    app.login(&app.alice().await).await;
    retention::sweep(&app.identity().await).await.unwrap();
    for table in ["families", "sessions"] {
        assert_eq!(app.database.number(&format!("SELECT count(*) FROM {table}")).await, 1, "{table}");
    }
}
