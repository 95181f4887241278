//! The form of a token: what no signature could mend.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::jws::{HS256, JwsSigner};
use serde_json::json;

use crate::helpers::{ALICE, ORG, World, impostor, invalid, unix_now};

/// The three parts of a token.
fn parts(token: &str) -> (&str, &str, &str) {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    (header, payload, signature)
}

#[tokio::test]
async fn a_token_of_the_issuer_is_accepted() {
    let world = World::new().await;
    let token = world.accept(&world.alice().sign()).await;
    assert_eq!(token.key_id(), Some(world.issuer.kid().as_str()));
}

#[tokio::test]
async fn the_public_key_is_no_hmac_secret() {
    let world = World::new().await;
    let signer = HS256.signer_from_bytes(world.issuer.public_pem()).unwrap();
    let token = world.alice().header("alg", json!("HS256")).sign();
    let (header, payload, _) = parts(&token);
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(format!("{header}.{payload}").as_bytes()).unwrap());
    assert_eq!(world.refusal(&format!("{header}.{payload}.{signature}")).await, invalid("algorithm"));
    // The same signature beneath a header that says RS256.
    let genuine = world.alice().sign();
    let (header, payload, _) = parts(&genuine);
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(format!("{header}.{payload}").as_bytes()).unwrap());
    assert_eq!(world.refusal(&format!("{header}.{payload}.{signature}")).await, invalid("signature"));
}

#[tokio::test]
async fn only_rs256_is_an_algorithm() {
    let world = World::new().await;
    for algorithm in
        ["none", "None", "NONE", "nOnE", "", "HS256", "RS512", "RS384", "PS256", "ES256", "rs256"]
    {
        let token = world.alice().header("alg", json!(algorithm)).sign();
        assert_eq!(world.refusal(&token).await, invalid("algorithm"), "{algorithm}");
        let (header, payload, _) = parts(&token);
        assert_eq!(world.refusal(&format!("{header}.{payload}.")).await, invalid("algorithm"), "{algorithm}");
    }
    for header in [json!(null), json!(["RS256"]), json!(256)] {
        let token = world.alice().header("alg", header).sign();
        assert_eq!(world.refusal(&token).await, invalid("malformed"));
    }
}

#[tokio::test]
async fn an_empty_signature_is_refused() {
    let world = World::new().await;
    let token = world.alice().sign();
    let (header, payload, _) = parts(&token);
    assert_eq!(world.refusal(&format!("{header}.{payload}.")).await, invalid("signature"));
}

#[tokio::test]
async fn a_token_has_three_parts() {
    let world = World::new().await;
    let token = world.alice().sign();
    let (header, payload, signature) = parts(&token);
    for wrong in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!(".{token}"),
        format!("{token}."),
    ] {
        assert_eq!(world.refusal(&wrong).await, invalid("malformed"), "{wrong}");
    }
}

#[tokio::test]
async fn the_encoding_is_strict() {
    let world = World::new().await;
    let token = world.alice().sign();
    for wrong in [format!("{token}="), format!(" {token}"), format!("{token}\n"), token.replace('.', "..")] {
        assert_eq!(world.refusal(&wrong).await, invalid("malformed"), "{wrong}");
    }
}

#[tokio::test]
async fn a_signature_of_another_key_under_our_kid_is_refused() {
    let world = World::new().await;
    let impostor = impostor();
    let forged = impostor.user(ALICE, ORG).header("kid", json!(world.issuer.kid()));
    assert_eq!(world.refusal(&forged.sign()).await, invalid("signature"));
}

#[tokio::test]
async fn any_critical_header_is_refused() {
    let world = World::new().await;
    for critical in [r#"["exp"]"#, r#"["b64"]"#, "[]", "null", "{}", "\"\"", "false"] {
        let header =
            format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{}","crit":{critical}}}"#, world.issuer.kid());
        let token = world.alice().sign();
        let (_, payload, _) = parts(&token);
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let token = world.issuer.sign_raw(&header, &claims);
        assert_eq!(world.refusal(&token).await, invalid("critical_header"), "{critical}");
    }
}

#[tokio::test]
async fn keys_that_the_token_itself_brings_are_ignored() {
    let world = World::new().await;
    let impostor = impostor();
    let their_key = impostor.jwks().pointer("/keys/0").unwrap().clone();
    for (name, value) in [
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("jwk", their_key.clone()),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!(["AAAA"])),
        ("x5t", json!("AAAA")),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
    ] {
        // A genuine token stays genuine, a forged one stays forged, and neither leads to a fetch.
        assert!(world.refusal(&world.alice().header(name, value.clone()).sign()).await.is_none(), "{name}");
        let forged = impostor.user(ALICE, ORG).header("kid", json!(world.issuer.kid())).header(name, value);
        assert_eq!(world.refusal(&forged.sign()).await, invalid("signature"), "{name}");
    }
    assert_eq!(world.keys.fetches(), 1);
}

