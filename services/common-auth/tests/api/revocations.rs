//! Each kind of revocation: what it takes away, what it leaves, and until when.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common_auth::{
    revocation::{DenyList, RevocationEntry, RevocationKind},
    testing::TestIssuer,
};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    feed::entry,
    helpers::{
        ALICE, Answer, ISSUER, ORG, OTHER_ORG, World, eventually, in_force, invalid, started_later,
        started_later_with, unix_now,
    },
};

/// A second that no token of a test is issued in or after.
fn later() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::from_secs(10)
}

/// Revokes, and sees the one token refused and the other accepted: now, and by a service that starts afterwards.
async fn revoked_but(entry: RevocationEntry, revoked: &str, unharmed: &str) {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    assert_eq!(world.refusal(revoked).await, None);
    assert_eq!(world.refusal(unharmed).await, None);
    let origins = [world.accept(revoked).await.origin(), world.accept(unharmed).await.origin()];
    world.feed.publish(entry);
    in_force(&world, 1).await;
    assert_eq!(world.refusal(revoked).await, invalid("revoked"));
    assert_eq!(world.refusal(unharmed).await, None);
    // What was made from the token ends with it.
    let revocations = world.verifier.revocations();
    assert_eq!(origins.map(|origin| revocations.is_origin_revoked(&origin)), [true, false]);
    let (restarted, _background) = started_later(&world.feed).await;
    assert_eq!(restarted.refusal(revoked).await, invalid("revoked"));
    assert_eq!(restarted.refusal(unharmed).await, None);
}

#[tokio::test]
async fn one_token() {
    let issuer = crate::helpers::issuer();
    let token = issuer.user(ALICE, ORG);
    let jti = token.get("jti").as_str().unwrap().to_owned();
    let another = issuer.user(ALICE, ORG).sign();
    revoked_but(entry(RevocationKind::Jti, jti, None, later()), &token.sign(), &another).await;
}

#[tokio::test]
async fn one_session() {
    let issuer = crate::helpers::issuer();
    let token = issuer.user(ALICE, ORG);
    let sid = token.get("sid").as_str().unwrap().to_uppercase();
    let another = issuer.user(ALICE, ORG).sign();
    revoked_but(entry(RevocationKind::Family, sid, None, later()), &token.sign(), &another).await;
}

#[tokio::test]
async fn one_user() {
    let issuer = crate::helpers::issuer();
    let (token, another) = (issuer.user(ALICE, ORG).sign(), issuer.user(Uuid::now_v7(), ORG).sign());
    revoked_but(entry(RevocationKind::Subject, ALICE, None, later()), &token, &another).await;
    let elsewhere = issuer.user(ALICE, OTHER_ORG).sign();
    revoked_but(entry(RevocationKind::Subject, ALICE, None, later()), &elsewhere, &another).await;
}

#[tokio::test]
async fn one_user_in_one_organization() {
    let issuer = crate::helpers::issuer();
    let (here, there) = (issuer.user(ALICE, ORG).sign(), issuer.user(ALICE, OTHER_ORG).sign());
    revoked_but(entry(RevocationKind::Subject, ALICE, Some(ORG), later()), &here, &there).await;
    let another = issuer.user(Uuid::now_v7(), ORG).sign();
    revoked_but(entry(RevocationKind::Subject, ALICE, Some(ORG), later()), &here, &another).await;
}

#[tokio::test]
async fn one_client() {
    let issuer = crate::helpers::issuer();
    let (relay, indexer) = (issuer.service("relay", "x").sign(), issuer.service("indexer", "x").sign());
    revoked_but(entry(RevocationKind::Client, "relay", None, later()), &relay, &indexer).await;
    // A user's token counts as given to the client that asked for it.
    let through = issuer.user(ALICE, ORG).claim("client_id", json!("relay")).sign();
    revoked_but(entry(RevocationKind::Client, "relay", None, later()), &through, &indexer).await;
}

#[tokio::test]
async fn one_key() {
    let issuer = Arc::new(TestIssuer::new(ISSUER));
    let old_kid = issuer.kid();
    let old = issuer.user(ALICE, ORG).sign();
    issuer.rotate();
    let new = issuer.user(ALICE, ORG).sign();
    let world = World::unloaded(|setup| setup.answer = Answer::Keys(issuer.jwks()));
    let _background = world.start().await;
    assert_eq!((world.refusal(&old).await, world.refusal(&new).await), (None, None));
    let before = world.keys.fetches();
    // Long before any token was issued: a key's revocation looks at no time.
    world.feed.publish(entry(RevocationKind::Key, &old_kid, None, OffsetDateTime::UNIX_EPOCH));
    in_force(&world, 1).await;
    assert_eq!((world.refusal(&old).await, world.refusal(&new).await), (invalid("revoked"), None));
    eventually("a fetch without it", || world.keys.fetches() > before).await;
    // Started afterwards, and given the key by a cache on the way all the same.
    let jwks = Answer::Keys(issuer.jwks());
    let (restarted, _background) = started_later_with(&world.feed, |setup| setup.answer = jwks).await;
    assert_eq!((restarted.refusal(&old).await, restarted.refusal(&new).await), (invalid("revoked"), None));
}

#[tokio::test]
async fn a_token_revoked_by_its_id_stays_so_whenever_it_was_issued() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let token = world.alice();
    let jti = token.get("jti").as_str().unwrap().to_owned();
    world.feed.publish(entry(RevocationKind::Jti, jti, None, OffsetDateTime::UNIX_EPOCH));
    in_force(&world, 1).await;
    assert_eq!(world.refusal(&token.sign()).await, invalid("revoked"));
}

