//! GitHub's five ways back, and that an installation is bound only by who owns it (S15).

use serde_json::json;
use simulator::{Fields, Provider, github::OrgRole};
use uuid::Uuid;

use crate::helpers::{
    Browser, TestApp,
    app::callback_url,
    browser::{parameter, with_parameter},
    until,
};

const CORP: [(&str, &str); 2] = [("user", "alice"), ("account", "example-corp")];

/// Bob, who manages another organization of ours.
struct Other {
    org_id: Uuid,
    token: String,
}

fn other(app: &TestApp) -> Other {
    let org_id = Uuid::now_v7();
    Other { org_id, token: app.auth_api.manager(Uuid::now_v7(), org_id) }
}

/// The callback that the other organization's browser is about to visit.
async fn callback_of(app: &TestApp, browser: &Browser, token: &str, answer: [(&str, &str); 2]) -> String {
    app.consent(Provider::Github, answer);
    browser.until_callback(browser.start("/oauth/install/github", token).await.expect(302)).await
}

async fn count_of(app: &TestApp, org_id: Uuid) -> i64 {
    app.database.number(&format!("SELECT count(*) FROM oauth_installations WHERE org_id = '{org_id}'")).await
}

#[tokio::test]
async fn installed_with_a_code_is_connected_in_one_hop() {
    let app = TestApp::spawn().await;
    let id = app.connect_github().await;
    let seen = app.installation(id).await;
    assert_eq!((seen.text_at("/status"), seen.text_at("/external_org_name")), ("active", "example-corp"));
    let number = app.sim.world().github.installations[0].id.to_string();
    assert_eq!(seen.text_at("/external_install_id"), number);
    assert_eq!(seen.body["permissions"]["issues"], "write");
    let token = app.hand_out("github").await.expect(200);
    assert!(token.text_at("/access_token").starts_with("ghs_"), "{}", token.text);
}

