//! The published keys and the metadata (RFC 7517, RFC 8414, `OpenID` Connect Discovery).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::helpers::{Answer, Ask, CutProxy, TestApp, process, tokens};

const PATHS: [&str; 3] = [
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
];

#[tokio::test]
async fn k1_only_public_members_and_the_kid_is_the_thumbprint() {
    let app = TestApp::spawn().await;
    let jwks = app.jwks().await.expect(200);
    let keys = jwks.list_at("/keys");
    assert!(!keys.is_empty());
    for key in keys {
        let mut members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        let text = |member: &str| key[member].as_str().unwrap();
        assert_eq!((text("alg"), text("use"), text("kty")), ("RS256", "sig", "RSA"));
        assert!(URL_SAFE_NO_PAD.decode(text("n")).unwrap().len() >= 256);
        let required = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text("e"), text("n"));
        assert_eq!(text("kid"), URL_SAFE_NO_PAD.encode(Sha256::digest(required)));
    }
}

#[tokio::test]
async fn k2_the_documents_may_be_cached_and_are_checked_by_tag() {
    let app = TestApp::spawn().await;
    for path in PATHS {
        let answer = app.get(path).ask().await.expect(200);
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"), "{path}");
        assert!(answer.header("content-type").unwrap().starts_with("application/json"), "{path}");
        let etag = answer.header("etag").expect("an etag").to_owned();
        for value in [etag.clone(), format!("\"other\", {etag}"), format!("W/{etag}"), "*".to_owned()] {
            let unchanged = app.get(path).header("if-none-match", &value).ask().await.expect(304);
            assert_eq!(unchanged.text, "", "{path} {value}");
            assert_eq!(unchanged.header("etag"), Some(&*etag), "{path}");
            assert_eq!(unchanged.header("cache-control"), Some("public, max-age=300"), "{path}");
        }
        app.get(path).header("if-none-match", "\"other\"").ask().await.expect(200);
    }
}

#[tokio::test]
async fn k9_keys_and_metadata_are_served_without_the_database() {
    let proxy = CutProxy::start();
    let app = TestApp::with().through(&proxy).spawn().await;
    let before: Vec<Answer> = all(&app).await;
    proxy.cut();
    for (before, after) in before.iter().zip(all(&app).await) {
        assert_eq!(before.text, after.text);
    }
    proxy.hang();
    all(&app).await;
}

async fn all(app: &TestApp) -> Vec<Answer> {
    let mut answers = Vec::new();
    for path in PATHS {
        answers.push(app.get(path).ask().await.expect(200));
    }
    answers
}

#[tokio::test]
async fn d1_the_issuer_is_the_configured_text_and_that_of_every_token() {
    let app = TestApp::with().set("AUTH_API_ISSUER", "https://id.example/tenant").spawn().await;
    let user = app.login(&app.alice().await).await.access_token;
    let service = app.service_token(&app.demo_client("chat-api-service").await).await;
    for token in [user, service] {
        assert_eq!(tokens::claims(&token)["iss"], "https://id.example/tenant");
    }
    for path in &PATHS[1..] {
        assert_eq!(app.get(path).ask().await.expect(200).text_at("/issuer"), "https://id.example/tenant");
    }
}

#[tokio::test]
async fn d2_both_documents_say_the_same() {
    let app = TestApp::spawn().await;
    let [_, oidc, oauth] = &all(&app).await[..] else { panic!("three documents") };
    assert_eq!(oidc.body, oauth.body);
    assert_eq!(oidc.text_at("/issuer"), process::ISSUER);
}

#[tokio::test]
async fn d3_what_is_required_is_there() {
    let app = TestApp::spawn().await;
    let metadata = app.get(PATHS[1]).ask().await.expect(200);
    for member in ["issuer", "token_endpoint", "jwks_uri", "revocation_endpoint", "introspection_endpoint"] {
        assert!(!metadata.text_at(&format!("/{member}")).is_empty(), "{member}");
    }
    for member in [
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "grant_types_supported",
        "scopes_supported",
        "token_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_methods_supported",
    ] {
        metadata.list_at(&format!("/{member}"));
    }
    assert!(metadata.each("/id_token_signing_alg_values_supported", "").contains(&"RS256".to_owned()));
}

#[tokio::test]
async fn d4_every_endpoint_that_is_advertised_answers_and_every_grant_is_known() {
    let app = TestApp::spawn().await;
    let metadata = app.get(PATHS[1]).ask().await.expect(200);
    let base = "http://127.0.0.1:8000";
    for (member, value) in metadata.body.as_object().unwrap() {
        let Some(path) = value.as_str().filter(|_| member != "issuer").and_then(|url| url.strip_prefix(base))
        else {
            assert!(!value.is_string() || member == "issuer", "{member} is not below PUBLIC_URL: {value}");
            continue;
        };
        let answer = app.post(path).ask().await;
        assert_ne!(answer.status, 404, "{member} is not there");
        assert!(answer.status == 405 || answer.status < 402, "{member}: {}", answer.status);
    }
    for grant_type in metadata.each("/grant_types_supported", "") {
        let answer =
            app.token(&[("grant_type", &grant_type), ("client_id", "nobody"), ("client_secret", "x")]).await;
        assert_ne!(answer.body["error"], "unsupported_grant_type", "{grant_type}");
    }
    assert!(metadata.body.get("code_challenge_methods_supported").is_none_or(|methods| methods[0] == "S256"));
}

#[tokio::test]
async fn d5_any_origin_may_read_them() {
    let app = TestApp::spawn().await;
    for path in PATHS {
        let answer = app.get(path).header("origin", "https://anywhere.example").ask().await.expect(200);
        let allowed = answer.header("access-control-allow-origin");
        assert!(matches!(allowed, Some("*" | "https://anywhere.example")), "{path}: {allowed:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
    }
}

#[tokio::test]
async fn d6_the_host_header_changes_nothing() {
    let app = TestApp::spawn().await;
    for path in PATHS {
        let plain = app.get(path).ask().await.expect(200);
        let request = app.get(path).header("host", "evil.example").header("x-forwarded-host", "evil.example");
        assert_eq!(plain.text, request.header("x-forwarded-proto", "https").ask().await.expect(200).text);
    }
}

#[tokio::test]
async fn the_documents_are_json_objects_of_moderate_size() {
    let app = TestApp::spawn().await;
    for answer in all(&app).await {
        assert!(matches!(answer.body, Value::Object(_)));
        assert!(answer.text.len() < 16 * 1024);
    }
}
