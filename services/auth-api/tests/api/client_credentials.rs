//! The client credentials grant: what a service's token says, and how its secret is kept.

use serde_json::json;

use crate::helpers::{
    TestApp, credentials,
    database::digest,
    fixtures::{BOUND, BROAD, ClientCredentials, NEW_SECRET, PUBLIC, TWO_SECRETS},
    process, tokens,
    wait::until,
};

#[tokio::test]
async fn c1_a_service_gets_neither_refresh_token_nor_id_token() {
    let app = TestApp::spawn().await;
    let answer = app.grant(&credentials(BOUND), &[]).await.expect(200);
    let members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 4, "{members:?}");
    assert!(answer.body.get("refresh_token").is_none() && answer.body.get("id_token").is_none());
}

#[tokio::test]
async fn c2_the_subject_is_the_client() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&credentials(BOUND)).await;
    let claims = tokens::claims(&token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(BOUND), &json!(BOUND)));
    assert_eq!(claims["orgs"], json!([app.org_id().await]));
    let header = tokens::header(&token);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("RS256")));
    for claim in ["org_id", "sid", "roles", "permissions", "email", "username", "auth_time"] {
        assert!(claims.get(claim).is_none(), "a service has no {claim}");
    }
    let platform = app.service_token(&app.demo_client("chat-api-service").await).await;
    assert_eq!(tokens::claims(&platform)["orgs"], json!(["*"]));
}

#[tokio::test]
async fn c3_a_public_client_has_no_token_of_its_own() {
    let app = TestApp::spawn().await;
    app.token(&[("grant_type", "client_credentials"), ("client_id", PUBLIC)])
        .await
        .oauth_error(400, "unauthorized_client");
    let first_party = app.token(&[("grant_type", "client_credentials"), ("client_id", "first-party")]).await;
    first_party.oauth_error(400, "unauthorized_client");
}

#[tokio::test]
async fn c4_an_unknown_resource_is_invalid_target() {
    let app = TestApp::spawn().await;
    let client = credentials(BROAD);
    for name in ["resource", "audience"] {
        for value in ["nowhere", "mozaiks-runtime", "auth-api nowhere"] {
            app.grant(&client, &[(name, value)]).await.oauth_error(400, "invalid_target");
        }
    }
}

#[tokio::test]
async fn c5_the_audience_is_what_is_registered_or_the_part_asked_for() {
    let app = TestApp::spawn().await;
    let client = credentials(BROAD);
    let audience = async |fields: &[(&str, &str)]| {
        let answer = app.grant(&client, fields).await.expect(200);
        tokens::claims(answer.text_at("/access_token"))["aud"].clone()
    };
    assert_eq!(audience(&[]).await, json!(["auth-api", "chat-api", "oauth-integrations"]));
    assert_eq!(audience(&[("resource", "chat-api")]).await, json!(["chat-api"]));
    assert_eq!(audience(&[("audience", "oauth-integrations")]).await, json!(["oauth-integrations"]));
    let demo = app.service_token(&app.demo_client("indexer-worker").await).await;
    assert_eq!(tokens::claims(&demo)["aud"], json!(["oauth-integrations"]));
}

#[tokio::test]
async fn s1_seeded_secrets_are_long_and_need_no_encoding() {
    let app = TestApp::spawn().await;
    for id in ["chat-api-service", "oauth-relay-service", "indexer-worker", "dashboard-api"] {
        let secret = app.demo_client(id).await.secret;
        assert!(secret.starts_with("aas_") && secret.len() >= 47, "{secret}");
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{secret}");
    }
}

#[tokio::test]
async fn s2_the_database_has_only_digests() {
    let app = TestApp::spawn().await;
    let secret = app.demo_client("chat-api-service").await.secret;
    let rows = app.database.text("SELECT string_agg(client_secrets::text, ' ') FROM client_secrets").await;
    assert!(!rows.contains(&secret) && !rows.contains(secret.trim_start_matches("aas_")));
    let client = app.database.client().await;
    let found = client
        .query("SELECT client_id FROM client_secrets WHERE digest = $1", &[&digest(&secret)])
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].get::<_, String>(0), "chat-api-service");
}

#[tokio::test]
async fn s3_two_secrets_live_side_by_side() {
    let app = TestApp::spawn().await;
    app.service_token(&credentials(TWO_SECRETS)).await;
    let new = ClientCredentials { id: TWO_SECRETS.to_owned(), secret: NEW_SECRET.to_owned() };
    app.service_token(&new).await;
}

#[tokio::test]
async fn grants_are_counted_and_leave_no_row() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
    app.service_token(&client).await;
    let rows = "SELECT sum(n_tup_ins)::bigint FROM (SELECT (xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c \
                FROM %I', tablename), false, true, '')))[1]::text::bigint AS n_tup_ins FROM pg_tables WHERE schemaname = 'public') t";
    let before = app.database.number(rows).await;
    let counted =
        app.metric("oauth2_grants_total{grant_type=\"client_credentials\",result=\"granted\"}").await;
    for _ in 0..30 {
        app.service_token(&client).await;
    }
    let now = app.metric("oauth2_grants_total{grant_type=\"client_credentials\",result=\"granted\"}").await;
    assert!((now - counted - 30.0).abs() < 0.5, "{counted} then {now}");
    assert_eq!(app.database.number(rows).await, before);
}

#[tokio::test]
async fn a_client_that_is_disabled_is_refused_by_every_replica_at_once() {
    let app = TestApp::spawn().await;
    let replica = TestApp::with().on(&app.database).spawn().await;
    let client = credentials(BOUND);
    for app in [&app, &replica] {
        app.service_token(&client).await;
    }
    let sql = "UPDATE clients SET disabled_at = now() WHERE client_id = 'bound-service'; NOTIFY auth_api, 'client bound-service'";
    app.database.execute(sql).await;
    for app in [&app, &replica] {
        until("the client is refused", async || app.grant(&client, &[]).await.status == 401).await;
    }
}

#[tokio::test]
async fn a_seeding_with_the_secret_given_keeps_it() {
    let app = TestApp::spawn().await;
    let client = app.demo_client("chat-api-service").await;
    let mut settings = process::base_settings();
    settings.extend(app.database.settings(None));
    settings.push(("CHAT_API_SERVICE_CLIENT_SECRET", client.secret.clone()));
    let outcome = process::run(&["seed-demo"], &settings).await;
    let variables = crate::helpers::database::parse_variables(&outcome.stdout);
    assert_eq!(variables["CHAT_API_SERVICE_CLIENT_SECRET"], client.secret);
    app.service_token(&client).await;
}

#[tokio::test]
async fn a_use_that_could_not_be_written_down_is_written_down_later() {
    let app = TestApp::spawn().await;
    let (identity, unreachable) = (app.identity().await, app.identity().await);
    unreachable.db.close();
    let client = identity.clients.find(&identity.db, BOUND).await.unwrap().unwrap();
    client.touch(time::OffsetDateTime::now_utc());
    identity.clients.flush_last_used(&unreachable.db).await.unwrap_err();
    identity.clients.flush_last_used(&identity.db).await.unwrap();
    let used = "SELECT count(*) FROM clients WHERE client_id = 'bound-service' AND last_used_at IS NOT NULL";
    assert_eq!(app.database.number(used).await, 1);
}
