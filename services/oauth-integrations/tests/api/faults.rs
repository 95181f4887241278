//! A provider that fails costs no credential (S46), and its wish to be left alone is heard (S42).

use simulator::{Fault, FaultKind, Provider};

use crate::helpers::{Ask, Browser, CutProxy, TestApp, app::SITE_1, until, wait::eventually};

const ENDPOINTS: [(&str, Provider, &str); 3] = [
    ("github", Provider::Github, "/access_tokens"),
    ("jira", Provider::Atlassian, "POST /oauth/token"),
    ("slack", Provider::Slack, "oauth.v2.access"),
];

/// Forgets the pause after a failure, as time would.
async fn forget_pause(app: &TestApp) {
    app.database.execute("UPDATE installation_credentials SET next_attempt_at = NULL, failures = 0").await;
}

async fn row(app: &TestApp, platform: &str) -> String {
    let sql = format!(
        "SELECT concat_ws('|', i.status, i.status_reason, string_agg(concat_ws('|', c.kind, c.access_token_encrypted, \
         c.refresh_token_encrypted, c.credential_version), '|' ORDER BY c.kind)) FROM oauth_installations i \
         JOIN installation_credentials c ON c.installation_id = i.id WHERE i.platform = '{platform}' \
         GROUP BY i.status, i.status_reason"
    );
    app.database.text(&sql).await
}

