//! What providers tell by themselves: signed, once, and never about the past (S36 to S40).

use oauth_integrations::domain::credential;
use serde_json::{Value, json};
use simulator::{Provider, Webhook};
use uuid::Uuid;

use crate::helpers::{Answer, Ask, TestApp};

/// Sends a webhook to the service.
async fn send(app: &TestApp, webhook: &Webhook) -> Answer {
    let name = if webhook.provider == Provider::Slack { "slack" } else { "github" };
    let mut request =
        app.call(reqwest::Method::POST, &format!("/oauth/webhooks/{name}")).body(webhook.body.clone());
    for (name, value) in &webhook.headers {
        request = request.header(name, value);
    }
    request.ask().await
}

async fn outcome(app: &TestApp, webhook: &Webhook) -> String {
    send(app, webhook).await.expect(202).text_at("/outcome").to_owned()
}

async fn status(app: &TestApp, id: Uuid) -> String {
    app.installation(id).await.text_at("/status").to_owned()
}

fn number(app: &TestApp) -> u64 {
    app.sim.world().github.installations[0].id
}

#[tokio::test]
async fn s36_a_wrong_signature_changes_nothing() {
    let app = TestApp::spawn().await;
    let (github, slack) = (app.connect_github().await, app.connect_slack().await);
    let deleted = app.sim.github_installation_webhook("deleted", number(&app)).unwrap();
    let gone = app.sim.slack_uninstalled_webhook("T0EXAMPLE", app.sim.now() + 1);
    let mut changed = deleted.clone();
    changed.body.push(b' ');
    let mut moved = gone.clone();
    moved.body.push(b' ');
    let other = Webhook::github("another secret", "installation", "d-1", &json!({ "action": "deleted" }));
    for bad in [
        changed,
        deleted.clone().without("x-hub-signature-256"),
        deleted.clone().header("x-hub-signature-256", "sha256=00"),
        deleted.clone().header("x-hub-signature-256", &"0".repeat(64)),
        other,
        moved,
        gone.clone().without("x-slack-signature"),
        gone.clone().header("x-slack-signature", "v0=00"),
        gone.clone().without("x-slack-request-timestamp"),
    ] {
        send(&app, &bad).await.problem(401, "invalid_signature");
    }
    assert_eq!(
        (status(&app, github).await, status(&app, slack).await),
        ("active".to_owned(), "active".to_owned())
    );
    assert_eq!(app.database.number("SELECT count(*) FROM webhook_deliveries").await, 0);
    let huge = app.call(reqwest::Method::POST, "/oauth/webhooks/github").body(vec![b'x'; 40 * 1024 * 1024]);
    // Where the refusal comes before the body has been sent, the connection ends.
    if let Ok(answer) = huge.try_ask().await {
        assert_eq!(answer.status, 413);
    }
}

#[tokio::test]
async fn s37_slacks_window_is_five_minutes_in_both_directions() {
    let app = TestApp::spawn().await;
    let id = app.connect_slack().await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let event = app.sim.slack_uninstalled_webhook("T0EXAMPLE", now + 1);
    let body: Value = serde_json::from_slice(&event.body).unwrap();
    for (at, is_good) in [(now - 310, false), (now + 310, false), (now - 290, true)] {
        let answer = send(&app, &app.sim.slack_webhook(at, &body)).await;
        assert_eq!(answer.status == 202, is_good, "{at}: {}", answer.text);
    }
    assert_eq!(status(&app, id).await, "needs_reconnect");
    for text in ["", "soon", "99999999999999999999"] {
        send(&app, &event.clone().header("x-slack-request-timestamp", text)).await.expect(401);
    }
}

