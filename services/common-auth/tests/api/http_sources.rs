//! Keys and revocations over HTTP.

use actix_web::HttpResponse;
use common_auth::{
    keys::{Fetched, HttpJwksSource, JwksSource, SourceError},
    revocation::{HttpRevocationSource, RevocationKind, RevocationSource},
};
use serde_json::json;

use crate::{
    helpers::issuer,
    peer::{Peer, Seen, client, nowhere},
};

fn keys_at(url: &str) -> HttpJwksSource {
    HttpJwksSource::new(client(), url.parse().unwrap())
}

fn jwks(etag: &str) -> HttpResponse {
    HttpResponse::Ok().insert_header(("ETag", etag)).json(issuer().jwks())
}

#[actix_web::test]
async fn an_unchanged_set_is_not_sent_again() {
    let peer = Peer::start(|seen: &Seen| match seen.header("if-none-match") {
        Some("\"v1\"") => HttpResponse::NotModified().finish(),
        _ => jwks("\"v1\""),
    });
    let source = keys_at(&peer.url("/keys"));
    assert!(matches!(source.fetch(false).await, Ok(Fetched::Keys(set)) if set.keys.len() == 1));
    assert!(matches!(source.fetch(false).await, Ok(Fetched::Unchanged)));
    peer.answer(|_| jwks("\"v2\""));
    assert!(matches!(source.fetch(true).await, Ok(Fetched::Keys(_))));
    let seen = peer.seen();
    let [first, second, third] = &seen[..] else { panic!("three requests") };
    assert_eq!((first.header("if-none-match"), first.header("cache-control")), (None, None));
    assert_eq!(second.header("if-none-match"), Some("\"v1\""));
    assert_eq!(third.header("cache-control"), Some("no-cache"), "past the caches on the way");
}

#[actix_web::test]
async fn an_unusable_set_is_asked_for_again_in_full() {
    let peer =
        Peer::start(|_| HttpResponse::Ok().insert_header(("ETag", "\"bad\"")).json(json!({ "keys": [{}] })));
    let source = keys_at(&peer.url("/keys"));
    for _ in 0..2 {
        assert!(matches!(source.fetch(false).await, Ok(Fetched::Keys(_))));
    }
    assert!(peer.seen().iter().all(|seen| seen.header("if-none-match").is_none()));
}

#[actix_web::test]
async fn redirects_are_not_followed() {
    let peer = Peer::start(|seen: &Seen| match seen.path.as_str() {
        "/keys" => HttpResponse::Found().insert_header(("Location", "/elsewhere")).finish(),
        _ => jwks("\"v1\""),
    });
    let answer = keys_at(&peer.url("/keys")).fetch(false).await;
    assert!(matches!(answer, Err(SourceError::Unavailable(_))));
    assert_eq!(peer.seen().len(), 1);
}

#[actix_web::test]
async fn an_endless_answer_is_cut_off() {
    let peer = Peer::start(|_| HttpResponse::Ok().body(vec![b' '; 257 * 1024]));
    assert!(matches!(keys_at(&peer.url("/keys")).fetch(false).await, Err(SourceError::Unusable(_))));
    let peer = Peer::start(|_| {
        let chunks =
            futures_util::stream::repeat_with(|| Ok::<_, actix_web::Error>(vec![b' '; 16 * 1024].into()));
        HttpResponse::Ok().streaming(chunks)
    });
    assert!(matches!(keys_at(&peer.url("/keys")).fetch(false).await, Err(SourceError::Unusable(_))));
}

