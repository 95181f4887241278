//! What is done ahead of need: renewals, warnings, questions to the providers, and an end for what ended.

use oauth_integrations::domain::{credential, retention};

use crate::helpers::TestApp;

/// How the only installation is, and why.
async fn standing(app: &TestApp) -> (String, Option<String>) {
    let status = app.database.text("SELECT status FROM oauth_installations").await;
    (status, app.database.optional_text("SELECT status_reason FROM oauth_installations").await)
}

fn is(status: &str, reason: Option<&str>) -> (String, Option<String>) {
    (status.to_owned(), reason.map(str::to_owned))
}

#[tokio::test]
async fn a_token_in_use_is_renewed_before_it_ends_and_an_unused_one_is_left() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    let soon = "UPDATE installation_credentials SET token_expires_at = now() + interval '2 minutes'";
    app.database.execute(soon).await;
    assert_eq!(credential::renew_due(&app.integrations).await.unwrap(), 0);
    app.hand_out_with("jira", "&min_ttl=0").await.expect(200);
    // The hand-out of a token that ends soon renews it by itself.
    crate::helpers::until("it is renewed", async || app.refreshes("jira") == 1).await;
    app.database.execute(soon).await;
    credential::renew_due(&app.integrations).await.unwrap();
    assert_eq!(app.refreshes("jira"), 2);
    assert_eq!(credential::renew_due(&app.integrations).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refresh_token_that_would_end_unused_is_used() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    let idle = "UPDATE installation_credentials SET refresh_expires_at = now() + interval '29 days', \
                created_at = now() - interval '61 days', last_refresh_at = NULL";
    app.database.execute(idle).await;
    assert_eq!(credential::renew_due(&app.integrations).await.unwrap(), 1);
    assert_eq!(app.refreshes("jira"), 1);
    let days = "SELECT round(extract(epoch FROM refresh_expires_at - now()) / 86400)::bigint FROM installation_credentials";
    assert_eq!(app.database.number(days).await, 90);
}

#[tokio::test]
async fn a_grant_that_ends_soon_says_so_and_one_that_has_ended_too() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    let days = "SELECT round(extract(epoch FROM absolute_expires_at - now()) / 86400)::bigint FROM installation_credentials";
    assert_eq!(app.database.number(days).await, 365);
    credential::renew_due(&app.integrations).await.unwrap();
    assert_eq!(standing(&app).await, is("active", None));

    let ends_in = async |interval: &str| {
        let sql = format!(
            "UPDATE installation_credentials SET absolute_expires_at = now() + interval '{interval}'"
        );
        app.database.execute(&sql).await;
        credential::renew_due(&app.integrations).await.unwrap();
    };
    ends_in("29 days").await;
    assert_eq!(standing(&app).await, is("active", Some("grant_ends_soon")));
    app.hand_out("jira").await.expect(200);
    ends_in("300 days").await;
    assert_eq!(standing(&app).await, is("active", None));
    ends_in("-1 minutes").await;
    assert_eq!(standing(&app).await, is("needs_reconnect", Some("grant_expired")));
    app.hand_out("jira").await.problem(409, "needs_reconnect");
    app.connect_jira().await;
    assert_eq!(standing(&app).await, is("active", None));
    app.hand_out("jira").await.expect(200);
}

#[tokio::test]
async fn a_persons_token_beside_a_github_apps_own_warns_and_ends_nothing() {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    let ends_in = async |interval: &str| {
        let sql = format!(
            "UPDATE installation_credentials SET refresh_expires_at = now() + interval '{interval}', \
             last_refresh_at = now() WHERE kind = 'user'"
        );
        app.database.execute(&sql).await;
        credential::renew_due(&app.integrations).await.unwrap();
    };
    ends_in("13 days").await;
    assert_eq!(standing(&app).await, is("active", Some("grant_ends_soon")));
    ends_in("-1 minutes").await;
    assert_eq!(standing(&app).await.0, "active");
    app.hand_out("github").await.expect(200);
}

#[tokio::test]
async fn what_no_webhook_said_is_found_out_by_asking() {
    let app = TestApp::spawn().await;
    let id = app.connect_github().await;
    let number: u64 = app.installation(id).await.text_at("/external_install_id").parse().unwrap();
    let ask_again = async || {
        app.database.execute("UPDATE oauth_installations SET last_probed_at = NULL").await;
        credential::reconcile(&app.integrations).await.unwrap()
    };
    ask_again().await;
    assert_eq!(standing(&app).await, is("active", None));
    assert_eq!(credential::reconcile(&app.integrations).await.unwrap(), 0, "asked just now");
    app.sim.suspend_github_installation(number, true);
    ask_again().await;
    assert_eq!(standing(&app).await, is("suspended", Some("suspended_at_provider")));
    app.sim.suspend_github_installation(number, false);
    ask_again().await;
    assert_eq!(standing(&app).await, is("active", None));
    app.sim.delete_github_installation(number);
    ask_again().await;
    assert_eq!(standing(&app).await, is("needs_reconnect", Some("uninstalled")));
}

#[tokio::test]
async fn what_ended_is_deleted_and_nothing_else() {
    let app = TestApp::spawn().await;
    let browser = crate::helpers::Browser::new(&app);
    for _ in 0..2 {
        browser.start("/oauth/install/jira", &app.manager()).await.expect(302);
    }
    app.database
        .execute(
            "UPDATE oauth_states SET expires_at = now() - interval '1 second' \
             WHERE state = (SELECT min(state) FROM oauth_states); \
             INSERT INTO webhook_deliveries VALUES ('slack', 'old', now() - interval '8 days'), ('slack', 'new', now()); \
             INSERT INTO notices (id, created_at, payload, delivered_at) VALUES \
               (gen_random_uuid(), now() - interval '8 days', '{}', now() - interval '8 days'), \
               (gen_random_uuid(), now() - interval '6 days', '{}', now() - interval '6 days')",
        )
        .await;
    retention::purge(&app.integrations).await.unwrap();
    for (table, left) in [("oauth_states", 1), ("webhook_deliveries", 1), ("notices", 1)] {
        assert_eq!(app.database.number(&format!("SELECT count(*) FROM {table}")).await, left, "{table}");
    }
}

#[tokio::test]
async fn a_workspace_without_its_bot_is_not_well_because_the_persons_token_is() {
    let app = TestApp::spawn().await;
    let id = app.connect_slack().await;
    let bot = app.installation(id).await.text_at("/metadata/bot_user_id").to_owned();
    let webhook = app.sim.slack_revoked_webhook("T0EXAMPLE", app.sim.now(), &[], &[&bot]);
    assert_eq!(webhook.post(&app.http, &format!("{}/oauth/webhooks/slack", app.url)).await.unwrap(), 202);
    assert_eq!(standing(&app).await, is("needs_reconnect", Some("access_revoked")));
    credential::reconcile(&app.integrations).await.unwrap();
    assert_eq!(standing(&app).await, is("needs_reconnect", Some("access_revoked")));
    let checked =
        app.post(&format!("/oauth/installations/{id}/check"), &serde_json::json!({})).await.expect(200);
    assert_eq!(checked.text_at("/status"), "needs_reconnect");
}
