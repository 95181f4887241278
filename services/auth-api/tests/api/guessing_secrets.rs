//! Guessing client secrets: a client and a place that fail too often wait, and no other client does.

use std::time::Duration;

use futures_util::future::join_all;

use crate::helpers::{
    Answer, Ask, CutProxy, TestApp, credentials,
    fixtures::{BOUND, BROAD, ClientCredentials, PUBLIC, WEAK},
    wait::until,
};

/// The endpoints where clients authenticate, and what else they need.
const ENDPOINTS: [(&str, (&str, &str)); 3] = [
    ("/oauth/token", ("grant_type", "client_credentials")),
    ("/oauth/introspect", ("token", "x")),
    ("/oauth/revoke", ("token", "x")),
];

fn wrong(id: &str) -> ClientCredentials {
    ClientCredentials { id: id.to_owned(), secret: "aas_wrong".to_owned() }
}

/// Asks one of the endpoints, by HTTP Basic or in the form.
async fn ask(app: &TestApp, client: &ClientCredentials, endpoint: usize, is_basic: bool) -> Answer {
    let (path, field) = ENDPOINTS[endpoint];
    let request = app.post(path);
    let request = if is_basic {
        request.basic_auth(&client.id, Some(&client.secret)).form(&[field])
    } else {
        request.form(&[field, ("client_id", &*client.id), ("client_secret", &*client.secret)])
    };
    request.ask().await
}

/// As if so many had failed before, all the others being here and now.
async fn failed_before(app: &TestApp, count: u32) {
    app.database.execute(&format!("UPDATE failures SET count = {count}")).await;
}

#[track_caller]
fn is_limited(answer: Answer) -> u64 {
    let answer = answer.oauth_error(429, "rate_limited");
    let wait = answer.header("retry-after").and_then(|wait| wait.parse().ok());
    assert!(answer.header("www-authenticate").is_none(), "{:?}", answer.headers);
    wait.unwrap_or_else(|| panic!("no time to wait: {:?}", answer.headers))
}

#[tokio::test]
async fn p11_failed_secrets_are_limited_at_every_endpoint_and_in_both_forms() {
    let app = TestApp::spawn().await;
    for (endpoint, client) in [BOUND, BROAD, WEAK].into_iter().enumerate() {
        app.database.execute("DELETE FROM failures").await;
        for number in 0..4 {
            ask(&app, &wrong(client), endpoint, number % 2 == 0).await.oauth_error(401, "invalid_client");
        }
        failed_before(&app, 12).await;
        ask(&app, &wrong(client), endpoint, true).await.oauth_error(401, "invalid_client");
        // All three share the count, and the right secret waits too: nobody learns that it is right.
        for (endpoint, is_basic) in [(0, true), (0, false), (1, true), (1, false), (2, true), (2, false)] {
            assert!((1..=60).contains(&is_limited(ask(&app, &wrong(client), endpoint, is_basic).await)));
            is_limited(ask(&app, &credentials(client), endpoint, is_basic).await);
        }
    }
    app.service_token(&app.demo_client("chat-api-service").await).await;
    assert!(app.metric("authentications_limited_total{kind=\"client\"}").await >= 36.0);
}

#[tokio::test]
async fn p11_an_unknown_client_is_limited_alike() {
    let app = TestApp::spawn().await;
    let mut seen = Vec::new();
    for id in [BOUND, "nobody", PUBLIC, "no client id", &"x".repeat(5000)] {
        for _ in 0..4 {
            app.grant(&wrong(id), &[]).await.oauth_error(401, "invalid_client");
        }
        failed_before(&app, 30).await;
        app.grant(&wrong(id), &[]).await.oauth_error(401, "invalid_client");
        let answer = app.grant(&wrong(id), &[]).await;
        seen.push(answer.text.clone());
        assert!((55..=60).contains(&is_limited(answer)), "{id}");
    }
    assert!(seen.iter().all(|text| *text == seen[0]), "{seen:#?}");
    let rows = app.database.text("SELECT string_agg(failures::text, ' ') FROM failures").await;
    assert!(!rows.contains("nobody") && !rows.contains(BOUND), "{rows}");
}

#[tokio::test]
async fn p11_who_gives_no_secret_guesses_none() {
    let app = TestApp::spawn().await;
    let form = [("grant_type", "refresh_token"), ("client_id", "first-party"), ("refresh_token", "art_no")];
    for _ in 0..8 {
        app.token(&form).await.oauth_error(400, "invalid_grant");
        app.token(&[("grant_type", "client_credentials"), ("client_id", BOUND)])
            .await
            .oauth_error(401, "invalid_client");
    }
    assert_eq!(app.database.number("SELECT count(*) FROM failures").await, 0);
    // Nor does a stranger who gives one keep people from refreshing.
    for _ in 0..8 {
        app.grant(&wrong("first-party"), &[]).await;
    }
    app.token(&form).await.oauth_error(400, "invalid_grant");
}

#[tokio::test]
async fn p11_the_wait_ends_and_the_right_secret_clears_the_count() {
    let app = TestApp::spawn().await;
    for _ in 0..5 {
        app.grant(&wrong(BOUND), &[]).await.oauth_error(401, "invalid_client");
    }
    until("the wait is over", async || app.grant(&credentials(BOUND), &[]).await.status == 200).await;
    assert_eq!(app.database.number("SELECT count(*) FROM failures").await, 0);
}

