//! The state of a consent: whose it is, how often and how long it is good, and what happens without it (S1 to S14).

use futures_util::future::join_all;
use serde_json::json;
use simulator::Provider;

use crate::helpers::{
    Ask, Browser, TestApp,
    app::callback_url,
    browser::{parameter, with_parameter},
    until,
};

const CORP: [(&str, &str); 2] = [("user", "alice"), ("account", "example-corp")];
const EXPIRED: &str = "/oauth/results/link-expired";

/// What the browser sees whose link is of no use.
async fn is_refused(app: &TestApp, browser: &Browser, address: &str) {
    let answer = browser.get(address).await.expect(303);
    assert_eq!(answer.location(), EXPIRED, "{address}");
    assert_eq!(app.exchanges("github") + app.exchanges("jira") + app.exchanges("slack"), 0, "{address}");
    browser.get(EXPIRED).await.page(400, "Link expired");
}

#[tokio::test]
async fn s01_a_state_has_256_bits_and_only_its_digest_is_stored() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    let mut states = Vec::new();
    for _ in 0..20 {
        let started = browser.start("/oauth/install/jira", &app.manager()).await.expect(302);
        states.push(parameter(started.location(), "state").unwrap());
    }
    assert!(states.iter().all(|state| state.len() == 43), "32 bytes in base64url: {states:?}");
    let mut different = states.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 20);
    let dump = app.database.dump().await;
    assert!(states.iter().all(|state| !dump.contains(state)));
    assert_eq!(app.database.number("SELECT count(*) FROM oauth_states WHERE length(state) >= 43").await, 20);
}

#[tokio::test]
async fn s02_of_twenty_parallel_callbacks_with_one_state_exactly_one_exchanges_a_code() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    let callback = app.callback(&browser, "jira", [("site", crate::helpers::app::SITE_1)]).await;
    let answers = join_all((0..20).map(|_| browser.get(&callback))).await;
    let good = answers.iter().filter(|answer| answer.location() != EXPIRED).count();
    assert_eq!((good, app.exchanges("jira")), (1, 1));
    assert_eq!(app.installations("jira").await.len(), 1);
}

#[tokio::test]
async fn s03_a_state_is_good_for_ten_minutes_of_the_databases_clock() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    for (seconds, is_good) in [(599, true), (601, false)] {
        let callback = app.callback(&browser, "slack", []).await;
        let sql = format!(
            "UPDATE oauth_states SET created_at = created_at - interval '{seconds} s', expires_at = expires_at - interval '{seconds} s'"
        );
        app.database.execute(&sql).await;
        let answer = browser.get(&callback).await.expect(303);
        assert_eq!(answer.location() != EXPIRED, is_good, "{seconds}");
    }
    assert_eq!(app.exchanges("slack"), 1);
}

#[tokio::test]
async fn s04_an_error_of_the_provider_uses_the_state_up() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    for platform in ["github", "jira", "slack"] {
        let denied = app.callback(&browser, platform, [("decision", "cancel")]).await;
        let page = browser.follow(browser.get(&denied).await).await.expect(200);
        assert!(page.heading().ends_with("not connected"), "{}", page.text);
        is_refused(&app, &browser, &denied).await;
    }
    assert_eq!(app.database.number("SELECT count(*) FROM oauth_states").await, 0);
}

#[tokio::test]
async fn s05_a_state_belongs_to_its_platform_and_its_browser() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    let elsewhere =
        app.callback(&browser, "github", CORP).await.replace("/callback/github", "/callback/slack");
    is_refused(&app, &browser, &elsewhere).await;
    for platform in ["github", "jira", "slack"] {
        let callback = app.callback(&browser, platform, []).await;
        let other = Browser::new(&app);
        is_refused(&app, &other, &callback).await;
        is_refused(&app, &browser, &callback).await;
        let third = app.callback(&browser, platform, []).await;
        other.start(&format!("/oauth/install/{platform}"), &app.manager()).await.expect(302);
        is_refused(&app, &other, &third).await;
    }
    for platform in ["github", "jira", "slack"] {
        assert!(app.installations(platform).await.is_empty());
    }
}

