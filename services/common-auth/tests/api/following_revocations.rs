//! The revocation feed's good and bad days.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common_auth::{
    Verifier, VerifierSettings,
    revocation::{RevocationKind, RevocationWatcher},
    testing::TestIssuer,
};
use serde_json::json;

use crate::{
    feed::Feed,
    helpers::{
        ALICE, AUDIENCE, Answer, ISSUER, ORG, World, eventually, in_force, invalid, started_later, unix_now,
    },
};

#[tokio::test]
async fn changed_keys_are_fetched_outside_the_cooldown() {
    let issuer = Arc::new(TestIssuer::new(ISSUER));
    let world = World::unloaded(|setup| {
        setup.answer = Answer::Keys(issuer.jwks());
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
    let settings = VerifierSettings::new(ISSUER, AUDIENCE);
    world.verifier = Arc::new(Verifier::new(settings, manager, watcher, metrics));
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
async fn a_connection_that_was_lost_without_a_word_costs_less_than_three_seconds() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    let polls = world.feed.pages();
    eventually("a poll that waits", || world.feed.pages() > polls).await;
    world.feed.lose_readers();
    let revoked = Instant::now();
    world.feed.revoke(RevocationKind::Subject, ALICE);
    in_force(&world, 1).await;
    let took = revoked.elapsed();
    assert!(took >= Duration::from_millis(500), "the poll was not lost: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
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

#[tokio::test]
async fn the_age_of_the_feed_rises_while_it_is_down() {
    let world = World::unloaded(|_| ());
    let _background = world.start().await;
    world.feed.set_down(true);
    eventually("the age rises", || world.metrics.revocation_feed_age.get() > 0.3).await;
    world.feed.revoke(RevocationKind::Jti, "x");
    world.feed.set_down(false);
    in_force(&world, 1).await;
    eventually("the age falls", || {
        world.feed.revoke(RevocationKind::Jti, "x");
        world.metrics.revocation_feed_age.get() < 0.3
    })
    .await;
}
