//! What tokens say, and how long they live.

use e2e::{ClientCredentials, claims};
use serde_json::json;

use crate::{alice, bob, stack};

/// Design 2.12: not the example's hour.
const LIFETIME: i64 = 900;

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_login_token_has_every_claim() {
    let stack = stack();
    let alice = alice(&stack).await;
    let token = alice.token().unwrap();
    assert_eq!(token.header["alg"], "RS256");
    assert_eq!(token.header["typ"], "at+jwt");
    for audience in ["auth-api", "chat-api", "mozaiks-runtime", "oauth-integrations"] {
        assert!(token.has("aud", audience), "{audience} in {}", token.claims["aud"]);
    }
    let expected = json!({
        "sub": alice.user_id, "client_id": "first-party", "org_id": stack.settings.org_id,
        "app_id": stack.settings.app_id, "scope": "openid profile email", "email": stack.settings.alice.email,
    });
    for (claim, value) in expected.as_object().unwrap() {
        assert_eq!(&token.claims[claim], value, "{claim}");
    }
    for role in ["guest", "member", "admin"] {
        assert!(token.has("roles", role), "{role} in {}", token.claims["roles"]);
    }
    assert!(!token.has("permissions", "org:manage"), "an admin is no owner");
    for claim in ["iss", "jti", "sid", "username"] {
        assert!(token.claims[claim].is_string(), "{claim}");
    }
    for claim in ["iat", "nbf", "exp", "auth_time"] {
        token.number(claim).unwrap();
    }
    let user = &alice.answer.body["user"];
    for (field, claim) in
        [("org_id", "org_id"), ("app_id", "app_id"), ("roles", "roles"), ("permissions", "permissions")]
    {
        assert_eq!(user[field], token.claims[claim], "{field}");
    }
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_token_lives_as_long_as_it_says() {
    let stack = stack();
    let login = bob(&stack).await;
    let token = login.token().unwrap();
    let (issued, expires) = (token.number("iat").unwrap(), token.number("exp").unwrap());
    assert_eq!(expires - issued, LIFETIME);
    assert_eq!(login.answer.body["expires_in"], LIFETIME);
    assert!(token.number("nbf").unwrap() <= issued);
    let service = stack.auth.client_credentials(&stack.settings.chat_api_service, None).await.unwrap();
    let service = service.expect(200).unwrap();
    let token = claims::decode(service.text_at("/access_token").unwrap()).unwrap();
    assert_eq!(
        service.number_at("/expires_in").unwrap(),
        token.number("exp").unwrap() - token.number("iat").unwrap()
    );
    assert_eq!(service.header("cache-control"), Some("no-store"));
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn a_service_token_names_its_organizations_and_no_user() {
    let stack = stack();
    let read = async |client: &ClientCredentials| {
        let token = stack.auth.service_token(client, None).await.unwrap();
        claims::decode(&token).unwrap().claims
    };
    let chat = read(&stack.settings.chat_api_service).await;
    assert_eq!(chat["sub"], "chat-api-service");
    assert_eq!(chat["client_id"], chat["sub"]);
    assert_eq!(chat["orgs"], json!(["*"]));
    assert_eq!(chat["aud"], json!(["auth-api"]));
    for absent in ["org_id", "sid", "roles", "permissions", "email"] {
        assert!(chat.get(absent).is_none(), "{absent} in a service token");
    }
    let indexer = read(&stack.settings.indexer_worker).await;
    assert_eq!(indexer["orgs"], json!([stack.settings.org_id]));
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn client_credentials_come_as_basic_or_as_form_and_are_checked() {
    let stack = stack();
    let client = &stack.settings.chat_api_service;
    let basic = stack.auth.peer.post("/oauth/token").basic(&client.client_id, &client.client_secret);
    let basic = basic.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
    assert_eq!(basic.expect(200).unwrap().body["token_type"], "Bearer");
    let wrong = ClientCredentials { client_id: client.client_id.clone(), client_secret: "wrong".to_owned() };
    stack.auth.client_credentials(&wrong, None).await.unwrap().expect_error(401, "invalid_client").unwrap();
    let too_much = stack.auth.client_credentials(client, Some("messages:send")).await.unwrap();
    too_much.expect_error(400, "invalid_scope").unwrap();
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn the_key_set_can_be_cached() {
    let stack = stack();
    let first = stack.auth.jwks().await.unwrap().expect(200).unwrap();
    assert!(first.header("cache-control").unwrap().contains("max-age="), "{:?}", first.headers);
    let etag = first.header("etag").unwrap();
    let again =
        stack.auth.peer.get("/.well-known/jwks.json").header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status, 304);
    for key in first.list_at("/keys").unwrap() {
        assert_eq!((&key["kty"], &key["use"], &key["alg"]), (&json!("RSA"), &json!("sig"), &json!("RS256")));
        assert!(key.get("d").is_none(), "a private key is published");
    }
}

#[tokio::test]
#[ignore = "needs a running stack: make e2e-local"]
async fn introspection_tells_all_to_a_service_that_may_ask() {
    let stack = stack();
    let alice = alice(&stack).await;
    let chat = &stack.settings.chat_api_service;
    let answer = stack.auth.introspect(chat, &alice.access_token).await.unwrap().expect(200).unwrap();
    assert_eq!(answer.body["active"], true);
    let token = alice.token().unwrap();
    for claim in ["sub", "org_id", "permissions", "exp", "jti"] {
        assert_eq!(answer.body[claim], token.claims[claim], "{claim}");
    }
    let garbage = stack.auth.introspect(chat, "garbage").await.unwrap().expect(200).unwrap();
    assert_eq!(garbage.body, json!({ "active": false }));
}
