//! What people see: callback pages that give nothing away, and the page of data sources (S16, S17).

use serde_json::json;
use simulator::{Fault, FaultKind, Provider};

use crate::helpers::{
    Answer, Ask, Browser, TestApp,
    app::{SITE_1, callback_url},
    browser::{parameter, with_parameter},
};

/// The headers that every page has.
#[track_caller]
fn is_guarded(page: &Answer) {
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe-inline") && !policy.contains("script-src"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!page.text.contains("<script"), "{}", page.text);
    assert!(page.text.contains("lang=\"en\"") && page.text.contains("<title>"), "{}", page.text);
}

#[tokio::test]
async fn s16_what_a_provider_says_is_text_and_short() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    for attack in ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", &"<b>long".repeat(400)] {
        let started = browser.start("/oauth/install/slack", &app.manager()).await.expect(302);
        let state = parameter(started.location(), "state").unwrap();
        let base = format!("{}?state={state}", callback_url("slack"));
        let back =
            with_parameter(&with_parameter(&base, "error", "server_error"), "error_description", attack);
        let page = browser.follow(browser.get(&back).await).await.page(200, "Slack not connected");
        is_guarded(&page);
        for tag in ["<script>alert", "<img", "<b>long"] {
            assert!(!page.text.contains(tag), "{}", page.text);
        }
        assert!(page.text.len() < 8000, "{}", page.text.len());
    }
    let expired = browser.get("/oauth/results/link-expired").await.page(400, "Link expired");
    is_guarded(&expired);
    is_guarded(&browser.get("/oauth/data-sources").await.expect(401));
}

#[tokio::test]
async fn s17_code_and_state_leave_the_address_bar() {
    let app = TestApp::spawn().await;
    for platform in ["github", "jira", "slack"] {
        let browser = Browser::new(&app);
        let callback = app.callback(&browser, platform, [("user", ""), ("site", SITE_1)]).await;
        let back = browser.get(&callback).await.expect(303);
        assert!(back.location().starts_with("/oauth/results/"), "{}", back.location());
        assert_eq!(back.text, "");
        for name in ["code", "state"] {
            let value = parameter(&callback, name).unwrap();
            assert!(!back.location().contains(&value));
            assert!(!browser.get(back.location()).await.text.contains(&value));
        }
        is_guarded(&browser.follow(back).await.expect(200));
    }
}

/// The data sources in a browser, opened with a ticket.
async fn opened(app: &TestApp, token: &str) -> (Browser, Answer) {
    let ticket =
        app.call(reqwest::Method::POST, "/oauth/page-tickets").bearer_auth(token).ask().await.expect(201);
    let browser = Browser::new(app);
    let first = browser.get(ticket.text_at("/page_url")).await.expect(303);
    assert_eq!(first.location(), "/oauth/data-sources");
    // The ticket is good once.
    let again = Browser::new(app).get(ticket.text_at("/page_url")).await;
    again.page(400, "Link expired");
    let page = browser.follow(first).await.page(200, "Data sources");
    (browser, page)
}

#[tokio::test]
async fn the_data_sources_are_connected_checked_and_reconnected_without_scripts() {
    let app = TestApp::spawn().await;
    let id = app.connect_slack().await;
    let (browser, page) = opened(&app, &app.manager()).await;
    is_guarded(&page);
    for there in [
        "Connected",
        ">Check<",
        "Connect OAuth",
        "Example Corp",
        "href=\"/oauth/install/github\"",
        &app.org_id.to_string(),
    ] {
        assert!(page.text.contains(there), "no {there}: {}", page.text);
    }

    let check = page.field("check");
    let path = format!("/oauth/data-sources/installations/{id}/check");
    let checked = browser.follow(browser.post(&path, &[("check", &check)]).await.expect(303)).await;
    assert!(checked.page(200, "Data sources").text.contains("just checked"));
    assert_eq!(
        app.sim.counts().get("POST /api/auth.test").or(app.sim.counts().get("GET /api/auth.test")),
        Some(&1)
    );

    // Another site's form, and one without the page's secret.
    browser.post(&path, &[("check", "made-up")]).await.expect(403);
    browser.post(&path, &[]).await.expect(403);
    let foreign = app.call(reqwest::Method::POST, &path).header("sec-fetch-site", "cross-site");
    let cookie = format!("integrations_page={}", browser.cookie("integrations_page").unwrap());
    foreign.header("cookie", cookie).form(&[("check", &check)]).ask().await.expect(403);

    // The workspace has thrown the app out: the check finds it, and says what to do.
    app.sim.world().slack.uninstall("T0EXAMPLE");
    let checked = browser.follow(browser.post(&path, &[("check", &check)]).await.expect(303)).await;
    let checked = checked.page(200, "Data sources");
    assert!(checked.text.contains("Reconnect"), "{}", checked.text);

    // The button leads through the page that asks, and back to the data sources.
    let asked =
        browser.get(&format!("/oauth/install/slack?installation_id={id}")).await.page(200, "Connect Slack");
    app.consent(Provider::Slack, [("workspace", "T0EXAMPLE")]);
    let (ask_check, asked_id) = (asked.field("check"), asked.field("installation_id"));
    let on_its_way =
        browser.post("/oauth/install/slack", &[("installation_id", &asked_id), ("check", &ask_check)]).await;
    let done = browser.follow(on_its_way).await.page(200, "Slack connected");
    assert!(done.text.contains("href=\"/oauth/data-sources\""), "{}", done.text);
    assert_eq!(app.only_installation("slack").await, id);

    let disconnect = format!("/oauth/data-sources/installations/{id}/disconnect");
    let gone = browser.follow(browser.post(&disconnect, &[("check", &check)]).await).await;
    assert!(gone.page(200, "Data sources").text.contains("Not connected."));
}

