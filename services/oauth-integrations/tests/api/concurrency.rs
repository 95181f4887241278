//! One refresh, whoever asks and however it ends (S43 to S47); with real processes where two of them matter.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use simulator::{Fault, FaultKind, Provider};
use uuid::Uuid;

use crate::helpers::{
    Answer, Ask, Browser, Process, TestApp,
    app::{SITE_1, http, settings},
    until,
    wait::eventually,
};

/// Two processes on the database that an app has filled and left.
struct Two {
    app: TestApp,
    processes: Vec<Process>,
    token: String,
}

impl Two {
    /// Starts them, with tokens that are expired once both are ready.
    async fn start(app: TestApp) -> Self {
        app.stop().await;
        let settings = settings(&app.sim, &app.auth_api, &app.database, &[]);
        let mut processes = Vec::new();
        for _ in 0..2 {
            let process = Process::serve(&settings).await;
            let ready = format!("{}/readyz", process.admin_url);
            until("the process is ready", async || http().get(&ready).ask().await.status == 200).await;
            processes.push(process);
        }
        app.expire_tokens().await;
        let token = app.indexer();
        Self { app, processes, token }
    }

    async fn hand_out(&self, process: usize, platform: &str) -> Answer {
        let path = format!("/oauth/token/{platform}?org_id={}", self.app.org_id);
        let url = format!("{}{path}", self.processes[process].url);
        http().get(url).bearer_auth(&self.token).ask().await
    }
}