#[tokio::test]
async fn a_token_without_a_kid_is_refused() {
    let world = World::new().await;
    for kid in [json!(null), json!("")] {
        assert_eq!(world.refusal(&world.alice().header("kid", kid).sign()).await, invalid("no_kid"));
    }
    assert_eq!(world.refusal(&world.alice().header("kid", json!(7)).sign()).await, invalid("malformed"));
    assert_eq!(world.keys.fetches(), 1);
}

#[tokio::test]
async fn only_access_tokens_count_as_such() {
    let world = World::new().await;
    for typ in ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "APPLICATION/AT+JWT"] {
        assert!(world.refusal(&world.alice().header("typ", json!(typ)).sign()).await.is_none(), "{typ}");
    }
    for typ in [json!("JWT"), json!("logout+jwt"), json!("id+jwt"), json!(""), json!(" at+jwt"), json!(null)]
    {
        assert_eq!(world.refusal(&world.alice().header("typ", typ).sign()).await, invalid("type"));
    }
}

#[tokio::test]
async fn header_and_claims_are_objects() {
    let world = World::new().await;
    let now = unix_now();
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": world.issuer.kid() }).to_string();
    let claims = json!({
        "iss": "https://auth.example", "aud": "chat-api", "sub": "s", "client_id": "s", "iat": now, "exp": now + 60, "jti": "j"
    })
    .to_string();
    assert!(world.refusal(&world.issuer.sign_raw(&header, &claims)).await.is_none());
    // serde would read these arrays as the structs.
    let array_header = json!(["RS256", world.issuer.kid(), "at+jwt"]).to_string();
    let array_claims =
        json!(["https://auth.example", "chat-api", "s", "s", now, null, now + 60, "j"]).to_string();
    for (header, claims) in [
        (array_header.as_str(), claims.as_str()),
        (header.as_str(), array_claims.as_str()),
        (header.as_str(), "null"),
        (header.as_str(), "\"text\""),
        ("", claims.as_str()),
    ] {
        assert_eq!(world.refusal(&world.issuer.sign_raw(header, claims)).await, invalid("malformed"));
    }
    for claims in ["{", "{}", "{} {}"] {
        assert_eq!(world.refusal(&world.issuer.sign_raw(&header, claims)).await, invalid("claims"));
    }
}

#[tokio::test]
async fn a_member_given_twice_is_refused() {
    let world = World::new().await;
    let (kid, now) = (world.issuer.kid(), unix_now());
    let claims = format!(
        r#""iss":"https://auth.example","aud":"chat-api","sub":"s","client_id":"s","iat":{now},"exp":{},"jti":"j""#,
        now + 60
    );
    let header = format!(r#""alg":"RS256","typ":"at+jwt","kid":"{kid}""#);
    let sign = |header: &str, claims: &str| {
        world.issuer.sign_raw(&format!("{{{header}}}"), &format!("{{{claims}}}"))
    };
    assert!(world.refusal(&sign(&header, &claims)).await.is_none());
    for twice in
        [r#""sub":"root""#, r#""aud":"auth-api""#, r#""exp":9999999999"#, r#""iss":"https://auth.example""#]
    {
        assert_eq!(
            world.refusal(&sign(&header, &format!("{claims},{twice}"))).await,
            invalid("claims"),
            "{twice}"
        );
    }
    for twice in [r#""alg":"RS256""#, r#""kid":"x""#, r#""typ":"at+jwt""#] {
        let header = format!("{header},{twice}");
        assert_eq!(world.refusal(&sign(&header, &claims)).await, invalid("malformed"), "{twice}");
    }
}

#[tokio::test]
async fn an_oversize_token_is_refused_unread() {
    let world = World::new().await;
    let fits = world.alice().claim("username", json!("x".repeat(5000))).sign();
    assert!(fits.len() <= 8 * 1024);
    assert!(world.refusal(&fits).await.is_none());
    let too_long = world.alice().claim("username", json!("x".repeat(6000))).sign();
    assert!(too_long.len() > 8 * 1024);
    assert_eq!(world.refusal(&too_long).await, invalid("oversize"));
    assert_eq!(world.refusal(&"a".repeat(10_000_000)).await, invalid("oversize"));
}