#[tokio::test]
async fn a_member_looks_and_does_nothing_and_a_session_ends() {
    let app = TestApp::spawn().await;
    let id = app.connect_slack().await;
    let member = app.auth_api.user(uuid::Uuid::now_v7(), app.org_id, &["groups:read"]);
    let (browser, page) = opened(&app, &member).await;
    assert!(!page.text.contains("/oauth/install/") && !page.text.contains("Disconnect"), "{}", page.text);
    assert!(page.text.contains(">Check<"), "{}", page.text);
    let check = page.field("check");
    browser
        .post(&format!("/oauth/data-sources/installations/{id}/disconnect"), &[("check", &check)])
        .await
        .expect(403);
    browser.get("/oauth/install/slack").await.expect(403);
    app.database.execute("UPDATE tickets SET expires_at = now() - interval '1 s'").await;
    browser.get("/oauth/data-sources").await.page(401, "This page is closed");
    // Another organization's installation is not there.
    let elsewhere = app.auth_api.manager(uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let (browser, page) = opened(&app, &elsewhere).await;
    assert!(!page.text.contains("Example Corp"), "{}", page.text);
    assert!(!page.text.contains("<form"), "{}", page.text);
    assert_eq!(
        browser
            .post(&format!("/oauth/data-sources/installations/{id}/check"), &[("check", "x")])
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_said_to() {
    let app = TestApp::spawn().await;
    for (platform, provider, endpoint) in [
        ("jira", Provider::Atlassian, "/oauth/token"),
        ("slack", Provider::Slack, "oauth.v2.access"),
        ("github", Provider::Github, "access_token"),
    ] {
        for kind in [FaultKind::Html, FaultKind::TruncatedJson, FaultKind::ResetAfter] {
            app.sim.fault(Fault::once(provider, endpoint, kind));
            let page = app.connect(platform, [("shape", "install")]).await.expect(200);
            assert!(page.heading().ends_with("not connected"), "{}", page.text);
            assert!(page.text.contains("did not answer as expected"), "{}", page.text);
            app.sim.clear_faults();
            app.sim.reset_consents();
        }
        assert!(app.installations(platform).await.is_empty());
    }
}

#[tokio::test]
async fn nobody_chose_a_site_and_that_is_said() {
    let app = TestApp::spawn().await;
    app.sim.world().atlassian.sites.clear();
    let page = app.connect("jira", []).await.expect(200);
    assert!(page.heading().ends_with("not connected"), "{}", page.text);
    assert!(page.text.contains("chosen"), "{}", page.text);
}

#[tokio::test]
async fn the_providers_are_listed_with_whether_they_are_offered() {
    let app = TestApp::with().set("JIRA_CLIENT_ID", "").set("JIRA_CLIENT_SECRET", "").spawn().await;
    let listed = app.get("/oauth/providers").await.expect(200);
    let offered: Vec<_> =
        listed.items().iter().map(|item| (item["platform"].clone(), item["configured"].clone())).collect();
    assert_eq!(
        offered,
        [("github", true), ("jira", false), ("slack", true)].map(|(name, is)| (json!(name), json!(is)))
    );
    app.get("/oauth/install/jira").await.problem(404, "provider_not_configured");
    app.post("/oauth/install-tickets", &json!({ "platform": "jira" }))
        .await
        .problem(404, "provider_not_configured");
}