#[tokio::test]
async fn s38_a_delivery_counts_once() {
    let app = TestApp::spawn().await;
    let (github, slack) = (app.connect_github().await, app.connect_slack().await);
    let suspended = app.sim.github_installation_webhook("suspend", number(&app)).unwrap();
    assert_eq!(outcome(&app, &suspended).await, "applied");
    assert_eq!(status(&app, github).await, "suspended");
    let unsuspended = app.sim.github_installation_webhook("unsuspend", number(&app)).unwrap();
    assert_eq!(outcome(&app, &unsuspended).await, "applied");
    assert_eq!(outcome(&app, &suspended).await, "duplicate");
    assert_eq!(status(&app, github).await, "active");
    let event = app.sim.slack_uninstalled_webhook("T0EXAMPLE", app.sim.now() + 1);
    assert_eq!(outcome(&app, &event).await, "applied");
    // Retried with a new signature and number, which Slack does: the event is the same.
    let body: Value = serde_json::from_slice(&event.body).unwrap();
    let again = app.sim.slack_webhook(app.sim.now(), &body).header("x-slack-retry-num", "1");
    assert_eq!(outcome(&app, &again).await, "duplicate");
    assert_eq!(status(&app, slack).await, "needs_reconnect");
}

#[tokio::test]
async fn s38_a_delivery_that_comes_to_several_replicas_at_once_counts_once() {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    let suspended = app.sim.github_installation_webhook("suspend", number(&app)).unwrap();
    let mut outcomes = futures_util::future::join_all((0..8).map(|_| outcome(&app, &suspended))).await;
    outcomes.sort();
    assert_eq!(outcomes.first().map(String::as_str), Some("applied"));
    assert!(outcomes[1..].iter().all(|outcome| outcome == "duplicate"), "{outcomes:?}");
    let written = "SELECT count(*) FROM audit WHERE event = 'installation.status_changed'";
    assert_eq!(app.database.number(written).await, 1);
}

#[tokio::test]
async fn s39_an_event_about_an_earlier_connection_is_ignored() {
    let app = TestApp::spawn().await;
    let slack = app.connect_slack().await;
    let stale = app.sim.now() - 3600;
    let early = app.sim.slack_uninstalled_webhook("T0EXAMPLE", stale);
    assert_eq!(outcome(&app, &early).await, "ignored");
    let early = app.sim.slack_revoked_webhook("T0EXAMPLE", stale, &["U0ALICE"], &["U0BOT1"]);
    assert_eq!(outcome(&app, &early).await, "ignored");
    assert_eq!(status(&app, slack).await, "active");
    app.hand_out("slack").await.expect(200);

    let github = app.connect_github().await;
    let old = number(&app);
    let deleted = app.sim.github_installation_webhook("deleted", old).unwrap();
    app.sim.delete_github_installation(old);
    let started = crate::helpers::Browser::new(&app);
    app.connect_in(&started, "github", [("user", "alice"), ("account", "example-corp")])
        .await
        .page(200, "GitHub connected");
    assert_ne!(number(&app), old);
    assert_eq!(app.only_installation("github").await, github);
    assert_eq!(outcome(&app, &deleted).await, "ignored");
    app.hand_out("github").await.expect(200);
}

#[tokio::test]
async fn s40_an_unknown_installation_is_taken_and_makes_no_row() {
    let app = TestApp::spawn().await;
    let body = json!({ "action": "deleted", "installation": { "id": 1, "account": { "id": 2, "login": "nobody" } } });
    assert_eq!(outcome(&app, &app.sim.github_webhook("installation", &body)).await, "ignored");
    assert_eq!(
        outcome(&app, &app.sim.slack_uninstalled_webhook("T0EXAMPLE", app.sim.now())).await,
        "ignored"
    );
    assert_eq!(outcome(&app, &app.sim.github_webhook("push", &json!({ "ref": "main" }))).await, "ignored");
    assert_eq!(app.database.number("SELECT count(*) FROM oauth_installations").await, 0);
    let garbage =
        Webhook::github(&app.sim.settings().github_app.webhook_secret, "installation", "d-2", &json!("text"));
    let answer = send(&app, &garbage).await;
    assert!((400..500).contains(&answer.status), "{}", answer.text);
}

