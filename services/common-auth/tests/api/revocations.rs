//! Each kind of revocation, and the feed's good and bad days.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common_auth::{
    AuthMetrics,
    revocation::{DenyList, RevocationKind, RevocationWatcher},
    testing::TestIssuer,
};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    feed::{Feed, entry},
    helpers::{ALICE, ISSUER, ORG, OTHER_ORG, World, eventually, invalid, unix_now},
};

/// A second that no token of a test is issued in or after.
fn later() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::from_secs(10)
}

/// Waits until so many revocations are in force.
async fn in_force(world: &World, count: i64) {
    eventually("the revocations", || world.metrics.revocations.get() == count).await;
}

/// A world that reads the feed of another, as a service that was started later.
async fn started_later(feed: &Feed) -> (World, common_auth::authenticator::Background) {
    let mut world = World::unloaded(|_| ());
    let manager = Arc::clone(world.manager());
    let watcher = Arc::new(RevocationWatcher::new(feed.clone(), Arc::clone(&world.metrics)));
    let settings = common_auth::VerifierSettings::new(ISSUER, crate::helpers::AUDIENCE);
    let metrics = Arc::clone(&world.metrics);
    world.verifier = Arc::new(common_auth::Verifier::new(settings, manager, watcher, metrics));
    let background = world.start().await;
    (world, background)
}

/// Revokes, and sees the one token refused and the other accepted: now, and by a service that starts afterwards.
async fn revoked_but(entry: common_auth::revocation::RevocationEntry, revoked: &str, unharmed: &str) {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    assert_eq!(world.refusal(revoked).await, None);
    assert_eq!(world.refusal(unharmed).await, None);
    world.feed.publish(entry);
    in_force(&world, 1).await;
    assert_eq!(world.refusal(revoked).await, invalid("revoked"));
    assert_eq!(world.refusal(unharmed).await, None);
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
    let world = World::unloaded(|setup| setup.answer = crate::helpers::Answer::Keys(issuer.jwks()));
    let _background = world.start().await;
    assert_eq!((world.refusal(&old).await, world.refusal(&new).await), (None, None));
    let before = world.keys.fetches();
    // Long before any token was issued: a key's revocation looks at no time.
    world.feed.publish(entry(RevocationKind::Key, &old_kid, None, OffsetDateTime::UNIX_EPOCH));
    in_force(&world, 1).await;
    assert_eq!((world.refusal(&old).await, world.refusal(&new).await), (invalid("revoked"), None));
    eventually("a fetch without it", || world.keys.fetches() > before).await;
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

#[tokio::test]
async fn changed_keys_are_fetched_outside_the_cooldown() {
    let issuer = Arc::new(TestIssuer::new(ISSUER));
    let world = World::unloaded(|setup| {
        setup.answer = crate::helpers::Answer::Keys(issuer.jwks());
        setup.issuer = Arc::clone(&issuer);
    });
    let _background = world.start().await;
    // Somebody's made-up key id has used the cooldown up.
    let stray = world.alice().header("kid", json!("stray")).sign();
    assert_eq!(world.refusal(&stray).await, invalid("unknown_kid"));
    let before = world.keys.fetches();
    issuer.rotate();
    world.keys.publish(&issuer);
    let token = world.alice().sign();
    assert_eq!(world.refusal(&token).await, invalid("unknown_kid"));
    world.feed.revoke(RevocationKind::KeysChanged, issuer.kid());
    eventually("the fetch", || world.manager().key(&issuer.kid()).is_some()).await;
    assert_eq!(world.keys.fetches(), before + 1);
    assert!(world.keys.forced_fetches() >= 1, "past the caches on the way");
    assert_eq!(world.refusal(&token).await, None);
    assert_eq!(world.metrics.revocations.get(), 0, "a notice revokes nothing");
}

#[tokio::test]
async fn a_restart_loads_the_whole_list_over_several_pages() {
    let feed = Feed::default();
    for n in 0..1200 {
        feed.revoke(RevocationKind::Jti, format!("token-{n}"));
    }
    let issuer = crate::helpers::issuer();
    let (world, _background) = started_later(&feed).await;
    assert_eq!(world.metrics.revocations.get(), 1200, "ready only with the last page");
    for n in [0, 499, 500, 999, 1000, 1199] {
        let token = issuer.user(ALICE, ORG).claim("jti", json!(format!("token-{n}"))).sign();
        assert_eq!(world.refusal(&token).await, invalid("revoked"), "{n}");
    }
    assert_eq!(world.refusal(&issuer.user(ALICE, ORG).sign()).await, None);
}

#[tokio::test]
async fn a_list_of_exactly_one_page_is_loaded() {
    let feed = Feed::default();
    for n in 0..500 {
        feed.revoke(RevocationKind::Jti, format!("token-{n}"));
    }
    let (world, _background) = started_later(&feed).await;
    assert_eq!(world.metrics.revocations.get(), 500);
    feed.revoke(RevocationKind::Jti, "token-500");
    in_force(&world, 501).await;
}

#[tokio::test]
async fn pages_count_before_the_list_is_complete() {
    let feed = Feed::default();
    for n in 0..700 {
        feed.revoke(RevocationKind::Jti, format!("token-{n}"));
    }
    feed.set_down_after(1);
    let mut world = World::new().await;
    let watcher = Arc::new(RevocationWatcher::new(feed.clone(), Arc::clone(&world.metrics)));
    let (manager, metrics) = (Arc::clone(world.manager()), Arc::clone(&world.metrics));
    let settings = common_auth::VerifierSettings::new(ISSUER, crate::helpers::AUDIENCE);
    world.verifier = Arc::new(common_auth::Verifier::new(settings, manager, watcher, metrics));
    let authenticator = world.authenticator();
    let _background = authenticator.start();
    in_force(&world, 500).await;
    assert!(!authenticator.is_ready());
    let token = world.alice().claim("jti", json!("token-1")).sign();
    assert_eq!(world.refusal(&token).await, invalid("revoked"));
}

#[tokio::test]
async fn a_cursor_that_is_too_old_loads_anew() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    world.feed.revoke(RevocationKind::Jti, "old");
    in_force(&world, 1).await;
    let fetches = world.keys.fetches();
    world.feed.set_down(true);
    world.feed.revoke(RevocationKind::Jti, "missed");
    world.feed.forget();
    world.feed.revoke(RevocationKind::Jti, "kept");
    world.feed.set_down(false);
    let kept = world.alice().claim("jti", json!("kept")).sign();
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.refusal(&kept).await.is_none() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The new list takes the place of the old one, and what was missed may have been a change of keys.
    in_force(&world, 1).await;
    eventually("the keys are fetched", || world.keys.fetches() > fetches).await;
}