/// How often a token was made anew: minted at GitHub, refreshed elsewhere.
fn renewals(app: &TestApp, platform: &str) -> usize {
    match platform {
        "github" => app.sim.count(Provider::Github, "POST /app/installations/{id}/access_tokens", ""),
        _ => app.refreshes(platform),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s43_a_hundred_hand_outs_over_two_processes_refresh_once() {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    app.connect_jira().await;
    app.connect_slack().await;
    app.hand_out("github").await.expect(200);
    // The user tokens stay out of it: nobody asks for them here.
    let two = Two::start(app).await;
    for platform in ["github", "jira", "slack"] {
        let before = renewals(&two.app, platform);
        let path = format!("/oauth/token/{platform}?org_id={}", two.app.org_id);
        let client = http();
        let asked = (0..100).map(|number| {
            let url = format!("{}{path}", two.processes[number % 2].url);
            client.get(url).bearer_auth(&two.token).ask()
        });
        let answers = join_all(asked).await;
        let mut tokens: Vec<&str> = answers.iter().map(|answer| answer.text_at("/access_token")).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!((tokens.len(), answers.len()), (1, 100), "{platform}");
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(renewals(&two.app, platform) - before, 1, "{platform}");
        let count = "SELECT sum(refreshed_count)::bigint FROM installation_credentials c JOIN oauth_installations i ON i.id = c.installation_id";
        let count = format!("{count} WHERE platform = '{platform}'");
        // GitHub's was minted once when it was handed out first.
        let written = if platform == "github" { 2 } else { 1 };
        assert_eq!(two.app.database.number(&count).await, written, "{platform}");
    }
    assert_eq!(two.app.database.number("SELECT count(*) FROM token_hand_outs").await, 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn s44_a_holder_that_is_killed_in_mid_refresh_holds_nobody_up_for_long() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    let mut two = Two::start(app).await;
    let slow = FaultKind::DelayReply { milliseconds: 20_000 };
    two.app.sim.fault(Fault::once(Provider::Atlassian, "POST /oauth/token", slow));
    let url = format!("{}/oauth/token/jira?org_id={}", two.processes[0].url, two.app.org_id);
    let asked = tokio::spawn(http().get(url).bearer_auth(&two.token).try_ask());
    until("the provider has rotated", async || two.app.refreshes("jira") == 1).await;
    two.processes[0].signal("KILL").await;
    assert_eq!(two.processes[0].exit_code().await, None);
    // It waited, was told to come again, or was cut off: whatever it was, it was no token.
    assert!(asked.await.unwrap().map_or(true, |answer| answer.status == 503));

    // As long as the lease lasts the other one says when to come again.
    let early = two.hand_out(1, "jira").await.problem(503, "temporarily_unavailable");
    assert!(early.header("retry-after").is_some());
    assert_eq!(two.app.refreshes("jira"), 1);
    two.app.database.execute("UPDATE installation_credentials SET lease_until = now()").await;
    let token = eventually("the next one proceeds", async || {
        let answer = two.hand_out(1, "jira").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(two.app.refreshes("jira"), 2, "the old token is good again within Atlassian's leeway");
    let url = format!("{}/ex/jira/{SITE_1}/rest/api/3/myself", two.app.sim.atlassian_url());
    http().get(url).bearer_auth(token.text_at("/access_token")).ask().await.expect(200);
}

/// Starts a hand-out whose refresh the provider answers late, and waits until the provider has rotated.
async fn begin_slowly(app: &TestApp) -> tokio::task::JoinHandle<Answer> {
    let slow = FaultKind::DelayReply { milliseconds: 3000 };
    app.sim.fault(Fault::once(Provider::Atlassian, "POST /oauth/token", slow));
    let path = format!("/oauth/token/jira?org_id={}", app.org_id);
    let asked = app.call(Method::GET, &path).bearer_auth(app.indexer());
    let before = app.refreshes("jira");
    let asked = tokio::spawn(asked.ask());
    until("the provider has rotated", async || app.refreshes("jira") == before + 1).await;
    asked
}

/// Waits until a refresh came too late.
async fn until_superseded(app: &TestApp) {
    until("the slow one is over", async || {
        let metrics = app.admin("/metrics").await.text;
        metrics.lines().any(|line| line.contains("superseded") && !line.ends_with(" 0"))
    })
    .await;
}

async fn version(app: &TestApp, id: Uuid) -> i64 {
    let sql =
        format!("SELECT credential_version FROM installation_credentials WHERE installation_id = '{id}'");
    app.database.number(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s45_a_reconnect_outlives_a_refresh_that_comes_later() {
    let app = TestApp::spawn().await;
    let id = app.connect_jira().await;
    app.expire_tokens().await;
    let asked = begin_slowly(&app).await;
    app.connect("jira", [("site", SITE_1)]).await.expect(200);
    let newest = version(&app, id).await;
    let token = app.hand_out("jira").await.expect(200);
    until_superseded(&app).await;
    let asked = asked.await.unwrap();
    assert!(asked.status == 503 || asked.status == 200, "{}", asked.text);
    assert_eq!(version(&app, id).await, newest);
    assert_eq!(
        app.hand_out("jira").await.expect(200).text_at("/access_token"),
        token.text_at("/access_token")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disconnected_during_a_refresh_stays_disconnected() {
    let app = TestApp::spawn().await;
    let id = app.connect_jira().await;
    app.expire_tokens().await;
    let asked = begin_slowly(&app).await;
    app.delete(&format!("/oauth/installations/{id}")).await.expect(200);
    until_superseded(&app).await;
    let asked = asked.await.unwrap();
    assert!(matches!(asked.status, 404 | 503), "{}", asked.text);
    let left = "SELECT count(*) FROM installation_credentials WHERE access_token_encrypted IS NOT NULL \
                OR refresh_token_encrypted IS NOT NULL";
    assert_eq!(app.database.number(left).await, 0);
    assert_eq!(app.database.text("SELECT status FROM oauth_installations").await, "revoked");
    app.hand_out("jira").await.problem(404, "not_connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_slower_than_its_lease_loses_to_the_one_that_took_over() {
    let app = TestApp::spawn().await;
    let id = app.connect_jira().await;
    app.stop().await;
    let settings = settings(&app.sim, &app.auth_api, &app.database, &[]);
    let (slow, quick) = (Process::serve(&settings).await, Process::serve(&settings).await);
    for process in [&slow, &quick] {
        let ready = format!("{}/readyz", process.admin_url);
        until("the process is ready", async || http().get(&ready).ask().await.status == 200).await;
    }
    app.expire_tokens().await;
    app.sim.fault(Fault::once(
        Provider::Atlassian,
        "POST /oauth/token",
        FaultKind::DelayReply { milliseconds: 4000 },
    ));
    let url = |process: &Process| format!("{}/oauth/token/jira?org_id={}", process.url, app.org_id);
    let asked = tokio::spawn(http().get(url(&slow)).bearer_auth(app.indexer()).ask());
    until("the provider has rotated", async || app.refreshes("jira") == 1).await;
    app.database.execute("UPDATE installation_credentials SET lease_until = now()").await;
    let token = http().get(url(&quick)).bearer_auth(app.indexer()).ask().await.expect(200);
    let newest = version(&app, id).await;
    assert_eq!(app.refreshes("jira"), 2);
    assert_eq!(asked.await.unwrap().status, 503);
    until("the slow one is over", async || {
        let metrics = http().get(format!("{}/metrics", slow.admin_url)).ask().await.text;
        metrics.lines().any(|line| line.contains("superseded") && !line.ends_with(" 0"))
    })
    .await;
    assert_eq!(version(&app, id).await, newest);
    let again = http().get(url(&slow)).bearer_auth(app.indexer()).ask().await.expect(200);
    assert_eq!(again.text_at("/access_token"), token.text_at("/access_token"));
    // What is stored can be refreshed once more.
    app.expire_tokens().await;
    http().get(url(&quick)).bearer_auth(app.indexer()).ask().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn s47_a_reply_that_was_lost_is_survived_where_the_provider_lets_it() {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    app.connect_jira().await;
    app.connect_slack().await;
    app.hand_out_with("github", "&kind=user").await.expect(200);
    for (platform, provider, endpoint) in [
        ("jira", Provider::Atlassian, "POST /oauth/token"),
        ("slack", Provider::Slack, "POST /api/oauth.v2.access"),
        ("github", Provider::Github, "POST /login/oauth/access_token"),
    ] {
        let more = if platform == "github" { "&kind=user" } else { "" };
        app.expire_tokens().await;
        app.sim.fault(Fault::once(provider, endpoint, FaultKind::ResetAfter));
        app.hand_out_with(platform, more).await.problem(503, "temporarily_unavailable");
        app.database.execute("UPDATE installation_credentials SET next_attempt_at = NULL").await;
        let next = app.hand_out_with(platform, more).await;
        if platform == "github" {
            // Both old tokens died at once: a person has to come back, for the user's token alone.
            next.problem(409, "needs_reconnect");
            app.hand_out("github").await.expect(200);
        } else {
            next.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_refresh_token_leaves_the_old_one_in_force() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    app.sim.world().atlassian.options.omit_refresh_token = true;
    for _ in 0..3 {
        app.expire_tokens().await;
        app.hand_out("jira").await.expect(200);
    }
    assert_eq!(app.refreshes("jira"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_up_costs_no_token() {
    let app = TestApp::spawn().await;
    app.connect_jira().await;
    app.expire_tokens().await;
    let slow = FaultKind::DelayReply { milliseconds: 1000 };
    app.sim.fault(Fault::once(Provider::Atlassian, "POST /oauth/token", slow));
    let path = format!("/oauth/token/jira?org_id={}", app.org_id);
    let asked = app.call(Method::GET, &path).bearer_auth(app.indexer()).timeout(Duration::from_millis(300));
    assert!(asked.try_ask().await.is_err());
    // The callback of a browser that goes away as well.
    let browser = Browser::new(&app);
    let callback = app.callback(&browser, "slack", [("workspace", "T0EXAMPLE")]).await;
    app.sim.fault(Fault::once(
        Provider::Slack,
        "oauth.v2.access",
        FaultKind::DelayReply { milliseconds: 1000 },
    ));
    assert!(tokio::time::timeout(Duration::from_millis(300), browser.get(&callback)).await.is_err());
    until("the callback was completed", async || app.installations("slack").await.len() == 1).await;
    app.hand_out("jira").await.expect(200);
    assert_eq!(app.refreshes("jira"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_a_workspace_ends_no_token_of_the_organization_that_has_it() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    let before = app.hand_out("slack").await.expect(200);
    let token = app.auth_api.manager(Uuid::now_v7(), Uuid::now_v7());
    let browser = Browser::new(&app);
    let attempt = async || {
        app.consent(Provider::Slack, [("workspace", "T0EXAMPLE")]);
        let started = browser.start("/oauth/install/slack", &token).await.expect(302);
        browser.follow(started).await.page(200, "Slack not connected");
        // Slack has given the next tokens of the same chains, and the last refresh tokens end.
        app.sim.advance_clock(24 * 3600);
        app.expire_tokens().await;
    };
    attempt().await;
    let after = app.hand_out("slack").await.expect(200);
    assert_ne!(after.text_at("/access_token"), before.text_at("/access_token"));
    app.hand_out_with("slack", "&kind=user").await.expect(200);

    // What somebody has ended is not brought to life again by others.
    app.database
        .execute("UPDATE installation_credentials SET refused_reason = 'access_revoked' WHERE kind = 'user'")
        .await;
    attempt().await;
    app.hand_out("slack").await.expect(200);
    app.hand_out_with("slack", "&kind=user").await.problem(409, "needs_reconnect");
    app.database.execute("UPDATE oauth_installations SET status = 'needs_reconnect'").await;
    let version = "SELECT sum(credential_version)::bigint FROM installation_credentials";
    let seen = app.database.number(version).await;
    attempt().await;
    assert_eq!(app.database.number(version).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_organizations_that_connect_one_account_at_once_get_it_once() {
    let app = TestApp::spawn().await;
    let (one, other) = (Browser::new(&app), Browser::new(&app));
    let first = app.callback(&one, "slack", [("workspace", "T0EXAMPLE")]).await;
    app.consent(Provider::Slack, [("workspace", "T0EXAMPLE")]);
    let token = app.auth_api.manager(Uuid::now_v7(), Uuid::now_v7());
    let started = other.start("/oauth/install/slack", &token).await.expect(302);
    let second = other.until_callback(started).await;
    // Both have looked for the workspace, and found it nowhere, before either may write.
    app.database.execute("BEGIN; LOCK TABLE oauth_installations IN SHARE MODE").await;
    let come_back = async { tokio::join!(one.get(&first), other.get(&second)) };
    let let_go = async {
        app.database.until_waiting("INSERT INTO oauth_installations%", 2).await;
        app.database.execute("COMMIT").await;
    };
    let ((first, second), ()) = tokio::join!(come_back, let_go);
    let mut headings =
        [one.follow(first).await.expect(200).heading(), other.follow(second).await.expect(200).heading()];
    headings.sort();
    assert_eq!(headings, ["Slack connected", "Slack not connected"]);
    assert_eq!(app.database.number("SELECT count(*) FROM oauth_installations").await, 1);
    assert_eq!(
        app.database.number("SELECT count(DISTINCT installation_id) FROM installation_credentials").await,
        1
    );
}
