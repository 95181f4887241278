//! `POST /oauth/token`: RFC 6749's rules for every grant, and client_credentials.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::helpers::{
    Answer, Ask, TestApp,
    database::digest,
    fixtures::{
        BOUND, BROAD, ClientCredentials, DISABLED, EXPIRED_SECRET, NEW_SECRET, NO_GRANT, ODD, PUBLIC,
        TWO_SECRETS,
    },
    process, tokens,
    wait::until,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// Sends a body as it stands.
async fn raw(app: &TestApp, media_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    app.post("/oauth/token").header("content-type", media_type).body(body).ask().await
}

/// The fields of a grant with the credentials in the form.
fn form(client: &ClientCredentials) -> Vec<(&str, &str)> {
    vec![("grant_type", "client_credentials"), ("client_id", &client.id), ("client_secret", &client.secret)]
}

#[tokio::test]
async fn t1_other_methods_are_405_and_say_which_is_allowed() {
    let app = TestApp::spawn().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = app.call(method, "/oauth/token").ask().await.expect(405);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn t2_only_a_form_is_a_request() {
    let app = TestApp::spawn().await;
    let client = app.client(BOUND);
    let body =
        json!({ "grant_type": "client_credentials", "client_id": client.id, "client_secret": client.secret });
    raw(&app, "application/json", body.to_string()).await.oauth_error(400, "invalid_request");
    raw(&app, "text/plain", "grant_type=client_credentials").await.oauth_error(400, "invalid_request");
    app.post("/oauth/token").ask().await.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn t3_a_token_is_given_and_never_stored_on_the_way() {
    let app = TestApp::spawn().await;
    let client = app.client(BOUND);
    for answer in [app.token(&form(&client)).await, app.grant(&client, &[]).await] {
        let answer = answer.expect(200);
        assert!(answer.header("content-type").unwrap().starts_with("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
        assert_eq!(answer.text_at("/token_type"), "Bearer");
        assert!(tokens::is_signed_by(answer.text_at("/access_token"), &app.jwks().await.body));
    }
}

#[tokio::test]
async fn t5_a_grant_type_is_needed_and_has_to_be_known() {
    let app = TestApp::spawn().await;
    let client = app.client(BOUND);
    let credentials = [("client_id", &*client.id), ("client_secret", &*client.secret)];
    app.token(&credentials).await.oauth_error(400, "invalid_request");
    for grant_type in ["password", "implicit", "Client_Credentials", "client_credentials ", "urn:x"] {
        let mut form = credentials.to_vec();
        form.push(("grant_type", grant_type));
        app.token(&form).await.oauth_error(400, "unsupported_grant_type");
    }
}

#[tokio::test]
async fn t6_a_repeated_parameter_is_refused_an_empty_one_absent_and_an_unknown_one_ignored() {
    let app = TestApp::spawn().await;
    let client = app.client(BOUND);
    for (name, value) in [("grant_type", "client_credentials"), ("scope", "groups:read"), ("x", "1")] {
        let mut form = form(&client);
        form.retain(|(known, _)| *known != name);
        form.extend([(name, value), (name, value)]);
        app.token(&form).await.oauth_error(400, "invalid_request");
    }
    let mut empty = form(&client);
    empty.extend([("scope", ""), ("resource", ""), ("audience", ""), ("refresh_token", "")]);
    assert_eq!(app.token(&empty).await.expect(200).scopes(), ["groups:read"]);
    let mut unknown = form(&client);
    unknown.extend([("utm_source", "newsletter"), ("état", "é")]);
    app.token(&unknown).await.expect(200);
    app.token(&[("grant_type", ""), ("client_id", BOUND)]).await.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn t7_wrong_secret_by_basic_is_401_with_a_challenge() {
    let app = TestApp::spawn().await;
    let wrong = ClientCredentials { id: BOUND.to_owned(), secret: "aas_wrong".to_owned() };
    let answer = app.grant(&wrong, &[]).await.oauth_error(401, "invalid_client");
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("Basic realm=\""), "{challenge}");
}

#[tokio::test]
async fn t8_all_failed_client_authentications_look_the_same() {
    let app = TestApp::spawn().await;
    let credentials =
        |id: &str, secret: &str| ClientCredentials { id: id.to_owned(), secret: secret.to_owned() };
    let disabled = app.client(DISABLED);
    let attempts = [
        credentials(BOUND, "aas_wrong"),
        credentials("nobody", "aas_wrong"),
        disabled,
        credentials(PUBLIC, "aas_wrong"),
        credentials(TWO_SECRETS, EXPIRED_SECRET),
        credentials(&Uuid::now_v7().to_string(), "aas_wrong"),
        credentials(&"x".repeat(5000), "aas_wrong"),
        // Only a public client comes without a secret.
        credentials(BOUND, ""),
    ];
    let mut seen = Vec::new();
    for client in &attempts {
        for answer in [app.token(&form(client)).await, app.grant(client, &[]).await] {
            let answer = answer.oauth_error(401, "invalid_client");
            seen.push((answer.text.clone(), answer.header("www-authenticate").map(str::to_owned)));
        }
    }
    assert!(seen.iter().all(|it| *it == seen[0]), "{seen:#?}");
}

#[tokio::test]
async fn t9_two_ways_of_authentication_at_once_are_refused() {
    let app = TestApp::spawn().await;
    let client = app.client(BOUND);
    app.grant(&client, &[("client_secret", &client.secret)]).await.oauth_error(400, "invalid_request");
    let twice = app.grant(&client, &[("client_id", &client.id), ("client_secret", "aas_wrong")]).await;
    twice.oauth_error(400, "invalid_request");
    // The same id in the body is no second way.
    app.grant(&client, &[("client_id", &client.id)]).await.expect(200);
}

#[tokio::test]
async fn t10_basic_credentials_are_form_urlencoded() {
    let app = TestApp::spawn().await;
    let odd = app.client(ODD);
    let encode = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        text.bytes().fold(String::new(), |encoded, byte| match byte {
            b' ' => encoded + "+",
            byte if plain(byte) => encoded + &char::from(byte).to_string(),
            byte => format!("{encoded}%{byte:02X}"),
        })
    };
    let encoded = ClientCredentials { id: encode(&odd.id), secret: encode(&odd.secret) };
    assert_eq!(encoded.id, "odd%3Aclient%2Fid+%2B%25");
    let answer = app.grant(&encoded, &[]).await.expect(200);
    assert_eq!(tokens::claims(answer.text_at("/access_token"))["sub"], ODD);
    app.token(&form(&odd)).await.expect(200);
}

#[tokio::test]
async fn t10_broken_basic_credentials_are_refused() {
    let app = TestApp::spawn().await;
    for value in
        ["Basic", "Basic !!!", "Basic Zm9v", "Basic JTpi", "Basic /w==", "Bearer x", "Digest x", "Basic  "]
    {
        let request = app
            .post("/oauth/token")
            .header("authorization", value)
            .form(&[("grant_type", "client_credentials")]);
        let answer = request.ask().await;
        assert!(matches!(answer.status, 400 | 401), "{value}: {} {}", answer.status, answer.text);
        let error = if answer.status == 401 { "invalid_client" } else { "invalid_request" };
        let status = answer.status;
        answer.oauth_error(status, error);
    }
}

#[tokio::test]
async fn t11_a_secret_in_the_query_is_refused() {
    let app = TestApp::spawn().await;
    let client = app.client(BOUND);
    let path = format!(
        "/oauth/token?client_id={}&client_secret={}&grant_type=client_credentials",
        client.id, client.secret
    );
    let empty = app.post(&path).header("content-type", FORM).ask().await;
    assert!(matches!(empty.status, 400 | 401), "{}", empty.text);
    let half =
        app.post(&path).form(&[("grant_type", "client_credentials"), ("client_id", &client.id)]).ask().await;
    assert!(matches!(half.status, 400 | 401), "{}", half.text);
    let whole = app.post(&path).form(&form(&client)).ask().await;
    whole.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn t12_two_different_client_ids_are_refused() {
    let app = TestApp::spawn().await;
    let answer = app.grant(&app.client(BOUND), &[("client_id", BROAD)]).await;
    answer.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn t13_a_client_without_the_grant_is_unauthorized_client() {
    let app = TestApp::spawn().await;
    app.grant(&app.client(NO_GRANT), &[]).await.oauth_error(400, "unauthorized_client");
    let client = app.client(BOUND);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "art_x")];
    let request = app.post("/oauth/token").basic_auth(&client.id, Some(&client.secret)).form(&form);
    request.ask().await.oauth_error(400, "unauthorized_client");
}

#[tokio::test]
async fn t14_a_scope_beyond_the_clients_is_invalid_scope() {
    let app = TestApp::spawn().await;
    let client = app.client(BROAD);
    for scope in
        ["nothing:known", "groups:read revocations:read", "groups:read groups:READ", "\"groups:read\"", "é"]
    {
        app.grant(&client, &[("scope", scope)]).await.oauth_error(400, "invalid_scope");
    }
}

#[tokio::test]
async fn t14_the_answer_says_which_scope_was_granted() {
    let app = TestApp::spawn().await;
    let client = app.client(BROAD);
    let granted = async |fields: &[(&str, &str)]| {
        let answer = app.grant(&client, fields).await.expect(200);
        assert_eq!(tokens::claims(answer.text_at("/access_token"))["scope"], answer.body["scope"]);
        answer.scopes().join(" ")
    };
    assert_eq!(granted(&[]).await, "groups:read messages:read messages:send");
    assert_eq!(granted(&[("scope", "messages:read")]).await, "messages:read");
    assert_eq!(granted(&[("scope", "messages:read messages:read")]).await, "messages:read");
}

#[tokio::test]
async fn t15_expires_in_is_the_life_of_the_token() {
    let app = TestApp::with().set("ACCESS_TOKEN_TTL_SECONDS", 123).spawn().await;
    let answer = app.grant(&app.client(BOUND), &[]).await.expect(200);
    let claims = tokens::claims(answer.text_at("/access_token"));
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!((answer.number_at("/expires_in"), life), (123, 123));
}

#[tokio::test]
async fn t16_a_large_or_broken_body_is_a_4xx() {
    let app = TestApp::spawn().await;
    let large = raw(&app, FORM, format!("grant_type=client_credentials&x={}", "x".repeat(70_000))).await;
    assert!(matches!(large.status, 400 | 413), "{}", large.status);
    let huge = raw(&app, FORM, "x=1&".repeat(500_000)).await;
    assert!(matches!(huge.status, 400 | 413), "{}", huge.status);
    let broken: [&[u8]; 6] = [
        b"grant_type=\xFF\xFE",
        b"grant_type=client_credentials&client_id=%FF%FE&client_secret=x",
        b"grant_type=%ZZ",
        b"grant_type=client_credentials&client_id=%",
        b"\x00\x01\x02",
        b"&&&==&=",
    ];
    for body in broken {
        let answer = raw(&app, FORM, body).await;
        assert!((400..500).contains(&answer.status), "{body:?}: {} {}", answer.status, answer.text);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{body:?}");
    }
}

#[tokio::test]
async fn t18_a_browser_may_call_from_registered_origins_only() {
    let app = TestApp::with().set("ALLOWED_ORIGINS", "https://app.example").spawn().await;
    let preflight = async |origin: &str| {
        app.call(Method::OPTIONS, "/oauth/token")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .ask()
            .await
    };
    let allowed = preflight("https://app.example").await;
    assert!(allowed.status < 300, "{}", allowed.status);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    let other = preflight("https://evil.example").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    let none = TestApp::with().on(&app.database).spawn().await;
    let request = none.call(Method::OPTIONS, "/oauth/token").header("origin", "https://app.example");
    let answer = request.header("access-control-request-method", "POST").ask().await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn c1_a_service_gets_neither_refresh_token_nor_id_token() {
    let app = TestApp::spawn().await;
    let answer = app.grant(&app.client(BOUND), &[]).await.expect(200);
    let members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 4, "{members:?}");
    assert!(answer.body.get("refresh_token").is_none() && answer.body.get("id_token").is_none());
}

#[tokio::test]
async fn c2_the_subject_is_the_client() {
    let app = TestApp::spawn().await;
    let token = app.service_token(&app.client(BOUND)).await;
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
    let client = app.client(BROAD);
    for name in ["resource", "audience"] {
        for value in ["nowhere", "mozaiks-runtime", "auth-api nowhere"] {
            app.grant(&client, &[(name, value)]).await.oauth_error(400, "invalid_target");
        }
    }
}

#[tokio::test]
async fn c5_the_audience_is_what_is_registered_or_the_part_asked_for() {
    let app = TestApp::spawn().await;
    let client = app.client(BROAD);
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
    app.service_token(&app.client(TWO_SECRETS)).await;
    let new = ClientCredentials { id: TWO_SECRETS.to_owned(), secret: NEW_SECRET.to_owned() };
    app.service_token(&new).await;
}

#[tokio::test]
async fn grants_are_counted_and_leave_no_row() {
    let app = TestApp::spawn().await;
    let client = app.client(BOUND);
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
    let client = app.client(BOUND);
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
