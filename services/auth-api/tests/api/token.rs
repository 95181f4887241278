//! `POST /oauth/token`: RFC 6749's rules for every grant, and `client_credentials`.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::helpers::{
    Answer, Ask, TestApp, credentials,
    fixtures::{
        BOUND, BROAD, ClientCredentials, DISABLED, EXPIRED_SECRET, NO_GRANT, ODD, PUBLIC, TWO_SECRETS,
    },
    tokens,
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
    let client = credentials(BOUND);
    let body =
        json!({ "grant_type": "client_credentials", "client_id": client.id, "client_secret": client.secret });
    raw(&app, "application/json", body.to_string()).await.oauth_error(400, "invalid_request");
    raw(&app, "text/plain", "grant_type=client_credentials").await.oauth_error(400, "invalid_request");
    app.post("/oauth/token").ask().await.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn t3_a_token_is_given_and_never_stored_on_the_way() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
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
    let client = credentials(BOUND);
    let fields = [("client_id", &*client.id), ("client_secret", &*client.secret)];
    app.token(&fields).await.oauth_error(400, "invalid_request");
    for grant_type in ["password", "implicit", "Client_Credentials", "client_credentials ", "urn:x"] {
        let mut form = fields.to_vec();
        form.push(("grant_type", grant_type));
        app.token(&form).await.oauth_error(400, "unsupported_grant_type");
    }
}

#[tokio::test]
async fn t6_a_repeated_parameter_is_refused_an_empty_one_absent_and_an_unknown_one_ignored() {
    let app = TestApp::spawn().await;
    let client = credentials(BOUND);
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
    let pair = |id: &str, secret: &str| ClientCredentials { id: id.to_owned(), secret: secret.to_owned() };
    let disabled = credentials(DISABLED);
    let attempts = [
        pair(BOUND, "aas_wrong"),
        pair("nobody", "aas_wrong"),
        disabled,
        pair(PUBLIC, "aas_wrong"),
        pair(TWO_SECRETS, EXPIRED_SECRET),
        pair(&Uuid::now_v7().to_string(), "aas_wrong"),
        pair(&"x".repeat(5000), "aas_wrong"),
        // Only a public client comes without a secret.
        pair(BOUND, ""),
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
    let client = credentials(BOUND);
    app.grant(&client, &[("client_secret", &client.secret)]).await.oauth_error(400, "invalid_request");
    let twice = app.grant(&client, &[("client_id", &client.id), ("client_secret", "aas_wrong")]).await;
    twice.oauth_error(400, "invalid_request");
    // The same id in the body is no second way.
    app.grant(&client, &[("client_id", &client.id)]).await.expect(200);
}

#[tokio::test]
async fn t10_basic_credentials_are_form_urlencoded() {
    let app = TestApp::spawn().await;
    let odd = credentials(ODD);
    let encode = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        text.bytes().fold(String::new(), |encoded, byte| match byte {
            b' ' => encoded + "+",
            byte if plain(byte) => encoded + &char::from(byte).to_string(),
            byte => format!("{encoded}%{byte:02X}"),
        })
    };
    let encoded = ClientCredentials { id: encode(&odd.id), secret: encode(&odd.secret) };
    assert_eq!(encoded.id, "odd%3Aclient%2Fid%2B%25");
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
    let client = credentials(BOUND);
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
    let answer = app.grant(&credentials(BOUND), &[("client_id", BROAD)]).await;
    answer.oauth_error(400, "invalid_request");
}

#[tokio::test]
async fn t13_a_client_without_the_grant_is_unauthorized_client() {
    let app = TestApp::spawn().await;
    app.grant(&credentials(NO_GRANT), &[]).await.oauth_error(400, "unauthorized_client");
    let client = credentials(BOUND);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "art_x")];
    let request = app.post("/oauth/token").basic_auth(&client.id, Some(&client.secret)).form(&form);
    request.ask().await.oauth_error(400, "unauthorized_client");
}

#[tokio::test]
async fn t14_a_scope_beyond_the_clients_is_invalid_scope() {
    let app = TestApp::spawn().await;
    let client = credentials(BROAD);
    for scope in
        ["nothing:known", "groups:read revocations:read", "groups:read groups:READ", "\"groups:read\"", "é"]
    {
        app.grant(&client, &[("scope", scope)]).await.oauth_error(400, "invalid_scope");
    }
}

#[tokio::test]
async fn t14_the_answer_says_which_scope_was_granted() {
    let app = TestApp::spawn().await;
    let client = credentials(BROAD);
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
    let answer = app.grant(&credentials(BOUND), &[]).await.expect(200);
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