#[tokio::test]
async fn uninstalling_wipes_the_tokens_and_says_so() {
    let app = TestApp::spawn().await;
    let (github, slack) = (app.connect_github().await, app.connect_slack().await);
    app.sim.set_webhook_base(Some(app.url.clone()));
    app.sim.delete_github_installation(number(&app));
    crate::helpers::until("GitHub's webhook came", async || status(&app, github).await == "needs_reconnect")
        .await;
    send(&app, &app.sim.slack_uninstalled_webhook("T0EXAMPLE", app.sim.now() + 1)).await.expect(202);
    for id in [github, slack] {
        let seen = app.installation(id).await;
        assert_eq!(
            (seen.text_at("/status"), seen.text_at("/status_reason")),
            ("needs_reconnect", "uninstalled")
        );
    }
    let left = "SELECT count(*) FROM installation_credentials WHERE access_token_encrypted IS NOT NULL OR refresh_token_encrypted IS NOT NULL";
    assert_eq!(app.database.number(left).await, 0);
    let over = app.hand_out("github").await.problem(409, "needs_reconnect");
    assert_eq!(over.body["status_reason"], "uninstalled");
}

#[tokio::test]
async fn a_workspace_that_removes_the_app_does_not_disconnect_its_enterprise() {
    let app = TestApp::spawn().await;
    app.connect("slack", [("workspace", "E0EXAMPLE")]).await.page(200, "Slack connected");
    let id = app.only_installation("slack").await;
    app.database.execute("UPDATE oauth_installations SET last_probed_at = now()").await;
    // Of a workspace inside, where the app was installed apart from this.
    let event = app.sim.slack_uninstalled_webhook("T0LABS", app.sim.now() + 1);
    assert_eq!(outcome(&app, &event).await, "applied");
    assert_eq!(status(&app, id).await, "active");
    app.hand_out("slack").await.expect(200);
    // What it means for the whole is asked soon, and nothing was meant.
    credential::reconcile(&app.integrations).await.unwrap();
    let asked = async || app.sim.count(Provider::Slack, "POST /api/auth.test", "") == 1;
    crate::helpers::until("Slack was asked", asked).await;
    assert_eq!(status(&app, id).await, "active");
    let event = app.sim.slack_uninstalled_webhook("E0EXAMPLE", app.sim.now() + 1);
    assert_eq!(outcome(&app, &event).await, "applied");
    assert_eq!(status(&app, id).await, "needs_reconnect");
}

#[tokio::test]
async fn revoked_tokens_are_named_by_their_users() {
    let app = TestApp::spawn().await;
    let id = app.connect_slack().await;
    let bot = app.installation(id).await.text_at("/metadata/bot_user_id").to_owned();
    let user = app.sim.slack_revoked_webhook("T0EXAMPLE", app.sim.now() + 1, &["U0ALICE"], &[]);
    assert_eq!(outcome(&app, &user).await, "applied");
    app.hand_out("slack").await.expect(200);
    app.hand_out_with("slack", "&kind=user").await.problem(409, "needs_reconnect");
    let other = app.sim.slack_revoked_webhook("T0EXAMPLE", app.sim.now() + 1, &["U0BOB"], &["U0OTHER"]);
    assert_eq!(outcome(&app, &other).await, "ignored");
    let gone = app.sim.slack_revoked_webhook("T0EXAMPLE", app.sim.now() + 1, &[], &[&bot]);
    assert_eq!(outcome(&app, &gone).await, "applied");
    app.hand_out("slack").await.problem(409, "needs_reconnect");
    let challenge =
        app.sim.slack_webhook(app.sim.now(), &json!({ "type": "url_verification", "challenge": "abc" }));
    assert_eq!(send(&app, &challenge).await.expect(200).text_at("/challenge"), "abc");
}

#[tokio::test]
async fn a_withdrawn_authorization_ends_the_persons_token_and_not_the_apps() {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    app.hand_out_with("github", "&kind=user").await.expect(200);
    let alice = app.sim.world().github.account_id("alice").unwrap();
    assert_eq!(outcome(&app, &app.sim.github_authorization_webhook(alice)).await, "applied");
    app.hand_out_with("github", "&kind=user").await.problem(409, "needs_reconnect");
    app.hand_out("github").await.expect(200);
}

#[tokio::test]
async fn without_a_secret_no_webhook_is_taken() {
    let app = TestApp::with().set("GITHUB_WEBHOOK_SECRET", "").set("SLACK_SIGNING_SECRET", "").spawn().await;
    let body = json!({ "action": "deleted", "installation": { "id": 1 } });
    for webhook in
        [Webhook::github("", "installation", "d-1", &body), Webhook::slack("", app.sim.now(), &body)]
    {
        send(&app, &webhook).await.problem(404, "provider_not_configured");
    }
}
