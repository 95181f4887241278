//! What the service calls: configured addresses and nothing that a provider names (S34, S35).

use crate::helpers::{TestApp, TestDatabase, app::SITE_1, process};
use simulator::{Fault, FaultKind, Provider};

/// A port on which nobody should ever knock.
struct Trap(std::net::TcpListener);

impl Trap {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    fn is_untouched(&self) -> bool {
        self.0.accept().is_err()
    }
}

#[tokio::test]
async fn s34_no_address_of_an_answer_is_ever_fetched() {
    let app = TestApp::spawn().await;
    let trap = Trap::new();
    app.sim.world().atlassian.sites[0].url = trap.url();
    app.connect("jira", [("site", SITE_1)]).await.expect(200);
    let id = app.only_installation("jira").await;
    app.post(&format!("/oauth/installations/{id}/check"), &serde_json::json!({})).await.expect(200);
    app.hand_out("jira").await.expect(200);
    let error =
        format!(r#"{{"error":"invalid_grant","error_description":"no","error_uri":"{}"}}"#, trap.url());
    app.expire_tokens().await;
    let kind = FaultKind::Reply { status: 403, content_type: "application/json".to_owned(), body: error };
    app.sim.fault(Fault::once(Provider::Atlassian, "POST /oauth/token", kind));
    app.hand_out("jira").await.problem(409, "needs_reconnect");
    assert!(trap.is_untouched());
}

#[tokio::test]
async fn s34_a_redirect_is_not_followed() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    app.expire_tokens().await;
    for status in [301, 302, 307, 308] {
        let kind = FaultKind::Reply { status, content_type: "text/html".to_owned(), body: String::new() };
        app.sim.fault(Fault::once(Provider::Slack, "oauth.v2.access", kind));
        app.hand_out("slack").await.problem(503, "temporarily_unavailable");
        app.database.execute("UPDATE installation_credentials SET next_attempt_at = NULL").await;
    }
}

#[tokio::test]
async fn s34_proxies_of_the_environment_are_not_used() {
    let app = TestApp::spawn().await;
    let trap = Trap::new();
    app.stop().await;
    let mut settings = crate::helpers::app::settings(&app.sim, &app.auth_api, &app.database, &[]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        settings.push((name, trap.url()));
    }
    // auth-api is called by name of its address, the provider by another name: a proxy would be asked for the latter alone.
    settings.push(("NO_PROXY", "127.0.0.1".to_owned()));
    settings.retain(|(name, _)| *name != "SLACK_API_URL");
    settings.push(("SLACK_API_URL", app.sim.slack_url().replace("127.0.0.1", "localhost")));
    let process = crate::helpers::Process::serve(&settings).await;
    let browser = crate::helpers::Browser::at(&process.url);
    let ready = format!("{}/readyz", process.admin_url);
    crate::helpers::until("the process is ready", async || {
        use crate::helpers::Ask;
        crate::helpers::app::http().get(&ready).ask().await.status == 200
    })
    .await;
    app.consent(Provider::Slack, [("workspace", "T0EXAMPLE")]);
    let started = browser.start("/oauth/install/slack", &app.manager()).await.expect(302);
    browser.follow(started).await.page(200, "Slack connected");
    assert!(trap.is_untouched());
}

#[tokio::test]
async fn s35_a_provider_is_reached_by_https_or_on_loopback() {
    let database = TestDatabase::create().await;
    for variable in [
        "GITHUB_BROWSER_URL",
        "GITHUB_API_URL",
        "JIRA_BROWSER_URL",
        "JIRA_API_URL",
        "SLACK_BROWSER_URL",
        "SLACK_API_URL",
    ] {
        for (url, is_good) in [
            ("http://github.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("ftp://127.0.0.1", false),
            ("http://localhost:1", true),
            ("https://github.example.com", true),
        ] {
            let mut settings = process::base_settings("http://auth-api.test");
            settings.extend(database.settings(None));
            settings.push((variable, url.to_owned()));
            let outcome = process::run(&["check-config"], &settings).await;
            assert_eq!(outcome.code == Some(0), is_good, "{variable}={url}: {}", outcome.stderr);
            assert!(is_good || outcome.stderr.contains(variable), "{}", outcome.stderr);
        }
    }
}
