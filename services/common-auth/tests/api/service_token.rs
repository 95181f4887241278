//! This service's own token: fetched once, renewed early, never shown.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::HttpResponse;
use base64::{Engine, engine::general_purpose::STANDARD};
use common_auth::{ServiceTokenError, ServiceTokenManager, ServiceTokenSettings};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    helpers::eventually,
    peer::{Peer, client, nowhere, token},
};

async fn asked(manager: &Arc<ServiceTokenManager>) -> Result<String, ServiceTokenError> {
    manager.token().await.map(|token| token.expose_secret().to_owned())
}

#[actix_web::test]
async fn fifty_callers_cost_one_request() {
    let peer = Peer::auth_api(|_| HttpResponse::NotFound().finish());
    let manager = peer.service_tokens();
    peer.hold();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let manager = Arc::clone(&manager);
            tokio::spawn(async move { asked(&manager).await.unwrap() })
        })
        .collect();
    eventually("the request", || !peer.seen().is_empty()).await;
    peer.release();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "token-1");
    }
    assert_eq!(asked(&manager).await.unwrap(), "token-1");
    assert_eq!(peer.seen().len(), 1);
}

#[actix_web::test]
async fn fifty_callers_share_one_failure() {
    let peer = Peer::start(|_| HttpResponse::ServiceUnavailable().finish());
    let manager = peer.service_tokens();
    peer.hold();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let manager = Arc::clone(&manager);
            tokio::spawn(async move { asked(&manager).await })
        })
        .collect();
    eventually("the request", || !peer.seen().is_empty()).await;
    peer.release();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(ServiceTokenError::Unavailable(_))));
    }
    assert_eq!(peer.seen().len(), 1);
    // And soon afterwards somebody asks again.
    peer.answer(|_| token("good", 3600));
    while asked(&manager).await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(peer.seen().len() < 10);
    }
    assert_eq!(peer.seen().len(), 2);
}

#[actix_web::test]
async fn a_caller_that_hangs_up_leaves_its_request_to_the_others() {
    let peer = Peer::auth_api(|_| HttpResponse::NotFound().finish());
    let manager = peer.service_tokens();
    peer.hold();
    let first = Arc::clone(&manager);
    let first = tokio::spawn(async move { asked(&first).await });
    eventually("the request", || peer.seen().len() == 1).await;
    let others: Vec<_> = (0..20)
        .map(|_| {
            let manager = Arc::clone(&manager);
            tokio::spawn(async move { asked(&manager).await })
        })
        .collect();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    peer.release();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), "token-1");
    }
    assert_eq!(peer.seen().len(), 1);
}

#[actix_web::test]
async fn callers_that_hang_up_one_after_the_other_cost_one_request() {
    let peer = Peer::auth_api(|_| HttpResponse::NotFound().finish());
    let manager = peer.service_tokens();
    peer.hold();
    for _ in 0..5 {
        // An auth-api that is slower than the patience of each caller.
        let impatient = tokio::time::timeout(Duration::from_millis(50), asked(&manager)).await;
        assert!(impatient.is_err());
    }
    eventually("the request", || !peer.seen().is_empty()).await;
    peer.release();
    assert_eq!(asked(&manager).await.unwrap(), "token-1");
    assert_eq!(peer.seen().len(), 1);
}

#[actix_web::test]
async fn the_grant_is_that_of_rfc_6749() {
    let peer = Peer::auth_api(|_| HttpResponse::NotFound().finish());
    asked(&peer.service_tokens()).await.unwrap();
    let seen = peer.seen();
    let [request] = &seen[..] else { panic!("one request") };
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    let mut form: Vec<_> = request.body.split('&').collect();
    form.sort_unstable();
    assert_eq!(form, ["grant_type=client_credentials", "scope=groups%3Aread+revocations%3Aread"]);
    let basic = request.header("authorization").unwrap().strip_prefix("Basic ").unwrap();
    let basic = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    // Each half form-encoded (RFC 6749, section 2.3.1).
    assert_eq!(basic, "chat-api-service:s3cret%3A%2F+of+%25the+client");
}

#[actix_web::test]
async fn a_token_is_renewed_early_while_the_old_one_serves() {
    let peer = Peer::start(|_| token("old", 100));
    let manager = peer.service_tokens();
    let start = Instant::now();
    let at = |second| {
        let manager = Arc::clone(&manager);
        async move {
            let token = manager.token_at(start + Duration::from_secs(second)).await;
            token.map(|token| token.expose_secret().to_owned()).unwrap()
        }
    };
    assert_eq!(at(0).await, "old");
    assert_eq!(at(79).await, "old");
    assert_eq!(peer.seen().len(), 1);
    peer.answer(|_| token("new", 100));
    peer.hold();
    for _ in 0..20 {
        assert_eq!(at(81).await, "old", "nobody waits for the renewal");
    }
    eventually("the renewal", || peer.seen().len() == 2).await;
    peer.release();
    while at(81).await == "old" {
        tokio::task::yield_now().await;
    }
    assert_eq!(at(82).await, "new");
    assert_eq!(peer.seen().len(), 2, "renewed once");
}

