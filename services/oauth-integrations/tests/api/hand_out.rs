//! Tokens for services: who gets which, what the answer holds, and what is written down (S25 to S33).

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::helpers::{Ask, TestApp, app::SITE_2, auth_api::audience};

#[tokio::test]
async fn s25_it_takes_a_service_with_the_scope() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    let path = format!("/oauth/token/slack?org_id={}", app.org_id);
    let none = app.call(Method::GET, &path).ask().await.problem(401, "authentication_required");
    assert!(none.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")));
    let weak = app.auth_api.service("dashboard-api", "integrations:read", &[app.org_id]);
    let weak = app.call(Method::GET, &path).bearer_auth(weak).ask().await.problem(403, "insufficient_scope");
    assert!(weak.header("www-authenticate").is_some_and(|it| it.contains("integrations:token:read")));
    app.hand_out("slack").await.expect(200);
}

#[tokio::test]
async fn s26_a_foreign_and_an_unknown_organization_look_the_same_and_users_get_nothing() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    let stranger = app.auth_api.service(
        "indexer-worker",
        "integrations:read integrations:token:read",
        &[Uuid::now_v7()],
    );
    let mut seen = Vec::new();
    for org_id in [app.org_id, Uuid::now_v7()] {
        let path = format!("/oauth/token/slack?org_id={org_id}");
        let answer =
            app.call(Method::GET, &path).bearer_auth(&stranger).ask().await.problem(404, "not_found");
        seen.push((answer.status, answer.body["title"].clone(), answer.body["detail"].clone()));
        let list = format!("/oauth/installations?org_id={org_id}");
        app.call(Method::GET, &list).bearer_auth(&stranger).ask().await.problem(404, "not_found");
    }
    assert_eq!(seen[0], seen[1]);
    for permissions in [&["integrations:manage", "integrations:token:read"][..], &[]] {
        let user = app.auth_api.user(app.alice, app.org_id, permissions);
        let path = format!("/oauth/token/slack?org_id={}", app.org_id);
        app.call(Method::GET, &path).bearer_auth(user).ask().await.expect(403);
    }
    let elsewhere = app.auth_api.manager(Uuid::now_v7(), Uuid::now_v7());
    let id = app.only_installation("slack").await;
    for (method, path) in [
        (Method::GET, format!("/oauth/installations/{id}")),
        (Method::DELETE, format!("/oauth/installations/{id}")),
        (Method::POST, format!("/oauth/installations/{id}/check")),
    ] {
        app.call(method, &path).bearer_auth(&elsewhere).ask().await.problem(404, "not_found");
    }
    app.hand_out("slack").await.expect(200);
}

#[tokio::test]
async fn s26_a_service_reaches_no_connection_of_another_organization_by_its_id() {
    let app = TestApp::spawn().await;
    let foreign = app.connect_jira().await;
    app.hand_out("jira").await.expect(200);
    let other = Uuid::now_v7();
    let scopes = "integrations:read integrations:token:read";
    let calls = app.sim.calls().len();
    // Bound to another one, to both but asking in the other's name, and to none.
    for orgs in [&[other][..], &[other, app.org_id], &[]] {
        let service = app.auth_api.service("indexer-worker", scopes, orgs);
        let ask = async |method, path: String| app.call(method, &path).bearer_auth(&service).ask().await;
        let (own, id) = (format!("org_id={other}"), foreign);
        for (method, path) in [
            (Method::GET, format!("/oauth/token/jira?{own}&installation_id={id}")),
            (Method::GET, format!("/oauth/installations/{id}?{own}")),
            (Method::POST, format!("/oauth/installations/{id}/check?{own}")),
        ] {
            ask(method, path).await.expect(404);
        }
        let listed = ask(Method::GET, format!("/oauth/installations?{own}")).await;
        assert!(!listed.text.contains(&foreign.to_string()), "{}", listed.text);
        if orgs.len() != 1 {
            let unnamed = ask(Method::GET, format!("/oauth/token/jira?installation_id={foreign}")).await;
            assert!(matches!(unnamed.status, 400 | 404), "{}", unnamed.text);
        }
    }
    assert_eq!(app.sim.calls().len(), calls);
    assert_eq!(app.database.number("SELECT count(*) FROM token_hand_outs").await, 1);
}

#[tokio::test]
async fn s27_an_operator_can_name_the_platforms_of_a_client() {
    let app = TestApp::with().set("HAND_OUT_PLATFORMS", "indexer-worker=github+jira").spawn().await;
    app.connect_slack().await;
    app.connect_jira().await;
    app.hand_out("slack").await.problem(403, "permission_denied");
    app.hand_out("jira").await.expect(200);
}

