//! The notice of completion to mozaiks-runtime.

use serde_json::{Value, json};

use crate::helpers::{Browser, TestApp, until};

/// Connects by a ticket that names a chat session; the answer of the runtime is waited for.
async fn connect(app: &TestApp, answer: [(&str, &str); 1]) -> Value {
    let known = app.auth_api.notices().len();
    let wish = json!({ "platform": "slack", "chat_session_id": "chat-1", "correlation_id": "corr-1" });
    let ticket = app.post("/oauth/install-tickets", &wish).await.expect(201);
    let browser = Browser::new(app);
    let page = browser.get(ticket.text_at("/install_url")).await.expect(200);
    app.consent(simulator::Provider::Slack, answer);
    let (shown, check) = (page.field("ticket"), page.field("check"));
    let gone =
        browser.post("/oauth/install/slack", &[("ticket", &shown), ("check", &check)]).await.expect(303);
    browser.follow(gone).await.expect(200);
    until("the runtime was told", async || app.auth_api.notices().len() > known).await;
    app.auth_api.notices()[known].clone()
}

#[tokio::test]
async fn the_runtime_hears_how_it_went_with_the_services_own_token() {
    let database = crate::helpers::TestDatabase::create().await;
    let app = with_runtime(&database).await;
    let done = connect(&app, [("workspace", "T0EXAMPLE")]).await;
    assert_eq!((&done["platform"], &done["success"]), (&json!("slack"), &json!(true)));
    assert_eq!((&done["chatSessionId"], &done["correlationId"]), (&json!("chat-1"), &json!("corr-1")));
    assert_eq!((&done["userId"], &done["accountName"]), (&json!(app.alice), &json!("Example Corp")));
    assert!(done["claims"]["aud"].as_array().unwrap().contains(&json!("mozaiks-runtime")));
    assert!(done["claims"]["scope"].as_str().unwrap().contains("runtime:notify"));
    assert!(!done.to_string().contains(simulator::MARK));

    let denied = connect(&app, [("decision", "cancel")]).await;
    assert_eq!((&denied["success"], &denied["error"]), (&json!(false), &json!("denied")));
}

#[tokio::test]
async fn an_account_is_connected_together_with_its_notice_or_not_at_all() {
    let database = crate::helpers::TestDatabase::create().await;
    let app = with_runtime(&database).await;
    app.database
        .execute(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ \
               BEGIN RAISE EXCEPTION 'stopped' USING ERRCODE = '57P01'; END $$; \
             CREATE TRIGGER stop BEFORE INSERT ON notices FOR EACH ROW EXECUTE FUNCTION stop()",
        )
        .await;
    app.connect("slack", [("workspace", "T0EXAMPLE")]).await.expect(503);
    assert_eq!(app.installations("slack").await.len(), 0, "the chat that waits would never hear of it");
    app.database.execute("DROP TRIGGER stop ON notices").await;
    connect(&app, [("workspace", "T0EXAMPLE")]).await;
    assert_eq!(app.installations("slack").await.len(), 1);
}

#[tokio::test]
async fn a_runtime_that_is_away_is_told_later_and_once() {
    let database = crate::helpers::TestDatabase::create().await;
    let app = with_runtime(&database).await;
    app.auth_api.refuse_notices(1);
    let waiting = connect(&app, [("workspace", "T0EXAMPLE")]);
    let due = async {
        until("it was tried", async || {
            app.database.number("SELECT coalesce(max(attempts), 0)::bigint FROM notices").await > 0
        })
        .await;
        app.database.execute("UPDATE notices SET next_attempt_at = now() WHERE delivered_at IS NULL").await;
    };
    let (done, ()) = tokio::join!(waiting, due);
    assert_eq!(done["success"], true);
    until("it is written down", async || {
        app.database.number("SELECT count(*) FROM notices WHERE delivered_at IS NULL").await == 0
    })
    .await;
    assert_eq!(app.auth_api.notices().len(), 1);
}

async fn with_runtime(database: &std::sync::Arc<crate::helpers::TestDatabase>) -> TestApp {
    TestApp::with().on(database).with_runtime().spawn().await
}

#[tokio::test]
async fn the_runtime_hears_when_an_owner_has_approved_what_somebody_asked_for() {
    let app = TestApp::with().with_runtime().spawn().await;
    app.sim.set_webhook_base(Some(app.url.clone()));
    app.consent(simulator::Provider::Github, [("user", "bob"), ("account", "example-corp")]);
    app.consent(simulator::Provider::Github, [("user", "bob")]);
    let browser = Browser::new(&app);
    let started = browser.start("/oauth/install/github", &app.manager()).await.expect(302);
    browser.follow(started).await.page(200, "Waiting for approval");
    assert!(app.auth_api.notices().is_empty(), "nothing is over yet");
    app.sim.approve_github_request("example-corp").unwrap();
    until("the runtime was told", async || !app.auth_api.notices().is_empty()).await;
    let notice = app.auth_api.notices()[0].clone();
    assert_eq!((&notice["success"], &notice["accountName"]), (&json!(true), &json!("example-corp")));
    assert_eq!(notice["userId"], json!(app.alice));
    let id = app.only_installation("github").await;
    assert!(app.installation(id).await.body["metadata"].get("notice").is_none());
}