#[tokio::test]
async fn revocations_made_during_an_outage_bite_after_it() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let token = world.alice().sign();
    world.accept(&token).await;
    world.feed.set_down(true);
    world.feed.revoke(RevocationKind::Subject, ALICE);
    assert_eq!(world.refusal(&token).await, None, "known keys and the known list go on");
    let polls = world.feed.pages();
    eventually("tries during the outage", || world.feed.pages() >= polls + 2).await;
    world.feed.set_down(false);
    in_force(&world, 1).await;
}

#[tokio::test]
async fn a_source_that_is_down_at_first_is_followed_later() {
    let world = World::unloaded(|_| ());
    world.feed.set_down(true);
    world.feed.revoke(RevocationKind::Subject, ALICE);
    let authenticator = world.authenticator();
    let _background = authenticator.start();
    eventually("the keys", || world.manager().has_keys()).await;
    eventually("tries", || world.feed.pages() >= 3).await;
    assert!(!authenticator.is_ready(), "not before five seconds");
    world.feed.set_down(false);
    eventually("ready", || authenticator.is_ready()).await;
    assert_eq!(
        world.refusal(&world.alice().claim("iat", json!(unix_now() - 5)).sign()).await,
        invalid("revoked")
    );
}

#[tokio::test]
async fn a_panic_does_not_end_the_following() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    world.feed.set_panicking();
    // Starting over makes an old list look no fresher.
    eventually("the age rises", || world.metrics.revocation_feed_age.get() >= 1.0).await;
    world.feed.set_down(false);
    world.feed.revoke(RevocationKind::Subject, ALICE);
    in_force(&world, 1).await;
}

#[tokio::test]
async fn a_source_that_does_not_wait_is_not_asked_in_a_tight_circle() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let (started, before) = (Instant::now(), world.feed.pages());
    world.feed.set_impatient();
    eventually("some polls", || world.feed.pages() >= before + 5).await;
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_cursor_that_stands_still_is_not_followed_in_a_tight_circle() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    world.feed.set_stuck();
    world.feed.revoke(RevocationKind::Subject, ALICE);
    in_force(&world, 1).await;
    let (started, before) = (Instant::now(), world.feed.pages());
    eventually("some polls", || world.feed.pages() >= before + 3).await;
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
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
async fn the_age_of_the_feed_rises_while_it_is_down() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    world.feed.set_down(true);
    eventually("the age rises", || world.metrics.revocation_feed_age.get() > 0.3).await;
    world.feed.revoke(RevocationKind::Jti, "x");
    world.feed.set_down(false);
    in_force(&world, 1).await;
    eventually("the age falls", || world.metrics.revocation_feed_age.get() < 0.5).await;
}

#[test]
fn metrics_are_registered_once() {
    let registry = prometheus::Registry::new();
    AuthMetrics::register(&registry).unwrap();
    assert!(AuthMetrics::register(&registry).is_err());
}