#[tokio::test]
async fn s28_s29_the_answer_is_complete_and_not_kept_by_anybody() {
    let app = TestApp::spawn().await;
    let ids = [
        ("github", app.connect_github().await),
        ("jira", app.connect_jira().await),
        ("slack", app.connect_slack().await),
    ];
    for (platform, id) in ids {
        let token = app.hand_out(platform).await.expect(200);
        assert_eq!(token.header("cache-control"), Some("no-store"));
        let mut members: Vec<&String> = token.body.as_object().unwrap().keys().collect();
        members.sort();
        let expected = [
            "access_token",
            "expires_at",
            "external_org_id",
            "installation_id",
            "platform",
            "scopes",
            "token_type",
        ];
        assert_eq!(members, expected);
        assert_eq!(token.text_at("/installation_id"), id.to_string());
        assert!(token.body["external_org_id"].is_string());
        let end = time::OffsetDateTime::parse(
            token.text_at("/expires_at"),
            &time::format_description::well_known::Rfc3339,
        );
        assert!(end.unwrap() >= time::OffsetDateTime::now_utc() + time::Duration::seconds(60));
    }
    // Less than is asked for is never handed out: it is renewed first.
    app.database
        .execute("UPDATE installation_credentials SET token_expires_at = now() + interval '90 s'")
        .await;
    let before = app.refreshes("slack");
    let long = app.hand_out_with("slack", "&min_ttl=3000").await.expect(200);
    assert_eq!(app.refreshes("slack"), before + 1);
    let end = time::OffsetDateTime::parse(
        long.text_at("/expires_at"),
        &time::format_description::well_known::Rfc3339,
    );
    assert!(end.unwrap() >= time::OffsetDateTime::now_utc() + time::Duration::seconds(3000));
    for wrong in ["&min_ttl=3001", "&min_ttl=-1", "&kind=other", "&repositories=a/b"] {
        app.hand_out_with("slack", wrong).await.problem(400, "validation_failed");
    }
    app.hand_out_with("slack", "&repositories=platform").await.problem(400, "validation_failed");
}

#[tokio::test]
async fn s30_every_hand_out_is_written_down_without_the_token() {
    let app = TestApp::spawn().await;
    let id = app.connect_slack().await;
    let token = app.hand_out_with("slack", "&reason=nightly%20index").await.expect(200);
    let row = app
        .database
        .text("SELECT concat_ws('|', client_id, org_id, installation_id, kind, reason) FROM token_hand_outs")
        .await;
    assert_eq!(row, format!("indexer-worker|{}|{id}|bot|nightly index", app.org_id));
    for _ in 0..4 {
        app.hand_out("slack").await.expect(200);
    }
    assert_eq!(app.database.number("SELECT count(*) FROM token_hand_outs").await, 5);
    assert!(!app.database.dump().await.contains(token.text_at("/access_token")));
    let github = app.connect_github().await;
    app.hand_out_with("github", "&repositories=platform&permissions=issues:read").await.expect(200);
    let sql = format!("SELECT count(*) FROM token_hand_outs WHERE installation_id = '{github}'");
    assert_eq!(app.database.number(&sql).await, 1);
}

#[tokio::test]
async fn a_fresh_token_costs_no_call_to_the_provider() {
    let app = TestApp::spawn().await;
    for platform in ["github", "jira", "slack"] {
        match platform {
            "github" => app.connect_github().await,
            "jira" => app.connect_jira().await,
            _ => app.connect_slack().await,
        };
        app.hand_out(platform).await.expect(200);
        let before = app.sim.calls().len();
        let first = app.hand_out(platform).await.expect(200);
        let second = app.hand_out(platform).await.expect(200);
        assert_eq!(first.text_at("/access_token"), second.text_at("/access_token"));
        assert_eq!(app.sim.calls().len(), before, "{platform}");
    }
}

#[tokio::test]
async fn a_github_token_is_as_narrow_as_asked_for() {
    let app = TestApp::spawn().await;
    app.connect_github().await;
    let token =
        app.hand_out_with("github", "&repositories=platform&permissions=issues:read").await.expect(200);
    let url = format!("{}/installation/repositories", app.sim.github_url());
    let reached = app
        .http
        .get(url)
        .bearer_auth(token.text_at("/access_token"))
        .header("user-agent", "tests")
        .ask()
        .await;
    assert_eq!(reached.expect(200).body["total_count"], 1);
    let whole = app.hand_out("github").await.expect(200);
    assert_ne!(whole.text_at("/access_token"), token.text_at("/access_token"));
    let refused = app.hand_out_with("github", "&permissions=administration:write").await;
    assert!((400..500).contains(&refused.status), "{}", refused.text);
    assert_eq!(app.installations("github").await[0]["status"], "active");
}

#[tokio::test]
async fn a_github_token_of_the_long_form_passes_whole() {
    let app = TestApp::spawn().await;
    app.sim.world().github.options.stateless_tokens = true;
    app.connect_github().await;
    let token = app.hand_out("github").await.expect(200);
    assert!(token.text_at("/access_token").len() > 500, "{}", token.text);
    let url = format!("{}/installation/repositories", app.sim.github_url());
    let asked = app.http.get(url).bearer_auth(token.text_at("/access_token")).header("user-agent", "tests");
    asked.ask().await.expect(200);
}