#[tokio::test]
async fn s05_the_cookie_is_for_this_host_and_no_script() {
    let app = TestApp::with().set("OAUTH_CALLBACK_BASE", "https://connect.example.com").spawn().await;
    let started = Browser::new(&app).start("/oauth/install/jira", &app.manager()).await.expect(302);
    let cookie = started.cookies().first().copied().unwrap_or_default().to_owned();
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "no {attribute}: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let plain = TestApp::spawn().await;
    let started = Browser::new(&plain).start("/oauth/install/jira", &plain.manager()).await.expect(302);
    let cookie = started.cookies()[0];
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn s06_s07_every_useless_state_looks_the_same_and_no_code_is_exchanged() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    let good = app.callback(&browser, "jira", []).await;
    let made_up = "A".repeat(43);
    let mut answers = Vec::new();
    for address in [
        format!("{}?code=x", callback_url("jira")),
        format!("{}?code=x&state=", callback_url("jira")),
        format!("{}?code=x&state={made_up}", callback_url("jira")),
        format!("{}?code=x&state=short", callback_url("jira")),
        format!("{}?state={made_up}&error=access_denied", callback_url("jira")),
        format!("{}?code=x&state={made_up}", callback_url("nothing")),
        with_parameter(&good, "state", &format!("{made_up}B")),
    ] {
        is_refused(&app, &browser, &address).await;
        let answer = browser.get(&address).await;
        answers.push((answer.status, answer.text.clone(), answer.header("location").map(str::to_owned)));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(
        app.sim.calls().iter().all(|call| call.endpoint.starts_with("GET /authorize")),
        "{:?}",
        app.sim.calls()
    );
}

#[tokio::test]
async fn s08_s09_repeated_and_overlong_parameters_are_refused() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    for more in [
        "&code=another".to_owned(),
        "&state=another".to_owned(),
        format!("&error_description={}", "x".repeat(5000)),
        format!("&installation_id={}", "9".repeat(30)),
        "&installation_id=12abc".to_owned(),
        "&installation_id=-1".to_owned(),
        "&error=%ff".to_owned(),
    ] {
        let callback = app.callback(&browser, "jira", []).await;
        is_refused(&app, &browser, &format!("{callback}{more}")).await;
    }
}

#[tokio::test]
async fn s10_each_platform_has_its_own_redirect_uri_and_a_foreign_issuer_is_refused() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    for platform in ["jira", "slack"] {
        let started = browser.start(&format!("/oauth/install/{platform}"), &app.manager()).await.expect(302);
        assert_eq!(parameter(started.location(), "redirect_uri"), Some(callback_url(platform)));
    }
    let callback = app.callback(&browser, "jira", []).await;
    is_refused(&app, &browser, &with_parameter(&callback, "iss", "https://evil.example")).await;
    let callback = app.callback(&browser, "jira", [("site", crate::helpers::app::SITE_1)]).await;
    let own = with_parameter(&callback, "iss", app.sim.atlassian_url());
    browser.follow(browser.get(&own).await).await.expect(200);
    assert_eq!(app.exchanges("jira"), 1);
}

#[tokio::test]
async fn s11_the_redirect_uri_never_comes_from_the_request() {
    let app = TestApp::spawn().await;
    let request = app.call(reqwest::Method::GET, "/oauth/install/jira").bearer_auth(app.manager());
    let answer = request
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example")
        .ask()
        .await
        .expect(302);
    assert_eq!(parameter(answer.location(), "redirect_uri"), Some(callback_url("jira")));
    let ticket = app
        .call(reqwest::Method::POST, "/oauth/install-tickets")
        .bearer_auth(app.manager())
        .header("host", "evil.example")
        .json(&json!({ "platform": "jira" }))
        .ask()
        .await
        .expect(201);
    assert!(ticket.text_at("/install_url").starts_with("http://127.0.0.1:8010/"), "{}", ticket.text);
}

#[tokio::test]
async fn s12_pkce_is_s256_where_a_provider_takes_it_and_the_verifier_is_encrypted() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    let started = browser.start("/oauth/install/jira", &app.manager()).await.expect(302);
    assert_eq!(parameter(started.location(), "code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(parameter(started.location(), "code_challenge").map(|it| it.len()), Some(43));
    let slack = browser.start("/oauth/install/slack", &app.manager()).await.expect(302);
    assert_eq!(parameter(slack.location(), "code_challenge"), None, "off by default at Slack");
    app.consent(Provider::Atlassian, [("site", crate::helpers::app::SITE_1)]);
    let callback = browser.until_callback(started).await;
    let dump = app.database.dump().await;
    let page = browser.follow(browser.get(&callback).await).await;
    page.expect(200);
    // The verifier went over the wire now, and it was nowhere in the dump.
    let canaries = app.sim.canaries();
    let verifiers: Vec<_> =
        canaries.iter().filter(|canary| canary.len() == 43 && !callback.contains(*canary)).collect();
    assert!(!verifiers.is_empty());
    assert!(verifiers.iter().all(|verifier| !dump.contains(*verifier)));

    // Another verifier than the one of the challenge: the provider refuses, and so nothing is connected.
    let other = app.callback(&browser, "jira", []).await;
    let sealed = "SELECT code_verifier FROM oauth_states WHERE platform = 'jira'";
    assert!(app.database.text(sealed).await.len() > 43);
    app.database.execute("UPDATE oauth_states SET code_verifier = NULL").await;
    let page = browser.follow(browser.get(&other).await).await.expect(200);
    assert!(page.heading().ends_with("not connected"), "{}", page.text);
}

#[tokio::test]
async fn s13_return_to_leads_nowhere_else() {
    let app = TestApp::with().set("ALLOWED_ORIGINS", "https://app.example.com").spawn().await;
    for bad in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
        "/%2f%2fevil.example",
        "%2f%2fevil.example",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://me:pass@app.example.com/",
        "/a\tb",
        "/a\nb",
        "http://app.example.com/",
        "data:text/html,x",
    ] {
        let body = json!({ "platform": "slack", "return_to": bad });
        app.post("/oauth/install-tickets", &body).await.problem(400, "validation_failed");
        let query =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", bad).finish();
        let path = format!("/oauth/install/slack?{query}");
        app.get(&path).await.problem(400, "validation_failed");
    }
    for good in ["/oauth/data-sources", "https://app.example.com/settings?tab=1"] {
        let browser = Browser::new(&app);
        app.consent(Provider::Slack, [("decision", "cancel")]);
        let query =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", good).finish();
        let started =
            browser.start(&format!("/oauth/install/slack?{query}"), &app.manager()).await.expect(302);
        assert!(!started.location().contains("app.example.com"), "kept here: {}", started.location());
        let page = browser.follow(started).await.expect(200);
        assert!(page.text.contains(&format!("href=\"{good}\"")), "{}", page.text);
    }
}