#[actix_web::test]
async fn a_renewal_that_fails_is_tried_once_a_second() {
    let peer = Peer::start(|_| token("old", 100));
    let manager = peer.service_tokens();
    let start = Instant::now();
    let at = |milliseconds| {
        let manager = Arc::clone(&manager);
        async move {
            let token = manager.token_at(start + Duration::from_millis(milliseconds)).await;
            token.map(|token| token.expose_secret().to_owned()).unwrap()
        }
    };
    assert_eq!(at(0).await, "old");
    peer.answer(|_| HttpResponse::ServiceUnavailable().finish());
    let deadline = Instant::now() + Duration::from_secs(10);
    while peer.seen().len() < 2 {
        assert_eq!(at(81_000).await, "old");
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    // The failure is noted a moment after the peer has answered; from then on nothing is asked within the second.
    let noted = async {
        loop {
            let before = peer.seen().len();
            for _ in 0..50 {
                assert_eq!(at(81_900).await, "old");
                tokio::task::yield_now().await;
            }
            if peer.seen().len() == before {
                break before;
            }
        }
    };
    let before = tokio::time::timeout(Duration::from_secs(10), noted).await.expect("a pause");
    assert!(before <= 3, "{before} requests");
    while peer.seen().len() == before {
        assert_eq!(at(83_000).await, "old");
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn a_token_that_ends_is_replaced() {
    let peer = Peer::start(|_| token("short", 5));
    let manager = peer.service_tokens();
    assert_eq!(asked(&manager).await.unwrap(), "short");
    peer.answer(|_| token("next", 3600));
    assert_eq!(asked(&manager).await.unwrap(), "next");
    assert_eq!(asked(&manager).await.unwrap(), "next");
    assert_eq!(peer.seen().len(), 2);
}

#[actix_web::test]
async fn any_lifetime_is_survived() {
    for lifetime in [json!(0), json!(u64::MAX), json!(null)] {
        let body = json!({ "access_token": "t", "token_type": "Bearer", "expires_in": lifetime });
        let peer = Peer::start(move |_| HttpResponse::Ok().json(&body));
        assert_eq!(asked(&peer.service_tokens()).await.unwrap(), "t");
    }
}

#[actix_web::test]
async fn only_the_refused_token_is_forgotten() {
    let peer = Peer::auth_api(|_| HttpResponse::NotFound().finish());
    let manager = peer.service_tokens();
    let first = manager.token().await.unwrap();
    // Ten callers whose requests were refused with one token.
    for _ in 0..10 {
        manager.invalidate(&first).await;
        assert_eq!(asked(&manager).await.unwrap(), "token-2");
    }
    manager.invalidate(&"unknown".to_owned().into()).await;
    assert_eq!(asked(&manager).await.unwrap(), "token-2");
    assert_eq!(peer.seen().len(), 2);
}

#[actix_web::test]
async fn a_peer_that_refuses_every_token_does_not_have_one_fetched_per_request() {
    let peer = Peer::auth_api(|_| HttpResponse::NotFound().finish());
    let manager = peer.service_tokens();
    let started = Instant::now();
    for _ in 0..50 {
        let refused = manager.token().await.unwrap();
        manager.invalidate(&refused).await;
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(peer.seen().len() <= 3 + seconds, "{} requests", peer.seen().len());
    // The next second it may be another matter.
    let before = peer.seen().len();
    let deadline = Instant::now() + Duration::from_secs(10);
    while peer.seen().len() == before {
        assert!(Instant::now() < deadline, "never replaced again");
        let refused = manager.token().await.unwrap();
        manager.invalidate(&refused).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[actix_web::test]
async fn a_refusal_is_told_from_an_outage() {
    let refused = Peer::start(|_| HttpResponse::Unauthorized().json(json!({ "error": "invalid_client" })));
    let error = asked(&refused.service_tokens()).await.unwrap_err();
    assert!(matches!(&error, ServiceTokenError::Refused(code) if code == "invalid_client"), "{error}");
    // An error body of ours is no refusal either, when auth-api itself is in trouble.
    let down = json!({ "error": "dependency_unavailable", "detail": "no database" });
    for status in [429, 500, 502, 503] {
        let down = down.clone();
        let peer = Peer::start(move |_| {
            HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap()).json(&down)
        });
        let error = asked(&peer.service_tokens()).await.unwrap_err();
        assert!(matches!(error, ServiceTokenError::Unavailable(_)), "{status}");
    }
    for body in ["", "<html>", "{}", r#"{"access_token":7}"#] {
        let peer = Peer::start(move |_| HttpResponse::Ok().body(body));
        let error = asked(&peer.service_tokens()).await.unwrap_err();
        assert!(matches!(error, ServiceTokenError::Unavailable(_)), "{body}");
    }
    let huge = Peer::start(|_| HttpResponse::Ok().body(vec![b' '; 65 * 1024]));
    let error = asked(&huge.service_tokens()).await.unwrap_err();
    assert!(matches!(error, ServiceTokenError::Unavailable(_)), "{error}");
}

#[actix_web::test]
async fn no_error_shows_the_secret() {
    let settings = |token_url: String| ServiceTokenSettings {
        token_url,
        client_id: "chat-api-service".to_owned(),
        client_secret: "tell-nobody".to_owned().into(),
        scopes: Vec::new(),
    };
    let echo = Peer::start(|seen| HttpResponse::Ok().body(format!("{seen:?} tell-nobody")));
    for url in [nowhere("/oauth/token?hidden=1"), echo.url("/oauth/token"), "not a url".to_owned()] {
        let error = asked(&ServiceTokenManager::new(settings(url), client())).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("tell-nobody") && !shown.contains("hidden"), "{shown}");
    }
}