#[tokio::test]
async fn s31_of_several_connections_none_is_guessed() {
    let app = TestApp::spawn().await;
    let first = app.connect_jira().await;
    app.sim.world().atlassian.accounts.rotate_left(1);
    app.connect("jira", [("account", "557058:bob"), ("site", SITE_2)]).await.expect(200);
    assert_eq!(app.installations("jira").await.len(), 2);
    app.hand_out("jira").await.problem(409, "several_installations");
    let named = app.hand_out_with("jira", &format!("&installation_id={first}")).await.expect(200);
    assert_eq!(named.text_at("/installation_id"), first.to_string());
    app.hand_out_with("jira", &format!("&installation_id={}", Uuid::now_v7()))
        .await
        .problem(404, "not_connected");
}

#[tokio::test]
async fn s32_what_is_over_and_what_passes_are_told_apart() {
    let app = TestApp::with().set("SLACK_CLIENT_ID", "").set("SLACK_CLIENT_SECRET", "").spawn().await;
    app.hand_out("jira").await.problem(404, "not_connected");
    app.hand_out("slack").await.problem(404, "provider_not_configured");
    app.hand_out("gitlab").await.problem(404, "not_found");
    app.connect_jira().await;
    app.hand_out("confluence").await.expect(200);

    // Transient trouble with a token that is good still: it is served.
    app.database
        .execute("UPDATE installation_credentials SET token_expires_at = now() + interval '100 s'")
        .await;
    let fault = simulator::FaultKind::ServerError;
    app.sim.fault(simulator::Fault::always(simulator::Provider::Atlassian, "/oauth/token", fault));
    app.hand_out("jira").await.expect(200);
    app.expire_tokens().await;
    let later = app.hand_out("jira").await.problem(503, "temporarily_unavailable");
    assert!(later.header("retry-after").is_some_and(|it| it.parse::<u32>().is_ok_and(|it| it >= 1)));
    app.sim.clear_faults();

    // The grant is over: a person has to act, and is told why.
    app.sim.world().atlassian.revoke("557058:alice");
    app.database.execute("UPDATE installation_credentials SET next_attempt_at = NULL, failures = 0").await;
    let over = app.hand_out("jira").await;
    let over = if over.status == 503 { retried(&app).await } else { over };
    let over = over.problem(409, "needs_reconnect");
    assert_eq!(over.body["status_reason"], "refresh_refused");
    assert_eq!(app.installations("jira").await[0]["status"], "needs_reconnect");
    let calls = app.sim.calls().len();
    app.hand_out("jira").await.problem(409, "needs_reconnect");
    assert_eq!(app.sim.calls().len(), calls, "nothing is asked again");
}

/// The hand-out once the circuit of the provider has closed again.
async fn retried(app: &TestApp) -> crate::helpers::Answer {
    crate::helpers::wait::eventually("the circuit closes", async || {
        app.database
            .execute("UPDATE installation_credentials SET next_attempt_at = NULL, failures = 0")
            .await;
        let answer = app.hand_out("jira").await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn s33_tokens_of_other_makers_other_algorithms_and_other_times_are_refused() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    let path = format!("/oauth/token/slack?org_id={}", app.org_id);
    let issuer = &app.auth_api.issuer;
    let token = || {
        issuer
            .service("indexer-worker", "integrations:token:read")
            .claim("orgs", json!([app.org_id]))
            .claim("aud", audience())
    };
    let good = token().sign();
    let (header, rest) = good.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    let encode = |value: &Value| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let none = encode(&json!({ "alg": "none", "typ": "at+jwt", "kid": issuer.kid() }));
    let stranger = common_auth::testing::TestIssuer::new(issuer.issuer());
    let forged = stranger.service("indexer-worker", "integrations:token:read").claim("aud", audience());
    for (bad, code) in [
        (format!("{none}.{claims}."), "invalid_token"),
        (format!("{header}.{claims}.AAAA"), "invalid_token"),
        (forged.sign(), "invalid_token"),
        (token().claim("aud", json!(["chat-api"])).sign(), "invalid_token"),
        (token().claim("iss", json!("http://other")).sign(), "invalid_token"),
        (token().header("alg", json!("HS256")).sign(), "invalid_token"),
        (token().issued(7200, 3600).sign(), "token_expired"),
    ] {
        app.call(Method::GET, &path).bearer_auth(bad).ask().await.problem(401, code);
    }
    app.call(Method::GET, &path).bearer_auth(&good).ask().await.expect(200);
    app.auth_api.revoke_subject("indexer-worker");
    crate::helpers::until("the revocation bites", async || {
        app.call(Method::GET, &path).bearer_auth(&good).ask().await.status == 401
    })
    .await;
    // No secret of any client is kept here.
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' AND column_name LIKE '%secret%'";
    assert_eq!(app.database.number(columns).await, 0);
}

#[tokio::test]
async fn a_fresh_token_is_one_statement() {
    const TIMES: i64 = 200;
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    app.hand_out("slack").await.expect(200);
    let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let before = app.database.number(sql).await;
    for _ in 0..TIMES {
        app.hand_out("slack").await.expect(200);
    }
    crate::helpers::until("they are counted", async || app.database.number(sql).await - before >= TIMES)
        .await;
    let after = app.database.number(sql).await;
    // The rest is what was done before and not counted yet, and the look at the database's health each second.
    assert!(after - before < TIMES * 2, "{} transactions for {TIMES} hand-outs", after - before);
}
