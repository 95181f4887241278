//! What a genuine token has to say, and when.

use common_auth::AuthError;
use serde_json::{Value, json};

use crate::helpers::{World, impostor, invalid, unix_now};

const LEEWAY: i64 = 30;
const DAY: i64 = 86_400;

#[tokio::test]
async fn a_token_ends_thirty_seconds_after_its_exp() {
    let world = World::with(|setup| setup.verifier.cache_capacity = 0).await;
    let token = world.alice();
    let exp = token.get("exp").as_i64().unwrap();
    let token = token.sign();
    assert_eq!(world.refusal_at(&token, exp + LEEWAY - 1).await, None);
    assert_eq!(world.refusal_at(&token, exp + LEEWAY).await, Some(AuthError::TokenExpired));
    assert_eq!(world.refusal_at(&token, i64::MAX).await, Some(AuthError::TokenExpired));
}

#[tokio::test]
async fn a_token_counts_thirty_seconds_before_its_nbf() {
    let world = World::with(|setup| setup.verifier.cache_capacity = 0).await;
    let now = unix_now();
    let token = world.alice().claim("nbf", json!(now + 100)).sign();
    assert_eq!(world.refusal_at(&token, now + 100 - LEEWAY - 1).await, invalid("not_yet_valid"));
    assert_eq!(world.refusal_at(&token, now + 100 - LEEWAY).await, None);
    let without = world.alice().claim("nbf", json!(null)).sign();
    assert_eq!(world.refusal(&without).await, None);
}

#[tokio::test]
async fn a_token_from_the_future_is_refused() {
    let world = World::with(|setup| setup.verifier.cache_capacity = 0).await;
    let now = unix_now();
    let token = world.alice().claim("iat", json!(now + 100)).claim("nbf", json!(null)).sign();
    assert_eq!(world.refusal_at(&token, now + 100 - LEEWAY - 1).await, invalid("issued_in_the_future"));
    assert_eq!(world.refusal_at(&token, now + 100 - LEEWAY).await, None);
}

#[tokio::test]
async fn the_leeway_is_bounded() {
    for (asked, granted) in [(-10, 0), (0, 0), (60, 60), (300, 300), (100_000, 300), (i64::MAX, 300)] {
        let world = World::with(|setup| setup.verifier.leeway_seconds = asked).await;
        let token = world.alice();
        let exp = token.get("exp").as_i64().unwrap();
        let token = token.sign();
        assert_eq!(world.refusal_at(&token, exp + granted - 1).await, None, "{asked}");
        assert_eq!(world.refusal_at(&token, exp + granted).await, Some(AuthError::TokenExpired), "{asked}");
    }
}

#[tokio::test]
async fn a_token_that_lives_too_long_is_refused() {
    let world = World::new().await;
    let now = unix_now();
    let living =
        |seconds: i64| world.alice().claim("exp", json!(now + seconds)).claim("iat", json!(now)).sign();
    assert_eq!(world.refusal(&living(DAY)).await, None);
    assert_eq!(world.refusal(&living(DAY + 1)).await, invalid("lifetime"));
    let for_ever = world.alice().claim("exp", json!(i64::MAX)).claim("iat", json!(i64::MIN)).sign();
    assert_eq!(world.refusal(&for_ever).await, invalid("lifetime"));
}