#[tokio::test]
async fn a_session_that_ended_stays_so_whenever_its_token_was_issued() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let token = world.alice();
    let sid = token.get("sid").as_str().unwrap().to_owned();
    // A refresh that was under way at the logout: its token carries the second of the cutoff, or a later one.
    world.feed.publish(entry(RevocationKind::Family, sid, None, OffsetDateTime::UNIX_EPOCH));
    in_force(&world, 1).await;
    assert_eq!(world.refusal(&token.sign()).await, invalid("revoked"));
}

#[tokio::test]
async fn tokens_issued_afterwards_are_good() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let at = unix_now() - 100;
    let issued = |second: i64| world.alice().claim("iat", json!(second)).sign();
    let (before, during, after) = (issued(at - 1), issued(at), issued(at + 1));
    let cutoff = OffsetDateTime::from_unix_timestamp(at).unwrap();
    world.feed.publish(entry(RevocationKind::Subject, ALICE, None, cutoff));
    in_force(&world, 1).await;
    assert_eq!(world.refusal(&before).await, invalid("revoked"));
    assert_eq!(world.refusal(&during).await, None, "`issued_before` is exclusive");
    assert_eq!(world.refusal(&after).await, None);
    // Tokens know whole seconds only: the second that a cutoff lies in goes with it.
    world.feed.publish(entry(RevocationKind::Subject, ALICE, None, cutoff + Duration::from_millis(1)));
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.refusal(&during).await.is_none() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(world.refusal(&after).await, None);
}

/// A list with entries that end when they are told to.
fn ending(entries: &[(RevocationKind, &str, Option<Uuid>)], at: OffsetDateTime) -> DenyList {
    let mut list = DenyList::default();
    for (kind, value, org_id) in entries {
        let mut entry = entry(*kind, value, *org_id, at);
        entry.expires_at = at;
        list.insert(&entry);
    }
    list
}

#[test]
fn expired_entries_go_once_no_leeway_can_revive_their_tokens() {
    let at = OffsetDateTime::now_utc();
    let session = Uuid::now_v7().to_string();
    let mut list = ending(
        &[
            (RevocationKind::Jti, "a", None),
            (RevocationKind::Key, "b", None),
            (RevocationKind::Family, &session, None),
            (RevocationKind::Client, "c", None),
            (RevocationKind::Subject, "d", None),
            (RevocationKind::Subject, "d", Some(ORG)),
            (RevocationKind::Subject, "e", Some(ORG)),
        ],
        at,
    );
    assert_eq!(list.len(), 7);
    // The most that a verifier may grant beyond a token's end.
    list.drop_expired(at.unix_timestamp() + 299);
    assert_eq!(list.len(), 7);
    list.drop_expired(at.unix_timestamp() + 300);
    assert!(list.is_empty());
}

#[tokio::test]
async fn a_revoked_token_stays_so_during_its_leeway() {
    let world = World::with(|setup| setup.verifier.leeway_seconds = 300).await;
    let _background = world.start().await;
    let token = world.alice().issued(60, 50);
    let jti = token.get("jti").as_str().unwrap().to_owned();
    let mut revocation = entry(RevocationKind::Jti, jti, None, later());
    revocation.expires_at = OffsetDateTime::from_unix_timestamp(token.get("exp").as_i64().unwrap()).unwrap();
    world.feed.publish(revocation);
    in_force(&world, 1).await;
    assert_eq!(world.refusal(&token.sign()).await, invalid("revoked"));
}

#[tokio::test]
async fn the_later_of_two_cutoffs_counts_in_either_order() {
    let now = OffsetDateTime::now_utc();
    for order in [[0, 100], [100, 0]] {
        let world = World::unloaded(|_| ());
        let _background = world.start().await;
        for ago in order {
            let mut entry = entry(RevocationKind::Subject, ALICE, None, now - Duration::from_secs(ago));
            entry.expires_at = now + Duration::from_secs(1000 + ago);
            world.feed.publish(entry);
        }
        let pages = world.feed.pages();
        eventually("both", || world.feed.pages() > pages).await;
        let token = world.alice().claim("iat", json!(unix_now() - 50)).sign();
        let deadline = Instant::now() + Duration::from_secs(10);
        while world.refusal(&token).await.is_none() {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_passed_is_held_against_each_later_revocation() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let tokens = [(); 4].map(|()| world.alice().sign());
    let mut passed = Vec::new();
    for token in &tokens {
        passed.push(world.accept(token).await);
    }
    for (revoked, verified) in passed.iter().enumerate() {
        for token in &tokens[revoked..] {
            assert_eq!(world.refusal(token).await, None);
            assert_eq!(world.refusal(token).await, None, "by the list's state alone");
        }
        world.feed.revoke(RevocationKind::Jti, &verified.jti);
        in_force(&world, i64::try_from(revoked).unwrap() + 1).await;
        for token in &tokens[..=revoked] {
            assert_eq!(world.refusal(token).await, invalid("revoked"));
            assert_eq!(
                world.refusal(token).await,
                invalid("revoked"),
                "a refusal is not remembered as a pass"
            );
        }
    }
    assert_eq!(world.metrics.token_cache_misses.get(), 4, "all of it from the cache");
}

#[tokio::test]
async fn to_pass_one_list_is_not_to_pass_another() {
    let ours = World::new().await;
    let token = ours.accept(&ours.alice().sign()).await;
    let feed = crate::feed::Feed::default();
    feed.revoke(RevocationKind::Jti, &token.jti);
    let (theirs, _background) = started_later(&feed).await;
    for _ in 0..2 {
        assert!(!ours.verifier.revocations().is_revoked(&token));
        assert!(theirs.verifier.revocations().is_revoked(&token));
    }
}