#[tokio::test]
async fn p9_a_neighbour_who_guesses_does_not_shut_a_client_out_of_where_it_was_let_in() {
    let app = TestApp::spawn().await;
    app.service_token(&credentials(BOUND)).await;
    for _ in 0..3 {
        app.grant(&wrong(BOUND), &[]).await.oauth_error(401, "invalid_client");
        failed_before(&app, 30).await;
        app.grant(&wrong(BOUND), &[]).await.oauth_error(401, "invalid_client");
        is_limited(app.grant(&wrong(BOUND), &[]).await);
        app.service_token(&credentials(BOUND)).await;
    }
}

#[tokio::test]
async fn p11_another_replica_learns_at_its_own_next_failure() {
    let app = TestApp::spawn().await;
    let other = TestApp::with().on(&app.database).spawn().await;
    app.grant(&wrong(BOUND), &[]).await.oauth_error(401, "invalid_client");
    failed_before(&app, 30).await;
    other.grant(&wrong(BOUND), &[]).await.oauth_error(401, "invalid_client");
    is_limited(other.grant(&credentials(BOUND), &[]).await);
    // Elsewhere the same client goes on.
    let elsewhere = TestApp::with().on(&app.database).set("TRUSTED_PROXIES", "127.0.0.1").spawn().await;
    elsewhere.grant(&wrong(BOUND), &[]).await.oauth_error(401, "invalid_client");
    is_limited(elsewhere.grant(&credentials(BOUND), &[]).await);
    let client = credentials(BOUND);
    let request = elsewhere.post("/oauth/token").header("x-forwarded-for", "198.51.100.7");
    let request = request.basic_auth(&client.id, Some(&client.secret));
    request.form(&[("grant_type", "client_credentials")]).ask().await.expect(200);
}

#[tokio::test]
async fn p11_without_the_database_the_right_secret_is_served_and_a_wrong_one_is_not_judged() {
    let proxy = CutProxy::start();
    let app = TestApp::with().through(&proxy).spawn().await;
    app.service_token(&credentials(BOUND)).await;
    app.service_token(&credentials(BROAD)).await;
    proxy.cut();
    app.service_token(&credentials(BOUND)).await;
    // Nobody guesses on while nobody counts.
    app.grant(&wrong(BOUND), &[]).await.oauth_error(503, "temporarily_unavailable");
    is_limited(app.grant(&wrong(BOUND), &[]).await);
    app.service_token(&credentials(BROAD)).await;
    until("it goes on", async || app.grant(&credentials(BOUND), &[]).await.status == 200).await;
}

#[tokio::test]
async fn p11_an_unknown_client_is_looked_up_once_in_a_while() {
    let app = TestApp::spawn().await;
    let identity = app.identity().await;
    assert!(identity.clients.find(&identity.db, "nobody").await.unwrap().is_none());
    identity.db.close();
    assert!(identity.clients.find(&identity.db, "nobody").await.unwrap().is_none());
    identity.clients.find(&identity.db, "somebody").await.map(drop).unwrap_err();
    identity.clients.forget("nobody");
    identity.clients.find(&identity.db, "nobody").await.map(drop).unwrap_err();
}

#[tokio::test]
async fn p11_a_client_that_is_registered_is_known_at_once() {
    let app = TestApp::spawn().await;
    let late = ClientCredentials { id: "late-service".to_owned(), secret: "aas_late".to_owned() };
    app.grant(&late, &[]).await.oauth_error(401, "invalid_client");
    let sql = format!(
        "INSERT INTO clients SELECT 'late-service', name, is_public, grant_types, scopes, audiences, all_orgs, org_ids, \
         NULL, NULL, now() FROM clients WHERE client_id = '{BOUND}'; \
         INSERT INTO client_secrets VALUES (gen_random_uuid(), 'late-service', sha256('aas_late'), now(), NULL); \
         NOTIFY auth_api, 'client late-service'"
    );
    app.database.execute(&sql).await;
    crate::helpers::wait::within(Duration::from_secs(4), "it is known", async || {
        (app.grant(&late, &[]).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f15_brute_force_on_one_client_leaves_the_others_alone() {
    let app = TestApp::spawn().await;
    let other = app.demo_client("chat-api-service").await;
    app.service_token(&other).await;
    let wrong = wrong(BOUND);
    let attack = join_all((0..400).map(|_| app.grant(&wrong, &[])));
    let work = async {
        for _ in 0..40 {
            app.grant(&other, &[]).await.expect(200);
        }
    };
    let (attacks, ()) = tokio::join!(attack, work);
    let guesses = attacks.iter().filter(|answer| answer.status == 401).count();
    assert!(guesses <= 12, "{guesses} guesses");
    assert!(attacks.iter().all(|answer| matches!(answer.status, 401 | 429)), "the rate limit answers");
    let counted = app.database.number("SELECT max(count)::bigint FROM failures").await;
    assert!((1..=12).contains(&counted), "{counted} times the database was asked");
}