#[tokio::test]
async fn installed_without_a_code_goes_on_to_the_proof() {
    let app = TestApp::spawn().await;
    app.sim.world().github.options.authorize_during_install = false;
    let browser = Browser::new(&app);
    app.consent(Provider::Github, CORP);
    app.consent(Provider::Github, [("user", "alice")]);
    let started = browser.start("/oauth/install/github", &app.manager()).await.expect(302);
    let back = browser.get(&browser.until_callback(started).await).await.expect(303);
    assert!(back.location().contains("/login/oauth/authorize"), "{}", back.location());
    assert_eq!(parameter(back.location(), "code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(app.exchanges("github"), 0);
    browser.follow(back).await.page(200, "GitHub connected");
    app.only_installation("github").await;
}

#[tokio::test]
async fn a_change_of_repositories_renews_the_same_installation() {
    let app = TestApp::spawn().await;
    let first = app.connect_github().await;
    app.consent(Provider::Github, CORP);
    let browser = Browser::new(&app);
    let started = browser.start("/oauth/install/github", &app.manager()).await.expect(302);
    let callback = browser.until_callback(started).await;
    assert_eq!(parameter(&callback, "setup_action").as_deref(), Some("update"));
    app.consent(Provider::Github, [("user", "alice")]);
    browser.follow(browser.get(&callback).await).await.page(200, "GitHub connected");
    assert_eq!(app.only_installation("github").await, first);
}

#[tokio::test]
async fn what_a_member_asks_for_waits_for_the_owner_and_then_works() {
    let app = TestApp::spawn().await;
    app.sim.set_webhook_base(Some(app.url.clone()));
    app.consent(Provider::Github, [("user", "bob"), ("account", "example-corp")]);
    app.consent(Provider::Github, [("user", "bob")]);
    let browser = Browser::new(&app);
    let started = browser.start("/oauth/install/github", &app.manager()).await.expect(302);
    browser.follow(started).await.page(200, "Waiting for approval");
    let id = app.only_installation("github").await;
    assert_eq!(app.installation(id).await.text_at("/status"), "pending_approval");
    app.hand_out("github").await.problem(404, "not_connected");

    // The owner's browser comes back without a state: it is thanked, and nothing more.
    let owner = Browser::new(&app);
    let address = app.sim.approve_github_request("example-corp").unwrap();
    owner.follow(owner.get(&address).await).await.page(200, "Thank you");
    until("the webhook has bound it", async || app.installation(id).await.text_at("/status") == "active")
        .await;
    assert_eq!(app.installation(id).await.text_at("/external_org_name"), "example-corp");
    assert!(app.hand_out("github").await.expect(200).text_at("/access_token").starts_with("ghs_"));
}

#[tokio::test]
async fn an_approval_that_nobody_here_asked_for_binds_nothing() {
    let app = TestApp::spawn().await;
    app.sim.set_webhook_base(Some(app.url.clone()));
    // Mallory asks for an account of her own choice; Bob's request is approved.
    app.consent(Provider::Github, [("user", "mallory"), ("account", "example-corp"), ("shape", "request")]);
    app.consent(Provider::Github, [("user", "mallory")]);
    let browser = Browser::new(&app);
    let started = browser.start("/oauth/install/github", &app.manager()).await.expect(302);
    browser.follow(started).await.page(200, "Waiting for approval");
    app.sim.world().github.requests.clear();
    app.consent(Provider::Github, [("user", "bob"), ("account", "example-corp")]);
    browser.get(&format!("{}/apps/example-app/installations/new", app.sim.github_url())).await.expect(302);
    app.sim.approve_github_request("example-corp").unwrap();
    until("the webhook came", async || {
        app.admin("/metrics").await.text.lines().any(|line| line.contains("webhook") && line.ends_with(" 1"))
    })
    .await;
    let id = app.only_installation("github").await;
    assert_eq!(app.installation(id).await.text_at("/status"), "pending_approval");
}

#[tokio::test]
async fn neither_a_refusal_nor_a_return_without_a_state_is_an_error_page() {
    let app = TestApp::spawn().await;
    let page = app.connect("github", [("decision", "cancel")]).await;
    let page = page.page(200, "GitHub not connected");
    assert!(page.text.contains("The user has denied your application access."), "{}", page.text);
    let browser = Browser::new(&app);
    for query in [
        "setup_action=install&installation_id=1",
        "setup_action=update&installation_id=1&code=x",
        "setup_action=request",
    ] {
        let answer = browser.get(&format!("{}?{query}", callback_url("github"))).await;
        browser.follow(answer).await.page(200, "Thank you");
    }
    assert!(app.installations("github").await.is_empty());
    assert_eq!(app.exchanges("github"), 0);
}

#[tokio::test]
async fn s15_a_number_that_was_made_up_binds_nothing() {
    let app = TestApp::spawn().await;
    let corp = {
        let mut world = app.sim.world();
        let org = world.github.account_id("example-corp").unwrap();
        world.github.install(org, None, 0).to_string()
    };
    // A stranger, and a plain member who can see the installation: both with a code of their own.
    for login in ["mallory", "bob"] {
        let browser = Browser::new(&app);
        let callback = app.callback(&browser, "github", [("user", login), ("account", login)]).await;
        let forged = with_parameter(&callback, "installation_id", &corp);
        let page = browser.follow(browser.get(&forged).await).await.page(200, "GitHub not connected");
        assert!(!page.text.contains("example-corp"), "{}", page.text);
    }
    for number in ["1", "99999999"] {
        let browser = Browser::new(&app);
        let callback = app
            .callback(&browser, "github", [("user", "alice"), ("account", "alice"), ("shape", "install")])
            .await;
        let forged = with_parameter(&callback, "installation_id", number);
        browser.follow(browser.get(&forged).await).await.page(200, "GitHub not connected");
    }
    assert!(app.installations("github").await.is_empty());
}

#[tokio::test]
async fn s15_the_owners_installation_is_found_on_any_page_of_the_list() {
    let app = TestApp::spawn().await;
    {
        let mut world = app.sim.world();
        let alice = world.github.account_id("alice").unwrap();
        for number in 0..120 {
            let org = world.github.add_org(&format!("org-{number}"), &[(alice, OrgRole::Member)]);
            world.github.install(org, None, 0);
        }
    }
    app.connect_github().await;
}

#[tokio::test]
async fn s15_an_account_of_another_organization_is_refused_without_a_word_about_it() {
    let app = TestApp::spawn().await;
    let id = app.connect_github().await;
    let other = other(&app);
    let browser = Browser::new(&app);
    // By an update and by a fresh install page, by the owner herself.
    for shape in ["update", "install"] {
        app.sim.preset_consent(Provider::Github, Fields::from([CORP[0], CORP[1], ("shape", shape)]));
        app.consent(Provider::Github, [("user", "alice")]);
        let started = browser.start("/oauth/install/github", &other.token).await.expect(302);
        let page = browser.follow(started).await.page(200, "GitHub not connected");
        for word in [app.org_id.to_string(), id.to_string()] {
            assert!(!page.text.contains(&word), "{}", page.text);
        }
        // What a shape did not use of the presets is used up.
        app.sim.reset_consents();
    }
    assert_eq!(count_of(&app, other.org_id).await, 0);
    assert_eq!(app.installation(id).await.text_at("/status"), "active");
    app.hand_out("github").await.expect(200);

    // Once it is given up there, it can be had here.
    app.delete(&format!("/oauth/installations/{id}")).await.expect(200);
    let callback = callback_of(&app, &browser, &other.token, CORP).await;
    browser.follow(browser.get(&callback).await).await.page(200, "GitHub connected");
    assert_eq!(count_of(&app, other.org_id).await, 1);
}

#[tokio::test]
async fn an_organization_may_have_several_accounts_and_a_token_then_takes_an_id() {
    let app = TestApp::spawn().await;
    let corp = app.connect_github().await;
    app.connect("github", [("user", "alice"), ("account", "alice")]).await.page(200, "GitHub connected");
    let several = app.hand_out("github").await.problem(409, "several_installations");
    assert!(several.text.contains(&corp.to_string()), "{}", several.text);
    let token = app.hand_out_with("github", &format!("&installation_id={corp}")).await.expect(200);
    assert_eq!(token.text_at("/installation_id"), corp.to_string());
}

#[tokio::test]
async fn reconnecting_takes_the_same_account_and_keeps_the_id() {
    let app = TestApp::spawn().await;
    let id = app.connect_github().await;
    let start = format!("/oauth/install/github?installation_id={id}");
    let browser = Browser::new(&app);
    app.consent(Provider::Github, [("user", "alice"), ("account", "alice")]);
    let started = browser.start(&start, &app.manager()).await.expect(302);
    browser.follow(started).await.page(200, "GitHub not reconnected");
    app.database
        .execute("UPDATE oauth_installations SET status = 'needs_reconnect', status_reason = 'uninstalled'")
        .await;
    app.consent(Provider::Github, [CORP[0], CORP[1], ("shape", "install")]);
    let started = browser.start(&start, &app.manager()).await.expect(302);
    browser.follow(started).await.page(200, "GitHub connected");
    let seen = app.installation(id).await;
    assert_eq!((seen.text_at("/status"), &seen.body["status_reason"]), ("active", &json!(null)));
    let unknown = format!("/oauth/install/github?installation_id={}", Uuid::now_v7());
    browser.start(&unknown, &app.manager()).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_oauth_app_is_connected_by_its_user_token() {
    let app = TestApp::with()
        .set("GITHUB_APP_ID", "")
        .set("GITHUB_CLIENT_ID", "github-oauth-client")
        .set("GITHUB_CLIENT_SECRET", "github-oauth-CanarySecret-0123456789")
        .spawn()
        .await;
    app.connect("github", [("user", "alice")]).await.page(200, "GitHub connected");
    let token = app.hand_out("github").await.expect(200);
    assert!(token.text_at("/access_token").starts_with("gho_"), "{}", token.text);
    assert_eq!(token.body["expires_at"], json!(null));
    assert_eq!(token.body["scopes"], json!(["repo", "read:org"]));
    let gone =
        app.delete(&format!("/oauth/installations/{}", token.text_at("/installation_id"))).await.expect(200);
    assert_eq!(gone.body["provider_revoked"], true);
}