#[tokio::test]
async fn required_claims_are_required() {
    let world = World::new().await;
    for name in ["iss", "aud", "sub", "client_id", "iat", "exp", "jti"] {
        assert_eq!(
            world.refusal(&world.alice().claim(name, json!(null)).sign()).await,
            invalid("claims"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn times_are_whole_numbers() {
    let world = World::new().await;
    for name in ["iat", "nbf", "exp"] {
        for value in [json!("4102444800"), json!(4_102_444_800.5), json!(1e30), json!([1]), json!(true)] {
            let token = world.alice().claim(name, value.clone()).sign();
            assert_eq!(world.refusal(&token).await, invalid("claims"), "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn one_of_the_audiences_is_ours() {
    let world = World::new().await;
    let with = |audience: Value| world.alice().claim("aud", audience).sign();
    for ours in [json!("chat-api"), json!(["chat-api"]), json!(["auth-api", "chat-api"])] {
        assert_eq!(world.refusal(&with(ours.clone())).await, None, "{ours}");
    }
    for foreign in [
        json!("auth-api"),
        json!(""),
        json!([]),
        json!(["Chat-api"]),
        json!(["chat-api "]),
        json!("chat-api auth-api"),
        json!(["chat-ap", "chat-api2", "*"]),
    ] {
        assert_eq!(world.refusal(&with(foreign.clone())).await, invalid("audience"), "{foreign}");
    }
    for broken in [json!({ "chat-api": true }), json!([["chat-api"]]), json!(["chat-api", 1]), json!(7)] {
        assert_eq!(world.refusal(&with(broken.clone())).await, invalid("claims"), "{broken}");
    }
}

#[tokio::test]
async fn the_issuer_is_compared_byte_for_byte() {
    let world = World::new().await;
    for issuer in [
        "https://auth.example/",
        "HTTPS://auth.example",
        "https://auth.example.evil",
        "https://auth.exampl",
        "http://auth.example",
        "",
    ] {
        let token = world.alice().claim("iss", json!(issuer)).sign();
        assert_eq!(world.refusal(&token).await, invalid("issuer"), "{issuer}");
    }
}

#[tokio::test]
async fn tokens_that_cannot_count_cost_no_fetch() {
    let world = World::new().await;
    let foreign = impostor();
    let expired = foreign.user(uuid::Uuid::now_v7(), crate::helpers::ORG).issued(7200, 3600).sign();
    assert_eq!(world.refusal(&expired).await, Some(AuthError::TokenExpired));
    let elsewhere = foreign.service("s", "").claim("iss", json!("https://other.example")).sign();
    assert_eq!(world.refusal(&elsewhere).await, invalid("issuer"));
    let not_ours = foreign.service("s", "").claim("aud", json!("mail-api")).sign();
    assert_eq!(world.refusal(&not_ours).await, invalid("audience"));
    assert_eq!(world.keys.fetches(), 1);
}

#[tokio::test]
async fn a_subject_is_a_user_with_an_organization_or_a_service() {
    let world = World::new().await;
    let no_org = world.alice().claim("org_id", json!(null)).sign();
    assert_eq!(world.refusal(&no_org).await, invalid("subject"));
    let two_names = world.issuer.service("relay", "x").claim("client_id", json!("other")).sign();
    assert_eq!(world.refusal(&two_names).await, invalid("subject"));
    let nobody = world.issuer.service("", "x").sign();
    assert_eq!(world.refusal(&nobody).await, invalid("subject"));
    let broken_org = world.alice().claim("org_id", json!("not-a-uuid")).sign();
    assert_eq!(world.refusal(&broken_org).await, invalid("claims"));
}

#[tokio::test]
async fn claims_arrive_as_they_were_signed() {
    let world = World::new().await;
    let token = world
        .alice()
        .permissions(&["groups:read", "messages:send"])
        .claim("act", json!({ "sub": "chat-api-service" }))
        .claim("unheard_of", json!({ "deep": [1, 2, 3] }));
    let sid = token.get("sid").clone();
    let verified = world.accept(&token.sign()).await;
    let common_auth::Principal::User(user) = &verified.principal else { panic!("a user") };
    assert_eq!((user.user_id, user.org_id), (crate::helpers::ALICE, crate::helpers::ORG));
    assert_eq!(*user.permissions, ["groups:read", "messages:send"]);
    assert_eq!(*user.roles, ["guest", "member"]);
    assert_eq!(user.scopes, ["openid", "profile", "email"]);
    assert_eq!(user.client_id, "first-party");
    assert_eq!(user.actor.as_deref(), Some("chat-api-service"));
    assert_eq!(json!(user.session_id), sid);
}
