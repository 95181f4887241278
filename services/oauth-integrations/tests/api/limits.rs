//! Who may do how much (S41).

use reqwest::Method;
use uuid::Uuid;

use crate::helpers::{Answer, Ask, Browser, TestApp};

#[track_caller]
fn is_limited(answer: &Answer) {
    assert_eq!(answer.status, 429, "{}", answer.text);
    let wait = answer.header("retry-after").and_then(|it| it.parse::<u32>().ok());
    assert!(wait.is_some_and(|wait| (1..=60).contains(&wait)), "{:?}", answer.headers);
}

#[tokio::test]
async fn s41_an_address_may_start_and_come_back_so_often() {
    let app = TestApp::with()
        .set("RATE_LIMIT_BROWSER_PER_MINUTE", 3)
        .set("TRUSTED_PROXIES", "127.0.0.1")
        .spawn()
        .await;
    let from = async |address: &str, path: &str| {
        let request = app.call(Method::GET, path).header("x-forwarded-for", address);
        request.bearer_auth(app.manager()).ask().await
    };
    for _ in 0..3 {
        from("192.0.2.1", "/oauth/install/jira").await.expect(302);
    }
    is_limited(&from("192.0.2.1", "/oauth/install/jira").await);
    is_limited(&from("192.0.2.1", "/oauth/callback/jira?state=x").await);
    from("192.0.2.2", "/oauth/callback/jira?state=x").await.expect(303);
    assert!(from("192.0.2.1", "/oauth/installations").await.status == 200, "reading is not limited so");
}

#[tokio::test]
async fn s41_a_client_may_be_handed_so_many_tokens() {
    let app = TestApp::with().set("RATE_LIMIT_HAND_OUT_PER_MINUTE", 3).spawn().await;
    app.connect_slack().await;
    for _ in 0..3 {
        app.hand_out("slack").await.expect(200);
    }
    let limited = app.hand_out("slack").await.problem(429, "rate_limited");
    is_limited(&limited);
    let other = app.auth_api.service("mozaiks-runtime-service", "integrations:token:read", &[app.org_id]);
    let path = format!("/oauth/token/slack?org_id={}", app.org_id);
    app.call(Method::GET, &path).bearer_auth(other).ask().await.expect(200);
}

#[tokio::test]
async fn s41_an_organization_has_so_many_consents_under_way_and_old_ones_make_room() {
    let app = TestApp::with().set("MAX_LIVE_STATES_PER_ORG", 3).spawn().await;
    let browser = Browser::new(&app);
    for _ in 0..3 {
        browser.start("/oauth/install/jira", &app.manager()).await.expect(302);
    }
    is_limited(&browser.start("/oauth/install/jira", &app.manager()).await);
    let other = app.auth_api.manager(Uuid::now_v7(), Uuid::now_v7());
    browser.start("/oauth/install/jira", &other).await.expect(302);
    app.database.execute("UPDATE oauth_states SET expires_at = now() - interval '1 s'").await;
    browser.start("/oauth/install/jira", &app.manager()).await.expect(302);
}

#[tokio::test]
async fn s41_what_has_ended_is_thrown_away() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    for _ in 0..5 {
        browser.start("/oauth/install/jira", &app.manager()).await.expect(302);
    }
    app.call(Method::POST, "/oauth/page-tickets").bearer_auth(app.manager()).ask().await.expect(201);
    app.connect("slack", [("decision", "cancel")]).await.expect(200);
    app.database
        .execute(
            "UPDATE oauth_states SET expires_at = now() - interval '1 day'; UPDATE tickets SET expires_at = now() - interval '1 day'; \
             INSERT INTO webhook_deliveries VALUES ('slack', 'old', now() - interval '60 days')",
        )
        .await;
    oauth_integrations::domain::retention::purge(&app.integrations).await.unwrap();
    for table in ["oauth_states", "tickets", "webhook_deliveries"] {
        assert_eq!(app.database.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}
