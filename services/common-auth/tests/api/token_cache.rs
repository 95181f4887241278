//! The conditions under which a verified token need not be verified again.

use std::sync::Arc;

use common_auth::{AuthError, revocation::RevocationKind, testing::TestIssuer};
use serde_json::json;

use crate::helpers::{Answer, ISSUER, World, eventually, impostor, invalid};

/// Hits, misses.
fn counts(world: &World) -> (u64, u64) {
    (world.metrics.token_cache_hits.get(), world.metrics.token_cache_misses.get())
}

#[tokio::test]
async fn the_second_time_a_token_is_known() {
    let world = World::new().await;
    let token = world.alice().sign();
    let first = world.accept(&token).await;
    assert_eq!(counts(&world), (0, 1));
    let second = world.accept(&token).await;
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(counts(&world), (1, 1));
    assert_eq!(world.metrics.token_cache_entries.get(), 1);
    assert_eq!(world.metrics.validation_duration.count(), 2, "hits are timed too");
}

#[tokio::test]
async fn the_signature_is_part_of_the_key() {
    let world = World::new().await;
    let token = world.alice().sign();
    world.accept(&token).await;
    let (input, signature) = token.rsplit_once('.').unwrap();
    let other = impostor().service("s", "").sign();
    let (_, their_signature) = other.rsplit_once('.').unwrap();
    assert_eq!(world.refusal(&format!("{input}.{their_signature}")).await, invalid("signature"));
    assert_eq!(world.refusal(&format!("{input}.")).await, invalid("signature"));
    assert_eq!(
        world.refusal(&format!("{input}.{}", &signature[1..])).await.map(|e| e.code()),
        Some("invalid_token")
    );
    assert_eq!(world.refusal(&token).await, None);
}

#[tokio::test]
async fn failures_are_not_kept() {
    let world = World::new().await;
    let now = crate::helpers::unix_now();
    let early = world.alice().claim("nbf", json!(now + 1000)).sign();
    for _ in 0..3 {
        assert_eq!(world.refusal_at(&early, now).await, invalid("not_yet_valid"));
        assert_eq!(world.refusal("a.b.c").await, invalid("malformed"));
    }
    assert_eq!(counts(&world), (0, 6));
    assert_eq!(world.metrics.token_cache_entries.get(), 0);
    // Nor do they stand in the way later.
    assert_eq!(world.refusal_at(&early, now + 1000).await, None);
}

#[tokio::test]
async fn the_expiry_counts_at_every_use() {
    let world = World::new().await;
    let token = world.alice().issued(0, 60);
    let exp = token.get("exp").as_i64().unwrap();
    let token = token.sign();
    assert_eq!(world.refusal_at(&token, exp - 60).await, None);
    assert_eq!(world.refusal_at(&token, exp + 29).await, None);
    assert_eq!(world.refusal_at(&token, exp + 30).await, Some(AuthError::TokenExpired));
    assert_eq!(counts(&world), (2, 1), "found, and refused all the same");
}

#[tokio::test]
async fn the_start_counts_at_every_use() {
    let world = World::new().await;
    let token = world.alice();
    let nbf = token.get("nbf").as_i64().unwrap();
    let token = token.sign();
    world.accept(&token).await;
    assert_eq!(world.refusal_at(&token, nbf - 31).await, invalid("not_yet_valid"));
    assert_eq!(counts(&world), (1, 1));
}