#[tokio::test]
async fn s14_starting_takes_the_permission_and_a_link_sent_to_a_victim_connects_nothing() {
    let app = TestApp::spawn().await;
    for path in ["/oauth/install/github", "/oauth/install/jira", "/oauth/install/slack"] {
        app.call(reqwest::Method::GET, path).ask().await.problem(401, "authentication_required");
        let member = app.auth_api.user(app.alice, app.org_id, &["groups:read"]);
        let refused = app.call(reqwest::Method::GET, path).bearer_auth(member).ask().await;
        refused.problem(403, "permission_denied");
        let service = app.auth_api.service("indexer-worker", "integrations:token:read", &[app.org_id]);
        let refused = app.call(reqwest::Method::GET, path).bearer_auth(service).ask().await;
        refused.expect(403);
    }
    let ticket = app.post("/oauth/install-tickets", &json!({ "platform": "slack" })).await.expect(201);
    let link = ticket.text_at("/install_url").to_owned();

    // The victim sees who connects what for whom; nothing has gone to the provider.
    let victim = Browser::new(&app);
    let page = victim.get(&link).await.expect(200);
    for there in [app.org_id.to_string().as_str(), "alice.admin@example.com", "Slack"] {
        assert!(page.text.contains(there), "no {there}: {}", page.text);
    }
    assert!(app.sim.calls().is_empty());
    // A form of another site, without the cookie, or with another browser's, gets nowhere.
    let fields = [("ticket", page.field("ticket")), ("check", page.field("check"))];
    let form: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let stranger = Browser::new(&app);
    stranger.post("/oauth/install/slack", &form).await.page(400, "Link expired");
    stranger.get(&link).await.expect(200);
    stranger.post("/oauth/install/slack", &form).await.page(400, "Link expired");
    let foreign = app
        .call(reqwest::Method::POST, "/oauth/install/slack")
        .header("cookie", format!("integrations_flow={}", victim.cookie("integrations_flow").unwrap()))
        .header("sec-fetch-site", "cross-site")
        .form(&form);
    foreign.ask().await.expect(403);
    // The person's own click does, once.
    app.consent(Provider::Slack, [("workspace", "T0EXAMPLE")]);
    let on_its_way = victim.post("/oauth/install/slack", &form).await.expect(303);
    victim.follow(on_its_way).await.page(200, "Slack connected");
    victim.post("/oauth/install/slack", &form).await.page(400, "Link expired");
    victim.get(&link).await.page(400, "Link expired");
}

#[tokio::test]
async fn a_consent_and_a_page_end_with_the_login_that_they_were_made_from() {
    let app = TestApp::spawn().await;
    let browser = Browser::new(&app);
    let callback = app.callback(&browser, "jira", [("site", crate::helpers::app::SITE_1)]).await;
    let ticket = app
        .call(reqwest::Method::POST, "/oauth/page-tickets")
        .bearer_auth(app.manager())
        .ask()
        .await
        .expect(201);
    let unused = app.post("/oauth/install-tickets", &json!({ "platform": "slack" })).await.expect(201);
    let opened = browser.follow(browser.get(ticket.text_at("/page_url")).await).await;
    opened.page(200, "Data sources");
    app.auth_api.revoke_subject(&app.alice.to_string());
    until("the page is closed", async || browser.get("/oauth/data-sources").await.status == 401).await;
    is_refused(&app, &browser, &callback).await;
    browser.get(unused.text_at("/install_url")).await.page(400, "Link expired");
    assert_eq!(app.database.number("SELECT count(*) FROM oauth_installations").await, 0);
}
