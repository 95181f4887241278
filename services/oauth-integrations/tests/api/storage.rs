//! Tokens at rest: encrypted, tied to their place, rewrapped, wiped (S18 to S23).

use std::collections::HashSet;

use reqwest::Method;

use crate::helpers::{
    Ask, TestApp,
    process::{self, KEYS},
};

const SECOND: &str = "test-2:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

async fn sealed(app: &TestApp, column: &str, kind: &str) -> String {
    app.database.text(&format!("SELECT {column} FROM installation_credentials WHERE kind = '{kind}'")).await
}

#[tokio::test]
async fn s18_each_write_has_a_nonce_and_a_data_key_of_its_own() {
    let app = TestApp::spawn().await;
    app.sim.world().slack.options.rotation = false;
    let id = app.connect_slack().await;
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let text = sealed(&app, "access_token_encrypted", "bot").await;
        let parts: Vec<&str> = text.split('|').collect();
        assert_eq!(parts.len(), 5, "version|key_id|wrapped key|nonce|ciphertext: {text}");
        assert_eq!(parts[1], "test-1");
        for part in &parts[2..] {
            assert!(seen.insert((*part).to_owned()), "the same again: {part}");
        }
        // The very same token, as Slack gives it without rotation.
        app.consent(simulator::Provider::Slack, [("workspace", "T0EXAMPLE")]);
        let browser = crate::helpers::Browser::new(&app);
        let path = format!("/oauth/install/slack?installation_id={id}");
        let started = browser.start(&path, &app.manager()).await.expect(302);
        browser.follow(started).await.page(200, "Slack connected");
    }
    assert_eq!(app.database.text("SELECT DISTINCT key_id FROM installation_credentials").await, "test-1");
}

#[tokio::test]
async fn s19_a_ciphertext_opens_in_its_own_place_only() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    app.hand_out("slack").await.expect(200);
    let own = sealed(&app, "access_token_encrypted", "bot").await;
    // Another column, another kind, another installation.
    let swaps = [
        "UPDATE installation_credentials SET access_token_encrypted = refresh_token_encrypted WHERE kind = 'bot'",
        "UPDATE installation_credentials b SET access_token_encrypted = u.access_token_encrypted FROM installation_credentials u WHERE b.kind = 'bot' AND u.kind = 'user'",
    ];
    for swap in swaps {
        app.database.execute(swap).await;
        let refused = app.hand_out("slack").await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(!refused.text.contains("access_token"), "{}", refused.text);
        let back = format!(
            "UPDATE installation_credentials SET access_token_encrypted = '{own}' WHERE kind = 'bot'"
        );
        app.database.execute(&back).await;
        app.hand_out("slack").await.expect(200);
    }
    // Another organization: the row moved there with everything.
    app.database
        .execute(&format!(
            "ALTER TABLE installation_credentials DROP CONSTRAINT installation_credentials_org_id_installation_id_fkey; \
             UPDATE installation_credentials SET org_id = '{0}'; UPDATE oauth_installations SET org_id = '{0}'",
            uuid::Uuid::nil()
        ))
        .await;
    let thief = app.auth_api.service("indexer-worker", "integrations:token:read", &[uuid::Uuid::nil()]);
    let path = format!("/oauth/token/slack?org_id={}", uuid::Uuid::nil());
    app.call(Method::GET, &path).bearer_auth(thief).ask().await.expect(503);
}

#[tokio::test]
async fn s20_an_old_key_opens_and_the_first_one_seals() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    app.connect_jira().await;
    let before = app.hand_out("slack").await.expect(200);
    app.stop().await;
    let both = format!("{SECOND},{KEYS}");
    let app2 = TestApp::with().on(&app.database).set("TOKEN_ENCRYPTION_KEYS", &both).spawn().await;
    let ask = async |app2: &TestApp| {
        let path = format!("/oauth/token/slack?org_id={}", app.org_id);
        let token = app2.auth_api.service("indexer-worker", "integrations:token:read", &[app.org_id]);
        app2.call(Method::GET, &path).bearer_auth(token).ask().await
    };
    assert_eq!(ask(&app2).await.expect(200).text_at("/access_token"), before.text_at("/access_token"));

    // Rewrapped twice: the second time there is nothing left to do, and nothing changes.
    let mut settings = process::base_settings("http://auth-api.test");
    settings.extend(app.database.settings(None));
    settings.push(("TOKEN_ENCRYPTION_KEYS", both));
    let old = "SELECT count(*) FROM installation_credentials WHERE key_id = 'test-1' OR access_token_encrypted LIKE '%|test-1|%'";
    assert!(app.database.number(old).await > 0);
    for _ in 0..2 {
        let outcome = process::run(&["keys", "rewrap"], &settings).await;
        assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(app.database.number(old).await, 0);
    }
    app2.stop().await;
    let new = TestApp::with().on(&app.database).set("TOKEN_ENCRYPTION_KEYS", SECOND).spawn().await;
    assert_eq!(ask(&new).await.expect(200).text_at("/access_token"), before.text_at("/access_token"));
    new.stop().await;

    // The key that is needed is not there any more: 503, and never anything in plain.
    let lost = TestApp::with().on(&app.database).spawn().await;
    let refused = ask(&lost).await.expect(503);
    assert!(!refused.text.contains(before.text_at("/access_token")));
    assert_eq!(
        app.database.text("SELECT status FROM oauth_installations WHERE platform = 'slack'").await,
        "active"
    );
}