#[actix_web::test]
async fn nonsense_is_unusable_and_silence_is_unavailable() {
    for body in ["", "<html>", "[]", "{}", r#"{"keys":7}"#, r#"{"keys":["hidden"]}"#] {
        let peer = Peer::start(move |_| HttpResponse::Ok().body(body));
        let answer = keys_at(&peer.url("/keys")).fetch(false).await;
        let Err(error @ SourceError::Unusable(_)) = answer else { panic!("unusable: {body}") };
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
    for status in [400, 401, 404, 429, 500, 503] {
        let peer = Peer::start(move |_| {
            HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap()).json(issuer().jwks())
        });
        let answer = keys_at(&peer.url("/keys")).fetch(false).await;
        assert!(matches!(answer, Err(SourceError::Unavailable(_))), "{status}");
    }
    let unreachable = keys_at(&nowhere("/keys?key=hidden")).fetch(false).await;
    let Err(error @ SourceError::Unavailable(_)) = unreachable else { panic!("unavailable") };
    assert!(!error.to_string().contains("hidden"), "{error}");
}

#[actix_web::test]
async fn revocations_are_read_with_the_services_own_token() {
    let peer = Peer::auth_api(|_| {
        HttpResponse::Ok().json(json!({
            "items": [
                { "cursor": "7", "at": "2026-11-20T10:00:00Z", "kind": "subject", "value": "u", "org_id": null,
                  "issued_before": "2026-11-20T10:00:00.5Z", "expires_at": "2026-11-20T10:20:00Z" },
                { "cursor": "8", "at": "2026-11-20T10:00:00Z", "kind": "of_a_later_release", "value": "x",
                  "issued_before": "2026-11-20T10:00:00Z", "expires_at": "2026-11-20T10:20:00Z", "new": 1 },
                { "cursor": "9", "at": "2026-11-20T10:00:00Z", "kind": "keys_changed", "value": "k",
                  "issued_before": "2026-11-20T10:00:00Z", "expires_at": "2026-11-20T10:20:00Z" }
            ],
            "next": "9"
        }))
    });
    let source = HttpRevocationSource::new(
        client(),
        peer.url("/oauth/revocations").parse().unwrap(),
        peer.service_tokens(),
    );
    let page = source.page(None, 0).await.unwrap();
    let kinds: Vec<_> = page.items.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [RevocationKind::Subject, RevocationKind::Unknown, RevocationKind::KeysChanged]);
    source.page(Some(page.next), 10).await.unwrap();
    let seen = peer.seen();
    let [_grant, first, second] = &seen[..] else { panic!("a grant and two pages: {seen:?}") };
    assert_eq!(first.header("authorization"), Some("Bearer token-1"));
    assert_eq!(first.query, "limit=500&wait=0");
    assert_eq!(second.query, "limit=500&wait=10&after=9");
}

#[actix_web::test]
async fn a_page_that_is_not_understood_is_not_quoted() {
    for body in [r#"{"items":"hidden","next":"1"}"#, r#"{"items":[{"cursor":{"hidden":1}}]}"#, "hidden"] {
        let peer = Peer::auth_api(move |_| HttpResponse::Ok().body(body));
        let url = peer.url("/oauth/revocations").parse().unwrap();
        let answer = HttpRevocationSource::new(client(), url, peer.service_tokens()).page(None, 0).await;
        let Err(error @ SourceError::Unusable(_)) = answer else { panic!("unusable: {body}") };
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
}

#[actix_web::test]
async fn a_feed_that_forgot_the_cursor_says_so() {
    let peer = Peer::auth_api(|_| HttpResponse::Gone().finish());
    let source = HttpRevocationSource::new(
        client(),
        peer.url("/oauth/revocations").parse().unwrap(),
        peer.service_tokens(),
    );
    assert!(matches!(source.page(Some("1".to_owned()), 0).await, Err(SourceError::CursorTooOld)));
}

#[actix_web::test]
async fn a_refused_service_token_is_replaced() {
    let peer = Peer::auth_api(|seen: &Seen| match seen.header("authorization") {
        Some("Bearer token-1") => HttpResponse::Unauthorized().finish(),
        _ => HttpResponse::Ok().json(json!({ "items": [], "next": "0" })),
    });
    let source = HttpRevocationSource::new(
        client(),
        peer.url("/oauth/revocations").parse().unwrap(),
        peer.service_tokens(),
    );
    assert!(matches!(source.page(None, 0).await, Err(SourceError::Unavailable(_))));
    assert!(source.page(None, 0).await.is_ok());
}
