//! Nothing secret in logs at any level, spans, metrics, or answers that are errors (S24).

use reqwest::Method;
use simulator::{Fault, FaultKind, Provider};

use crate::helpers::{
    Answer, Ask, Browser, Process, TestApp,
    app::{http, settings},
    collector::Collector,
    process::CLIENT_SECRET,
    until,
};

/// A process and whoever uses it.
struct Traced {
    app: TestApp,
    process: Process,
    collector: Collector,
}

impl Traced {
    async fn start() -> Self {
        let app = TestApp::spawn().await;
        app.stop().await;
        let collector = Collector::start();
        let more = [
            ("RUST_LOG", "trace".to_owned()),
            ("RUNTIME_URL", app.auth_api.url().to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url().to_owned()),
        ];
        let process = Process::serve(&settings(&app.sim, &app.auth_api, &app.database, &more)).await;
        let ready = format!("{}/readyz", process.admin_url);
        until("the process is ready", async || http().get(&ready).ask().await.status == 200).await;
        Self { app, process, collector }
    }

    async fn connect<const LENGTH: usize>(&self, platform: &str, answer: [(&str, &str); LENGTH]) -> Answer {
        let browser = Browser::at(&self.process.url);
        self.app.consent(crate::helpers::app::provider(platform), answer);
        let started =
            browser.start(&format!("/oauth/install/{platform}"), &self.app.manager()).await.expect(302);
        browser.follow(started).await
    }

    async fn call(&self, method: Method, path: &str, token: &str) -> Answer {
        http().request(method, format!("{}{path}", self.process.url)).bearer_auth(token).ask().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s24_logs_at_trace_level_spans_metrics_and_errors_hold_no_secret() {
    let mut traced = Traced::start().await;
    let app = &traced.app;
    let mut errors = Vec::new();
    for platform in ["github", "jira", "slack"] {
        traced.connect(platform, [("user", ""), ("site", crate::helpers::app::SITE_1)]).await.expect(200);
        errors.push(traced.connect(platform, [("decision", "cancel")]).await.text);
        app.sim.fault(Fault::once(crate::helpers::app::provider(platform), "POST", FaultKind::TruncatedJson));
        errors.push(traced.connect(platform, [("user", "")]).await.text);
    }
    let path = |platform: &str| format!("/oauth/token/{platform}?org_id={}", app.org_id);
    for platform in ["github", "jira", "slack"] {
        traced.call(Method::GET, &path(platform), &app.indexer()).await;
        app.expire_tokens().await;
        for kind in [FaultKind::Html, FaultKind::ResetAfter, FaultKind::ExtraFields] {
            app.sim.fault(Fault::once(crate::helpers::app::provider(platform), "POST", kind));
            errors.push(traced.call(Method::GET, &path(platform), &app.manager()).await.text);
            traced.call(Method::GET, &path(platform), &app.indexer()).await;
            app.database.execute("UPDATE installation_credentials SET next_attempt_at = NULL").await;
        }
        app.sim.clear_faults();
    }
    let browser = Browser::at(&traced.process.url);
    let secret_query =
        "/oauth/callback/jira?code=CanaryOfACode0123456789&state=CanaryOfAState0123456789CanaryOfAState01234";
    errors.push(browser.get(secret_query).await.text);
    let ticket = traced.call(Method::POST, "/oauth/page-tickets", &app.manager()).await.expect(201);
    browser
        .follow(browser.get(&ticket.text_at("/page_url").replace("http://127.0.0.1:8010", "")).await)
        .await;
    let gone = app.sim.slack_uninstalled_webhook("T0EXAMPLE", app.sim.now() - 3600);
    gone.post(&http(), &format!("{}/oauth/webhooks/slack", traced.process.url)).await.unwrap();
    let id = traced.call(Method::GET, "/oauth/installations?platform=slack", &app.manager()).await;
    let id = id.items()[0]["id"].as_str().unwrap().to_owned();
    traced.call(Method::DELETE, &format!("/oauth/installations/{id}"), &app.manager()).await;
    let (indexer, manager) = (app.indexer(), app.manager());
    let metrics = http().get(format!("{}/metrics", traced.process.admin_url)).ask().await.text;
    traced.process.signal("TERM").await;
    traced.process.exit_code().await;

    // What a process wrote last is read a moment after its end.
    until("its last words are read", async || traced.process.output().contains("\"stopped\"")).await;
    let logs = traced.process.output();
    assert!(logs.contains("\"TRACE\""), "the logs are there");
    let spans = traced.collector.text();
    assert!(spans.contains("/oauth/callback/{platform}"), "the spans are there");
    let mut secrets = traced.app.sim.canaries();
    assert!(secrets.len() > 30);
    secrets.extend(
        [CLIENT_SECRET, "CanaryOfACode", "CanaryOfAState", "MDEyMzQ1Njc4", "alice.admin@example.com"]
            .map(str::to_owned),
    );
    secrets.push(ticket.text_at("/ticket").to_owned());
    secrets.extend(["integrations_flow", "integrations_page"].iter().filter_map(|name| browser.cookie(name)));
    secrets.extend([indexer, manager].iter().filter_map(|token| token.rsplit('.').next().map(str::to_owned)));
    let errors = errors.join("\n");
    for secret in secrets {
        let line = logs.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "{secret} is in the logs: {line:?}");
        assert!(!spans.contains(&secret), "{secret} is in the spans");
        assert!(!metrics.contains(&secret), "{secret} is in the metrics");
        assert!(!errors.contains(&secret), "{secret} is in an answer");
    }
    for there in ["oauth_token_hand_outs_total", "github", "jira", "slack"] {
        assert!(metrics.contains(there), "no {there} in the metrics");
    }
    assert!(!logs.contains(simulator::MARK) && !spans.contains(simulator::MARK));
    let dump = traced.app.database.dump().await;
    assert!(!dump.contains(simulator::MARK));
}

#[tokio::test]
async fn s24_secret_types_print_nothing() {
    let app = TestApp::spawn().await;
    let mut settings = settings(&app.sim, &app.auth_api, &app.database, &[]);
    settings.retain(|(name, _)| *name != "POSTGRES_PASSWORD");
    settings.push(("POSTGRES_PASSWORD", "CanaryOfAPassword".to_owned()));
    let pairs = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let printed = format!("{:?}", oauth_integrations::config::Config::from_pairs(pairs).unwrap());
    assert!(!printed.contains("Canary") && !printed.contains("MDEyMzQ1Njc4"), "{printed}");
    assert!(!printed.contains("PRIVATE KEY"), "{printed}");
}

#[tokio::test]
async fn lists_checks_and_pages_hold_no_token() {
    let app = TestApp::spawn().await;
    let ids = [app.connect_github().await, app.connect_jira().await, app.connect_slack().await];
    let mut texts = vec![app.get("/oauth/installations").await.expect(200).text];
    for id in ids {
        texts.push(app.installation(id).await.text);
        texts.push(
            app.post(&format!("/oauth/installations/{id}/check"), &serde_json::json!({}))
                .await
                .expect(200)
                .text,
        );
    }
    for platform in ["github", "jira", "slack"] {
        let refused = app.sim.canaries();
        let token = app.hand_out(platform).await.expect(200);
        assert!(!token.text.contains("refresh"), "{}", token.text);
        assert!(refused.iter().filter(|canary| token.text.contains(*canary)).count() <= 1);
    }
    assert!(texts.iter().all(|text| !text.contains(simulator::MARK)), "{texts:?}");
    assert_eq!(app.sim.count(Provider::Slack, "POST /api/auth.test", ""), 1);
}
