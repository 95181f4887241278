//! What is done ahead of need: renewals, warnings, questions to the providers, and an end for what ended.

use std::sync::Arc;

use oauth_integrations::{
    config::Config,
    domain::{Integrations, credential, retention},
};
use simulator::{Fault, FaultKind, Provider};

use crate::helpers::{Ask, TestApp, app::settings, until};

/// A refresh token that ends within a month and was not used for two.
const IDLE: &str = "UPDATE installation_credentials SET refresh_expires_at = now() + interval '29 days', \
                    created_at = now() - interval '61 days', last_refresh_at = NULL";

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
    let written = "SELECT refreshed_count FROM installation_credentials";
    until("it is renewed", async || app.database.number(written).await == 1).await;
    app.database.execute(soon).await;
    credential::renew_due(&app.integrations).await.unwrap();
    assert_eq!(app.refreshes("jira"), 2);
    assert_eq!(credential::renew_due(&app.integrations).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refresh_token_that_would_end_unused_is_used() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    app.database.execute(IDLE).await;
    assert_eq!(credential::renew_due(&app.integrations).await.unwrap(), 1);
    assert_eq!(app.refreshes("jira"), 1);
    let days = "SELECT round(extract(epoch FROM refresh_expires_at - now()) / 86400)::bigint FROM installation_credentials";
    assert_eq!(app.database.number(days).await, 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_sweep_at_once_use_a_refresh_token_once() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    let settings = settings(&app.sim, &app.auth_api, &app.database, &[]);
    let pairs = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let registry = prometheus::Registry::new();
    let other = Arc::new(Integrations::new(&Config::from_pairs(pairs).unwrap(), &registry).unwrap());
    app.database.execute(IDLE).await;
    // Both have found it before either takes it.
    app.database.execute("BEGIN; SELECT FROM installation_credentials FOR UPDATE").await;
    let sweeps =
        async { tokio::join!(credential::renew_due(&app.integrations), credential::renew_due(&other)) };
    let let_go = async {
        app.database.until_waiting("UPDATE installation_credentials%", 2).await;
        app.database.execute("COMMIT").await;
    };
    let ((one, two), ()) = tokio::join!(sweeps, let_go);
    assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    assert_eq!(app.refreshes("jira"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_was_cut_off_is_made_up_for_while_the_provider_still_lets_it() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    app.expire_tokens().await;
    app.sim.fault(Fault::once(Provider::Atlassian, "POST /oauth/token", FaultKind::ResetAfter));
    // Whoever asked does not come again, and nobody was handed it for a day.
    app.hand_out("jira").await.problem(503, "temporarily_unavailable");
    app.database.execute("UPDATE installation_credentials SET next_attempt_at = NULL").await;
    credential::renew_due(&app.integrations).await.unwrap();
    assert_eq!(app.refreshes("jira"), 2, "the reply was lost, so the old token is used again");
    app.hand_out("jira").await.expect(200);
    assert_eq!(app.refreshes("jira"), 2);

    // A holder that was killed left its lease.
    app.database
        .execute(
            "DELETE FROM token_hand_outs; \
             UPDATE installation_credentials SET lease_holder = gen_random_uuid(), lease_until = now() - interval '1 second'",
        )
        .await;
    credential::renew_due(&app.integrations).await.unwrap();
    assert_eq!(app.refreshes("jira"), 3);
    assert_eq!(credential::renew_due(&app.integrations).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_about_a_renewed_token_is_no_word_on_the_new_one() {
    let app = TestApp::spawn().await;
    let id = app.connect_jira().await;
    // The token has ended at Atlassian, and as far as is known here it lasts ten minutes more.
    app.sim.advance_clock(3601);
    let soon = "UPDATE installation_credentials SET token_expires_at = now() + interval '10 minutes'";
    app.database.execute(soon).await;
    let asked = || app.sim.count(Provider::Atlassian, "GET /oauth/token/accessible-resources", "");
    let before = asked();
    let slow = FaultKind::Delay { milliseconds: 1500 };
    app.sim.fault(Fault::once(Provider::Atlassian, "accessible-resources", slow));
    let path = format!("/oauth/installations/{id}/check");
    let check = app.call(reqwest::Method::POST, &path).bearer_auth(app.manager()).ask();
    let check = tokio::spawn(check);
    until("Atlassian is asked with the old token", async || asked() == before + 1).await;
    app.hand_out_with("jira", "&min_ttl=3000").await.expect(200);
    assert_eq!(app.refreshes("jira"), 1);
    assert_eq!(check.await.unwrap().expect(200).text_at("/status"), "active");
    app.hand_out("jira").await.expect(200);
}

#[tokio::test]
async fn a_renewal_that_goes_on_failing_is_said_and_taken_back() {
    let app = TestApp::spawn().await;
    let id = app.connect_jira().await;
    app.expire_tokens().await;
    let at_once = "UPDATE installation_credentials SET next_attempt_at = NULL";
    app.sim.fault(Fault::always(Provider::Atlassian, "POST /oauth/token", FaultKind::ServerError));
    for failures in 0..10 {
        if failures == 5 {
            credential::renew_due(&app.integrations).await.unwrap();
            assert_eq!(standing(&app).await, is("active", None), "that may pass");
        }
        app.database.execute(at_once).await;
        app.hand_out("jira").await.problem(503, "temporarily_unavailable");
    }
    credential::renew_due(&app.integrations).await.unwrap();
    assert_eq!(standing(&app).await, is("active", Some("renewal_fails")));
    assert_eq!(app.installation(id).await.text_at("/status_reason"), "renewal_fails");
    // Nobody asks any more; it is tried nevertheless.
    app.sim.clear_faults();
    until("it is well again", async || {
        // It takes minutes to fail so often that it is left alone for an hour; here it takes none.
        let soon =
            "UPDATE installation_credentials SET next_attempt_at = NULL, failures = 10 WHERE failures >= 10";
        app.database.execute(soon).await;
        credential::renew_due(&app.integrations).await.unwrap();
        app.database.number("SELECT refreshed_count FROM installation_credentials").await == 1
    })
    .await;
    assert_eq!(standing(&app).await, is("active", None));
    app.hand_out("jira").await.expect(200);
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
    assert_eq!(
        credential::reconcile(&app.integrations).await.unwrap(),
        0,
        "the provider has just said how it is"
    );
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
             INSERT INTO webhook_deliveries VALUES ('slack', 'new', now()); \
             INSERT INTO webhook_deliveries SELECT 'slack', 'old-' || n, now() - interval '8 days' FROM generate_series(1, 1200) n; \
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