#[tokio::test]
async fn s20_a_row_that_does_not_open_keeps_no_other_from_being_rewrapped() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    let jira = app.connect_jira().await;
    app.database
        .execute(&format!(
            "UPDATE installation_credentials SET key_id = 'lost', \
               access_token_encrypted = replace(access_token_encrypted, 'test-1', 'lost') \
             WHERE kind = 'bot'; \
             UPDATE installation_credentials SET access_token_encrypted = refresh_token_encrypted WHERE kind = 'user' \
               AND installation_id <> '{jira}'"
        ))
        .await;
    let mut settings = process::base_settings("http://auth-api.test");
    settings.extend(app.database.settings(None));
    settings.push(("TOKEN_ENCRYPTION_KEYS", format!("{SECOND},{KEYS}")));
    let outcome = process::run(&["keys", "rewrap"], &settings).await;
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    // Whoever took the old key out now would lose them, so it says which.
    let slack = app.only_installation("slack").await.to_string();
    assert!(outcome.stderr.contains(&slack) && outcome.stderr.contains("\"lost\""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("1 rewrapped; 2 cannot be opened"), "{}", outcome.stderr);
    let new = format!(
        "SELECT count(*) FROM installation_credentials WHERE key_id = 'test-2' AND installation_id = '{jira}'"
    );
    assert_eq!(app.database.number(&new).await, 1);
    assert_eq!(
        app.database.number("SELECT count(*) FROM installation_credentials WHERE key_id = 'test-2'").await,
        1
    );
}

#[tokio::test]
async fn s21_without_a_key_it_does_not_start() {
    let database = crate::helpers::TestDatabase::create().await;
    for keys in [None, Some(""), Some("k1:short"), Some("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")] {
        let mut settings = process::base_settings("http://auth-api.test");
        settings.extend(database.settings(None));
        settings.retain(|(name, _)| *name != "TOKEN_ENCRYPTION_KEYS");
        settings.extend(keys.map(|keys| ("TOKEN_ENCRYPTION_KEYS", keys.to_owned())));
        let outcome = process::run(&["serve"], &settings).await;
        assert_eq!(outcome.code, Some(64), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("TOKEN_ENCRYPTION_KEYS"), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn s22_a_dump_of_the_database_holds_none_of_the_secrets() {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    app.connect_jira().await;
    app.connect_slack().await;
    for platform in ["github", "jira", "slack"] {
        app.hand_out(platform).await.expect(200);
    }
    app.expire_tokens().await;
    for platform in ["github", "jira", "slack"] {
        app.hand_out(platform).await.expect(200);
    }
    app.callback(&crate::helpers::Browser::new(&app), "jira", []).await;
    let dump = app.database.dump().await;
    assert!(dump.contains("example-corp") && dump.contains("COPY public.installation_credentials"));
    let canaries = app.sim.canaries();
    assert!(canaries.len() > 20);
    for canary in canaries {
        assert!(!dump.contains(&canary), "{canary} is in the dump");
    }
    assert!(!dump.contains(simulator::MARK));
}

#[tokio::test]
async fn s23_revoking_wipes_the_tokens_even_when_the_provider_fails() {
    let app = TestApp::spawn().await;
    for (platform, fails) in [("github", false), ("jira", false), ("slack", false), ("slack", true)] {
        let id = match platform {
            "github" => app.connect_github().await,
            "jira" => app.connect_jira().await,
            _ => app.connect_slack().await,
        };
        app.hand_out(platform).await.expect(200);
        if fails {
            app.sim.fault(simulator::Fault::always(
                simulator::Provider::Slack,
                "/api/",
                simulator::FaultKind::ServerError,
            ));
        }
        let gone = app.delete(&format!("/oauth/installations/{id}")).await.expect(200);
        assert_eq!(gone.body["provider_revoked"], platform != "jira" && !fails, "{}", gone.text);
        assert_eq!(gone.text_at("/status"), "revoked");
        if platform == "jira" {
            assert!(gone.text_at("/help_url").starts_with("https://"), "{}", gone.text);
        }
        let left = format!(
            "SELECT count(*) FROM installation_credentials WHERE installation_id = '{id}' \
             AND (access_token_encrypted IS NOT NULL OR refresh_token_encrypted IS NOT NULL)"
        );
        assert_eq!(app.database.number(&left).await, 0);
        app.hand_out(platform).await.problem(404, "not_connected");
        app.sim.clear_faults();
    }
    assert!(app.sim.world().github.installations.is_empty());
}