#[tokio::test]
async fn the_signature_is_verified_again_now_and_then() {
    let world = World::new().await;
    let token = world.alice().issued(0, 3600);
    let iat = token.get("iat").as_i64().unwrap();
    let token = token.sign();
    assert_eq!(world.refusal_at(&token, iat).await, None);
    assert_eq!(world.refusal_at(&token, iat + 299).await, None);
    assert_eq!(counts(&world), (1, 1));
    assert_eq!(world.refusal_at(&token, iat + 300).await, None);
    assert_eq!(counts(&world), (1, 2));
    assert_eq!(world.refusal_at(&token, iat + 301).await, None);
    assert_eq!(counts(&world), (2, 2));
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_tokens_along() {
    let issuer = Arc::new(TestIssuer::new(ISSUER));
    let world = World::with(|setup| {
        setup.answer = Answer::Keys(issuer.jwks());
        setup.issuer = Arc::clone(&issuer);
    })
    .await;
    let old = world.alice().sign();
    world.accept(&old).await;
    issuer.rotate();
    world.keys.publish(&issuer);
    world.manager().fetch(false).await.unwrap();
    let new = world.alice().sign();
    world.accept(&new).await;
    world.accept(&old).await;
    issuer.forget_old_keys();
    world.keys.publish(&issuer);
    world.manager().fetch(false).await.unwrap();
    assert_eq!(world.refusal(&old).await, invalid("unknown_kid"));
    let (hits, _) = counts(&world);
    world.accept(&new).await;
    assert_eq!(counts(&world).0, hits + 1, "the tokens of the other key stay");
}

#[tokio::test]
async fn a_refresh_that_changes_nothing_keeps_every_token() {
    let world = World::new().await;
    let token = world.alice().sign();
    world.accept(&token).await;
    for answer in [Answer::Keys(world.issuer.jwks()), Answer::Unchanged, Answer::Unreachable] {
        world.keys.answer(answer);
        let _ = world.manager().fetch(false).await;
        world.accept(&token).await;
    }
    assert_eq!(counts(&world), (3, 1));
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let world = World::with(|setup| setup.verifier.cache_capacity = 50).await;
    for _ in 0..300 {
        world.accept(&world.alice().sign()).await;
    }
    assert!(world.metrics.token_cache_entries.get() <= 50, "{}", world.metrics.token_cache_entries.get());
    assert!(
        world.metrics.token_cache_evictions.get() >= 250,
        "{}",
        world.metrics.token_cache_evictions.get()
    );
}

#[tokio::test]
async fn a_token_that_many_bring_at_once_is_kept_once() {
    let issuer = Arc::new(TestIssuer::new(ISSUER));
    let world = World::with(|setup| setup.issuer = Arc::clone(&issuer)).await;
    // All of them wait for its key, so that none finds it in the cache.
    world.keys.publish(&issuer);
    world.keys.hold();
    let token = world.alice().sign();
    let callers = (0..20).map(|_| {
        let (verifier, token) = (Arc::clone(&world.verifier), token.clone());
        tokio::spawn(async move { verifier.verify(&token).await.err() })
    });
    let callers: Vec<_> = callers.collect();
    eventually("all wait", || world.metrics.token_cache_misses.get() == 20).await;
    world.keys.release();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), None);
    }
    assert_eq!(world.metrics.token_cache_entries.get(), 1);
    assert_eq!(world.metrics.token_cache_evictions.get(), 0, "no room had to be made");
}

#[tokio::test]
async fn tokens_in_use_survive_a_flood_of_others() {
    let world = World::with(|setup| setup.verifier.cache_capacity = 100).await;
    let token = world.alice().sign();
    for _ in 0..3 {
        world.accept(&token).await;
    }
    for _ in 0..300 {
        world.accept(&world.alice().sign()).await;
    }
    let (hits, _) = counts(&world);
    world.accept(&token).await;
    assert_eq!(counts(&world).0, hits + 1);
}

#[tokio::test]
async fn a_revocation_counts_for_tokens_that_are_known() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let token = world.alice().sign();
    let jti = world.accept(&token).await.jti.clone();
    world.feed.revoke(RevocationKind::Jti, jti);
    eventually("the revocation", || world.metrics.revocations.get() == 1).await;
    assert_eq!(world.refusal(&token).await, invalid("revoked"));
    assert_eq!(counts(&world), (1, 1), "found, and refused all the same");
}

#[tokio::test]
async fn the_cache_can_be_turned_off() {
    let world = World::with(|setup| setup.verifier.cache_capacity = 0).await;
    let token = world.alice().sign();
    let (first, second) = (world.accept(&token).await, world.accept(&token).await);
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(counts(&world), (0, 0));
}

#[tokio::test]
async fn verifiers_do_not_share() {
    let ours = World::new().await;
    let token = ours.alice().sign();
    ours.accept(&token).await;
    let theirs = World::with(|setup| setup.verifier.audience = "mail-api".to_owned()).await;
    assert_eq!(theirs.refusal(&token).await, invalid("audience"));
    let elsewhere = World::with(|setup| setup.verifier.issuer = "https://other.example".to_owned()).await;
    assert_eq!(elsewhere.refusal(&token).await, invalid("issuer"));
}
