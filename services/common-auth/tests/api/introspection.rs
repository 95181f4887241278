//! `USE_OAUTH2_AUTH=false`: auth-api is asked about each token.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::HttpResponse;
use common_auth::{AuthError, AuthMetrics, Authenticator, introspection::Introspector};
use prometheus::Registry;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    helpers::{ALICE, AUDIENCE, ORG, invalid, issuer, unix_now},
    peer::{Peer, Seen, client},
};

fn authenticator(peer: &Peer) -> Authenticator {
    patient(peer, Duration::from_secs(10))
}

fn patient(peer: &Peer, limit: Duration) -> Authenticator {
    let metrics = AuthMetrics::register(&Registry::new()).unwrap();
    let url = peer.url("/oauth/introspect").parse().unwrap();
    let introspector =
        Introspector::new(client(), url, AUDIENCE, peer.service_tokens(), limit, Arc::clone(&metrics));
    Authenticator::introspection(introspector)
}

/// What auth-api says to `tokens:introspect` about Alice's token.
fn active(changes: &Value) -> Value {
    let now = unix_now();
    let mut answer = json!({
        "active": true, "token_type": "Bearer", "iss": "https://auth.example", "aud": ["auth-api", AUDIENCE],
        "sub": ALICE, "client_id": "first-party", "iat": now, "nbf": now, "exp": now + 900, "jti": Uuid::now_v7(),
        "scope": "openid profile", "org_id": ORG, "sid": Uuid::now_v7(), "roles": ["member"],
        "permissions": ["groups:read"]
    });
    answer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    answer
}

#[actix_web::test]
async fn an_active_token_becomes_a_principal() {
    let peer = Peer::auth_api(|_| HttpResponse::Ok().json(active(&json!({}))));
    let authenticator = authenticator(&peer);
    assert!(authenticator.is_ready(), "no keys are needed");
    let _background = authenticator.start();
    let token = issuer().user(ALICE, ORG).sign();
    let Ok(verified) = authenticator.authenticate(&token).await else { panic!("accepted") };
    assert_eq!(verified.org_id, Some(ORG));
    let seen = peer.seen();
    let [_grant, request] = &seen[..] else { panic!("a grant and a question") };
    assert_eq!(request.body, format!("token={token}"));
    assert_eq!(request.header("authorization"), Some("Bearer token-1"));
}

#[actix_web::test]
async fn every_request_asks_anew() {
    let peer = Peer::auth_api(|_| HttpResponse::Ok().json(active(&json!({}))));
    let authenticator = authenticator(&peer);
    let token = issuer().user(ALICE, ORG).sign();
    assert!(authenticator.authenticate(&token).await.is_ok());
    peer.answer(|_| HttpResponse::Ok().json(json!({ "active": false })));
    assert_eq!(authenticator.authenticate(&token).await.err(), invalid("inactive"));
}

#[actix_web::test]
async fn the_answers_are_those_of_local_validation() {
    let peer = Peer::auth_api(|_| HttpResponse::Ok().json(json!({ "active": false })));
    let authenticator = authenticator(&peer);
    // Within the leeway auth-api is asked, and has the last word.
    let expired = issuer().user(ALICE, ORG).issued(3610, 3600).sign();
    assert_eq!(authenticator.authenticate(&expired).await.err(), Some(AuthError::TokenExpired));
    let revoked = issuer().user(ALICE, ORG).sign();
    assert_eq!(authenticator.authenticate(&revoked).await.err(), invalid("inactive"));
    let asked = peer.seen().len();
    // What cannot be an access token for this service is refused without asking.
    let unsigned = issuer().user(ALICE, ORG).header("alg", json!("none")).sign();
    assert_eq!(authenticator.authenticate(&unsigned).await.err(), invalid("algorithm"));
    assert_eq!(authenticator.authenticate("opaque").await.err(), invalid("malformed"));
    let elsewhere = issuer().user(ALICE, ORG).claim("aud", json!("mail-api")).sign();
    assert_eq!(authenticator.authenticate(&elsewhere).await.err(), invalid("audience"));
    let expired = issuer().user(ALICE, ORG).issued(7200, 3600).sign();
    assert_eq!(authenticator.authenticate(&expired).await.err(), Some(AuthError::TokenExpired));
    assert_eq!(peer.seen().len(), asked);
}

#[actix_web::test]
async fn the_answer_has_to_fit_too() {
    let token = issuer().user(ALICE, ORG).sign();
    for (changes, refusal) in [
        (json!({ "aud": "mail-api" }), invalid("audience")),
        (json!({ "org_id": null }), invalid("subject")),
        // Without the scope `tokens:introspect` there are no claims: no fault of the token.
        (json!({ "jti": null }), Some(AuthError::Unavailable)),
        (json!({ "active": "yes" }), Some(AuthError::Unavailable)),
    ] {
        let shown = changes.to_string();
        let peer = Peer::auth_api(move |_| HttpResponse::Ok().json(active(&changes)));
        assert_eq!(authenticator(&peer).authenticate(&token).await.err(), refusal, "{shown}");
    }
}

#[actix_web::test]
async fn without_an_answer_nobody_is_judged() {
    let token = issuer().user(ALICE, ORG).sign();
    for status in [400, 403, 404, 429, 500, 503] {
        let peer = Peer::auth_api(move |_| {
            HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap())
                .json(active(&json!({})))
        });
        let refusal = authenticator(&peer).authenticate(&token).await.err();
        assert_eq!(refusal, Some(AuthError::Unavailable), "{status}");
    }
    let peer = Peer::start(|_| HttpResponse::ServiceUnavailable().finish());
    assert_eq!(authenticator(&peer).authenticate(&token).await.err(), Some(AuthError::Unavailable));
}

#[actix_web::test]
async fn a_revoked_service_token_is_replaced_unseen() {
    let peer = Peer::auth_api(|seen: &Seen| match seen.header("authorization") {
        Some("Bearer token-1") => HttpResponse::Unauthorized().finish(),
        _ => HttpResponse::Ok().json(active(&json!({}))),
    });
    let authenticator = authenticator(&peer);
    assert!(authenticator.authenticate(&issuer().user(ALICE, ORG).sign()).await.is_ok());
    assert_eq!(peer.seen().len(), 4, "two grants, two questions");
}

#[actix_web::test]
async fn a_service_that_is_never_welcome_asks_in_no_circle() {
    let peer = Peer::auth_api(|_| HttpResponse::Unauthorized().finish());
    let authenticator = authenticator(&peer);
    let token = issuer().user(ALICE, ORG).sign();
    assert_eq!(authenticator.authenticate(&token).await.err(), Some(AuthError::Unavailable));
    assert_eq!(peer.seen().len(), 2 + 2, "one try more");
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(authenticator.authenticate(&token).await.err(), Some(AuthError::Unavailable));
    }
    let grants = peer.seen().iter().filter(|seen| seen.path == "/oauth/token").count();
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(grants <= 3 + seconds, "{grants} grants for 21 requests");
}

#[actix_web::test]
async fn all_that_an_answer_takes_has_one_limit() {
    let peer = Peer::auth_api(|_| HttpResponse::Ok().json(active(&json!({}))));
    let token = issuer().user(ALICE, ORG).sign();
    // This service's own token is what does not come; the limits of the client itself are far longer.
    peer.hold();
    let asked = patient(&peer, Duration::from_millis(20));
    let outcome = tokio::time::timeout(Duration::from_secs(4), asked.authenticate(&token)).await.unwrap();
    assert_eq!(outcome.err(), Some(AuthError::Unavailable));
}