async fn connected() -> TestApp {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    app.connect_jira().await;
    app.connect_slack().await;
    app.hand_out("github").await.expect(200);
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn s46_garbage_and_silence_change_no_row_and_the_next_caller_is_served() {
    let app = connected().await;
    for kind in [
        FaultKind::ServerError,
        FaultKind::Html,
        FaultKind::TruncatedJson,
        FaultKind::EmptyBody,
        FaultKind::HugeBody,
        FaultKind::ResetBefore,
        FaultKind::Reply { status: 200, content_type: "application/json".to_owned(), body: "{}".to_owned() },
        FaultKind::Reply { status: 200, content_type: "application/json".to_owned(), body: "[]".to_owned() },
        FaultKind::Reply { status: 503, content_type: "text/plain".to_owned(), body: String::new() },
    ] {
        for (platform, provider, endpoint) in ENDPOINTS {
            app.expire_tokens().await;
            let before = row(&app, platform).await;
            app.sim.fault(Fault::once(provider, endpoint, kind.clone()));
            let failed = app.hand_out(platform).await;
            let failed = failed.problem(503, "temporarily_unavailable");
            assert!(failed.header("retry-after").is_some(), "{platform} {kind:?}");
            assert_eq!(row(&app, platform).await, before, "{platform} {kind:?}");
            forget_pause(&app).await;
            app.hand_out(platform).await.expect(200);
            assert!(row(&app, platform).await.starts_with("active|"), "{platform} {kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s46_a_provider_that_never_answers_holds_nobody_longer_than_two_seconds() {
    let app = connected().await;
    for (platform, provider, endpoint) in ENDPOINTS {
        app.expire_tokens().await;
        app.sim.fault(Fault::once(provider, endpoint, FaultKind::Hang));
        let failed = app.hand_out(platform).await.problem(503, "temporarily_unavailable");
        assert!(failed.took.as_secs_f64() < 2.0, "{platform}: {:?}", failed.took);
        let served = eventually("the next caller is served", async || {
            forget_pause(&app).await;
            let answer = app.hand_out(platform).await;
            (answer.status == 200).then_some(answer)
        });
        served.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_right_answers_are_understood() {
    let app = connected().await;
    for kind in [FaultKind::ExtraFields, FaultKind::WrongContentType] {
        for (platform, provider, endpoint) in ENDPOINTS {
            app.expire_tokens().await;
            app.sim.fault(Fault::once(provider, endpoint, kind.clone()));
            app.hand_out(platform).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_tokens_end_at_once_is_not_asked_over_and_over() {
    let app = connected().await;
    for expires_in in ["0", "-5", "\"30\""] {
        app.expire_tokens().await;
        forget_pause(&app).await;
        let before = app.sim.count(Provider::Atlassian, "POST /oauth/token", "");
        let body =
            format!(r#"{{"access_token":"a","refresh_token":"r","expires_in":{expires_in},"scope":""}}"#);
        let kind = FaultKind::Reply { status: 200, content_type: "application/json".to_owned(), body };
        app.sim.fault(Fault::always(Provider::Atlassian, "POST /oauth/token", kind));
        for _ in 0..5 {
            let later = app.hand_out("jira").await.problem(503, "temporarily_unavailable");
            assert!(later.header("retry-after").is_some(), "{}", later.text);
        }
        let calls = app.sim.count(Provider::Atlassian, "POST /oauth/token", "") - before;
        assert_eq!(calls, 1, "expires_in {expires_in}");
        app.sim.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_a_provider_that_asks_for_a_pause_gets_it() {
    let app = connected().await;
    for (platform, provider, endpoint) in ENDPOINTS {
        app.expire_tokens().await;
        app.sim.fault(Fault::once(provider, endpoint, FaultKind::RateLimited { retry_after: 30 }));
        let limited = app.hand_out(platform).await.problem(503, "temporarily_unavailable");
        let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
        assert!((25..=60).contains(&wait), "{platform}: {wait}");
        let calls = app.sim.calls().len();
        for _ in 0..5 {
            app.hand_out(platform).await.problem(503, "temporarily_unavailable");
        }
        assert_eq!(app.sim.calls().len(), calls, "{platform}: the pause is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_failures_in_a_row_open_the_circuit_of_that_provider_alone() {
    let app = connected().await;
    app.sim.fault(Fault::always(Provider::Slack, "oauth.v2.access", FaultKind::ServerError));
    app.expire_tokens().await;
    for _ in 0..8 {
        forget_pause(&app).await;
        app.hand_out("slack").await.problem(503, "temporarily_unavailable");
    }
    let calls = app.refreshes("slack") + app.sim.count(Provider::Slack, "POST /api/oauth.v2.access", "");
    for _ in 0..3 {
        forget_pause(&app).await;
        app.hand_out("slack").await.problem(503, "temporarily_unavailable");
    }
    let after = app.refreshes("slack") + app.sim.count(Provider::Slack, "POST /api/oauth.v2.access", "");
    assert!(after <= calls + 1, "nothing is asked while the circuit is open: {calls} {after}");
    app.hand_out("jira").await.expect(200);
    app.sim.clear_faults();
    eventually("the circuit closes again", async || {
        forget_pause(&app).await;
        let answer = app.hand_out("slack").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_of_ours_is_the_operators_trouble_and_no_connections() {
    let app = connected().await;
    app.expire_tokens().await;
    let refusals = [
        (
            "jira",
            Provider::Atlassian,
            "POST /oauth/token",
            401,
            r#"{"error":"access_denied","error_description":"Unauthorized"}"#,
        ),
        ("slack", Provider::Slack, "oauth.v2.access", 200, r#"{"ok":false,"error":"bad_client_secret"}"#),
        (
            "github",
            Provider::Github,
            "/access_tokens",
            401,
            r#"{"message":"A JSON web token could not be decoded"}"#,
        ),
    ];
    for (platform, provider, endpoint, status, body) in refusals {
        let kind =
            FaultKind::Reply { status, content_type: "application/json".to_owned(), body: body.to_owned() };
        app.sim.fault(Fault::once(provider, endpoint, kind));
        app.hand_out(platform).await.problem(503, "temporarily_unavailable");
        assert_eq!(app.installations(platform).await[0]["status"], "active", "{platform}");
        forget_pause(&app).await;
        app.hand_out(platform).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_at_the_provider_is_told_with_its_reason() {
    let app = connected().await;
    let number = app.sim.world().github.installations[0].id;
    app.expire_tokens().await;
    app.sim.suspend_github_installation(number, true);
    let suspended = app.hand_out("github").await.problem(409, "needs_reconnect");
    assert_eq!(suspended.body["status_reason"], "suspended_at_provider");
    assert_eq!(app.installations("github").await[0]["status"], "suspended");
    app.sim.suspend_github_installation(number, false);
    let id = app.only_installation("github").await;
    let checked =
        app.post(&format!("/oauth/installations/{id}/check"), &serde_json::json!({})).await.expect(200);
    assert_eq!(checked.text_at("/status"), "active");
    app.hand_out("github").await.expect(200);
    app.expire_tokens().await;
    app.sim.delete_github_installation(number);
    let gone = app.hand_out("github").await.problem(409, "needs_reconnect");
    assert_eq!(gone.body["status_reason"], "uninstalled");

    app.expire_tokens().await;
    app.sim.world().slack.uninstall("T0EXAMPLE");
    app.hand_out("slack").await.problem(409, "needs_reconnect");
    // Atlassian has two ways to say so.
    let refusal = r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#;
    let kind = FaultKind::Reply {
        status: 403,
        content_type: "application/json".to_owned(),
        body: refusal.to_owned(),
    };
    app.sim.fault(Fault::once(Provider::Atlassian, "POST /oauth/token", kind));
    app.hand_out("jira").await.problem(409, "needs_reconnect");
    app.connect("jira", [("site", SITE_1)]).await.expect(200);
    app.expire_tokens().await;
    app.sim.world().atlassian.revoke("557058:alice");
    app.hand_out("jira").await.problem(409, "needs_reconnect");
    // The person comes back, and all of it works again under the same ids.
    let jira = app.only_installation("jira").await;
    app.connect("jira", [("site", SITE_1)]).await.expect(200);
    assert_eq!(app.only_installation("jira").await, jira);
    app.hand_out("jira").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_it_says_so_soon() {
    let app =
        TestApp::with().set("POSTGRES_HOST", "127.0.0.1").set("POSTGRES_PORT", 1).unready().spawn().await;
    let ready = app.admin("/readyz").await;
    assert_eq!(ready.status, 503);
    app.admin("/livez").await.expect(200);
    let answers = [
        app.hand_out("jira").await.problem(503, "dependency_unavailable"),
        app.get("/oauth/installations").await.problem(503, "dependency_unavailable"),
        app.call(reqwest::Method::GET, "/oauth/data-sources")
            .header("cookie", format!("integrations_page={}", "A".repeat(43)))
            .ask()
            .await
            .expect(503),
    ];
    for answer in answers {
        assert!(answer.took.as_secs_f64() < 2.0, "{:?}", answer.took);
        assert!(answer.header("retry-after").is_some(), "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auth_api_it_says_so_soon_and_what_takes_no_token_goes_on() {
    let app = TestApp::with().set("AUTH_API_URL", "http://127.0.0.1:1").unready().spawn().await;
    until("the database is there", async || {
        let ready = app.admin("/readyz").await.expect(503);
        ready.body["missing"] == serde_json::json!(["keys"])
    })
    .await;
    for answer in [app.hand_out("jira").await, app.get("/oauth/installations").await] {
        let answer = answer.problem(503, "dependency_unavailable");
        assert!(answer.took.as_secs_f64() < 2.0, "{:?}", answer.took);
        assert!(answer.header("retry-after").is_some(), "{}", answer.text);
    }
    let browser = Browser::new(&app);
    browser.get("/oauth/data-sources").await.page(401, "This page is closed");
    let back = browser.get(&format!("/oauth/callback/jira?code=x&state={}", "A".repeat(43))).await;
    browser.follow(back).await.page(400, "Link expired");
    let event = app.sim.slack_uninstalled_webhook("T0EXAMPLE", app.sim.now());
    assert_eq!(event.post(&app.http, &format!("{}/oauth/webhooks/slack", app.url)).await.unwrap(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_when_the_provider_answers_costs_no_token() {
    let proxy = CutProxy::start();
    let app =
        TestApp::with().set("POSTGRES_HOST", "127.0.0.1").set("POSTGRES_PORT", proxy.port).spawn().await;
    app.connect_jira().await;
    app.expire_tokens().await;
    let slow = FaultKind::DelayReply { milliseconds: 700 };
    app.sim.fault(Fault::once(Provider::Atlassian, "POST /oauth/token", slow));
    let path = format!("/oauth/token/jira?org_id={}", app.org_id);
    let asked = tokio::spawn(app.call(reqwest::Method::GET, &path).bearer_auth(app.indexer()).ask());
    until("the provider has rotated", async || app.refreshes("jira") == 1).await;
    proxy.cut();
    let refused = asked.await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text);
    app.call(reqwest::Method::GET, &path).bearer_auth(app.indexer()).ask().await.expect(503);
    proxy.mend();
    eventually("the token was kept", async || {
        let answer = app.hand_out("jira").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(
        app.refreshes("jira"),
        1,
        "what was answered while the database was away is what is handed out"
    );
}
