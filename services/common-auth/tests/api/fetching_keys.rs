//! When keys are fetched, who waits for it, and what becomes of the old ones.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common_auth::{AuthError, testing::TestIssuer};
use serde_json::json;

use crate::helpers::{ALICE, Answer, Keys, ORG, World, eventually, impostor, invalid, issuer};

/// A token under a key id that nobody has published.
fn stray(n: usize) -> String {
    impostor().user(ALICE, ORG).header("kid", json!(format!("stray-{n}"))).sign()
}

fn unpublished(keys: &Keys) {
    keys.answer(Answer::Keys(json!({ "keys": [] })));
}

#[tokio::test]
async fn a_storm_of_unknown_key_ids_costs_one_fetch() {
    let world = World::new().await;
    for n in 0..50 {
        assert_eq!(world.refusal(&stray(n)).await, invalid("unknown_kid"));
    }
    assert_eq!(world.keys.fetches(), 1 + 1);
}

#[tokio::test]
async fn a_storm_that_comes_at_once_shares_one_fetch() {
    let world = World::new().await;
    world.keys.hold();
    let storm = (0..50).map(|n| {
        let (verifier, token) = (Arc::clone(&world.verifier), stray(n));
        tokio::spawn(async move { verifier.verify(&token).await.err() })
    });
    let storm: Vec<_> = storm.collect();
    eventually("the fetch", || world.keys.fetches() == 2).await;
    world.keys.release();
    for refused in storm {
        assert_eq!(refused.await.unwrap(), invalid("unknown_kid"));
    }
    assert_eq!(world.keys.fetches(), 2);
}

#[tokio::test]
async fn the_cooldown_ends() {
    let world = World::with(|setup| setup.jwks.cooldown = Duration::from_millis(30)).await;
    world.refusal(&stray(0)).await;
    assert_eq!(world.keys.fetches(), 2);
    let started = Instant::now();
    while world.keys.fetches() < 3 {
        world.refusal(&stray(1)).await;
        assert!(started.elapsed() < Duration::from_secs(10), "no fetch after the cooldown");
    }
    assert_eq!(world.keys.fetches(), 3);
}

#[tokio::test]
async fn a_key_id_that_is_not_published_uses_up_no_second_turn() {
    let world = World::with(|setup| setup.jwks.cooldown = Duration::ZERO).await;
    for _ in 0..20 {
        assert_eq!(world.refusal(&stray(0)).await, invalid("unknown_kid"));
    }
    assert_eq!(world.keys.fetches(), 1 + 1);
    // The turn is there for others, and once its key is published the token counts.
    let late = Arc::new(rotated());
    assert_eq!(world.refusal(&late.user(ALICE, ORG).sign()).await, invalid("unknown_kid"));
    assert_eq!(world.keys.fetches(), 1 + 2);
    world.keys.publish(&late);
    world.refusal(&stray(1)).await;
    assert_eq!(world.refusal(&late.user(ALICE, ORG).sign()).await, None);
}

#[tokio::test]
async fn a_fetch_that_failed_says_nothing_about_a_key_id() {
    for answer in [Answer::Unreachable, Answer::Unusable, Answer::Panic] {
        let world = World::with(|setup| setup.jwks.cooldown = Duration::ZERO).await;
        world.keys.answer(answer);
        let rotated = rotated();
        let token = rotated.user(ALICE, ORG).sign();
        assert_eq!(world.refusal(&token).await, invalid("unknown_kid"));
        world.keys.publish(&rotated);
        assert_eq!(world.refusal(&token).await, None);
    }
}

#[tokio::test]
async fn the_cooldown_holds_for_empty_and_unusable_answers() {
    for answer in [Answer::Keys(json!({ "keys": [] })), Answer::Unusable, Answer::Unchanged] {
        let world = World::unloaded(|setup| setup.answer = answer);
        for n in 0..20 {
            assert_eq!(world.refusal(&stray(n)).await, Some(AuthError::Unavailable));
        }
        assert_eq!(world.keys.fetches(), 1);
    }
}

#[tokio::test]
async fn a_source_that_was_not_reached_is_asked_again_after_a_pause() {
    let world = World::new().await;
    world.keys.answer(Answer::Unreachable);
    world.refusal(&stray(0)).await;
    world.refusal(&stray(1)).await;
    assert_eq!(world.keys.fetches(), 2, "not without a pause");
    // A second, where the cooldown is thirty: the turn came back.
    let started = Instant::now();
    while world.keys.fetches() < 3 {
        world.refusal(&stray(2)).await;
        assert!(started.elapsed() < Duration::from_secs(10), "the turn was not given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_pause_is_never_longer_than_the_cooldown() {
    let world = World::with(|setup| setup.jwks.cooldown = Duration::from_millis(20)).await;
    world.keys.answer(Answer::Unreachable);
    let started = Instant::now();
    while world.keys.fetches() < 5 {
        world.refusal(&stray(0)).await;
        // A second, two and four it would be without that limit.
        assert!(started.elapsed() < Duration::from_secs(4), "only {} fetches", world.keys.fetches());
    }
}

#[tokio::test]
async fn a_panicking_source_blocks_no_later_fetch() {
    let world = World::with(|setup| setup.jwks.cooldown = Duration::ZERO).await;
    world.keys.answer(Answer::Panic);
    assert_eq!(world.refusal(&stray(0)).await, invalid("unknown_kid"));
    let rotated = rotated();
    world.keys.publish(&rotated);
    assert_eq!(world.refusal(&rotated.user(ALICE, ORG).sign()).await, None);
}

fn rotated() -> TestIssuer {
    TestIssuer::new(crate::helpers::ISSUER)
}

#[tokio::test]
async fn keys_outlive_every_kind_of_failed_fetch() {
    let world = World::new().await;
    let token = world.alice().sign();
    for answer in [
        Answer::Unreachable,
        Answer::Unusable,
        Answer::Keys(json!({ "keys": [] })),
        Answer::Keys(json!({ "keys": [{ "kty": "EC" }, {}] })),
    ] {
        world.keys.answer(answer);
        assert!(world.manager().fetch(true).await.is_err());
        assert_eq!(world.refusal(&world.alice().sign()).await, None);
        assert_eq!(world.refusal(&token).await, None);
    }
    assert_eq!(world.metrics.jwks_refresh_failures.get(), 4);
    world.keys.answer(Answer::Unchanged);
    assert!(world.manager().fetch(true).await.is_ok());
    assert_eq!(world.refusal(&token).await, None);
}

#[tokio::test]
async fn without_any_key_nobody_is_judged() {
    let world = World::unloaded(|setup| setup.answer = Answer::Unreachable);
    assert_eq!(world.refusal(&world.alice().sign()).await, Some(AuthError::Unavailable));
    assert!(!world.manager().has_keys());
    assert!(!world.authenticator().is_ready());
    // What is refused unread stays refused.
    assert_eq!(world.refusal("x.y.z").await, invalid("malformed"));
}

#[tokio::test]
async fn a_new_key_is_fetched_when_its_first_token_comes() {
    let world = World::with(|setup| setup.issuer = Arc::new(rotated())).await;
    world.keys.publish(&world.issuer);
    world.manager().fetch(false).await.unwrap();
    let old = world.alice().sign();
    world.issuer.rotate();
    world.keys.publish(&world.issuer);
    let new = world.alice().sign();
    assert_eq!(world.refusal(&new).await, None);
    assert_eq!(world.refusal(&old).await, None, "the old key is still published");
    world.issuer.forget_old_keys();
    world.keys.publish(&world.issuer);
    world.manager().fetch(false).await.unwrap();
    assert_eq!(world.refusal(&old).await, invalid("unknown_kid"));
    assert_eq!(world.refusal(&new).await, None);
}

#[tokio::test]
async fn an_unknown_key_id_evicts_nothing() {
    let world = World::new().await;
    let token = world.alice().sign();
    world.accept(&token).await;
    for answer in [Answer::Unreachable, Answer::Keys(issuer().jwks())] {
        world.keys.answer(answer);
        world.keys.hold();
        let (verifier, unknown) = (Arc::clone(&world.verifier), stray(0));
        let waiting = tokio::spawn(async move { verifier.verify(&unknown).await.err() });
        assert_eq!(world.refusal(&world.alice().sign()).await, None);
        world.keys.release();
        assert_eq!(waiting.await.unwrap(), invalid("unknown_kid"));
        assert_eq!(world.refusal(&token).await, None);
    }
}

#[tokio::test]
async fn known_keys_do_not_wait_for_a_slow_fetch() {
    let world = World::new().await;
    world.keys.hold();
    let slow = Arc::clone(world.manager());
    let slow = tokio::spawn(async move { slow.fetch(true).await });
    let (verifier, unknown) = (Arc::clone(&world.verifier), stray(0));
    let waiting = tokio::spawn(async move { verifier.verify(&unknown).await.err() });
    eventually("the fetch", || world.keys.fetches() == 2).await;
    for _ in 0..20 {
        // A token that waited would never be judged: nobody releases the source before the loop ends.
        assert_eq!(world.refusal(&world.alice().sign()).await, None);
    }
    assert!(!slow.is_finished() && !waiting.is_finished());
    world.keys.release();
    slow.await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap(), invalid("unknown_kid"));
}

#[tokio::test]
async fn a_fetch_that_began_too_early_is_not_the_one_waited_for() {
    let world = World::with(|setup| setup.issuer = Arc::new(rotated())).await;
    // A fetch in the background, which the source answers with the keys of before.
    world.keys.hold();
    let early = Arc::clone(world.manager());
    let early = tokio::spawn(async move { early.fetch(false).await });
    eventually("the early fetch", || world.keys.fetches() == 2).await;
    world.keys.publish(&world.issuer);
    let (verifier, token) = (Arc::clone(&world.verifier), world.alice().sign());
    let waiting = tokio::spawn(async move { verifier.verify(&token).await.err() });
    tokio::task::yield_now().await;
    world.keys.release();
    early.await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap(), None);
}

#[tokio::test]
async fn whoever_hangs_up_does_not_end_the_fetch() {
    let world = World::with(|setup| setup.issuer = Arc::new(rotated())).await;
    world.keys.publish(&world.issuer);
    world.keys.hold();
    let (verifier, token) = (Arc::clone(&world.verifier), world.alice().sign());
    let caller = tokio::spawn(async move { verifier.verify(&token).await.err() });
    eventually("the fetch", || world.keys.fetches() == 2).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    world.keys.release();
    eventually("the key", || world.manager().key(&world.issuer.kid()).is_some()).await;
    assert_eq!(world.refusal(&world.alice().sign()).await, None);
    assert_eq!(world.keys.fetches(), 2);
}

#[tokio::test]
async fn nobody_waits_longer_than_a_fetch_may_take() {
    let world = World::with(|setup| setup.jwks.fetch_timeout = Duration::from_millis(50)).await;
    world.keys.hold();
    let started = Instant::now();
    assert_eq!(world.refusal(&stray(0)).await, invalid("unknown_kid"));
    assert!(started.elapsed() < Duration::from_secs(2));
    eventually("the failure", || world.metrics.jwks_refresh_failures.get() == 1).await;
}

#[tokio::test]
async fn only_so_many_wait() {
    let world = World::new().await;
    world.keys.hold();
    let wait = |n| {
        let (verifier, token) = (Arc::clone(&world.verifier), stray(n));
        tokio::spawn(async move { verifier.verify(&token).await.err() })
    };
    let waiting: Vec<_> = (0..128).map(wait).collect();
    eventually("the fetch", || world.keys.fetches() == 2).await;
    // The next one is not kept: the source still holds its answer back.
    assert_eq!(wait(128).await.unwrap(), invalid("unknown_kid"));
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
    world.keys.release();
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap(), invalid("unknown_kid"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_published_key_is_never_missed_under_a_storm() {
    for _ in 0..20 {
        let world = World::with(|setup| setup.answer = Answer::Keys(impostor().jwks())).await;
        world.keys.publish(&world.issuer);
        let callers = (0..16).map(|_| {
            let (verifier, token) = (Arc::clone(&world.verifier), world.alice().sign());
            tokio::spawn(async move {
                let started = Instant::now();
                (verifier.verify(&token).await.err(), started.elapsed())
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            let (refusal, took) = caller.await.unwrap();
            assert_eq!(refusal, None);
            assert!(took < Duration::from_secs(4), "a wake-up was lost: {took:?}");
        }
        assert_eq!(world.keys.fetches(), 2);
    }
}

#[tokio::test]
async fn keys_are_fetched_at_start_and_again_and_again() {
    let world = World::unloaded(|setup| setup.jwks.refresh = Duration::from_millis(10));
    let _background = world.start().await;
    eventually("a refresh", || world.keys.fetches() >= 4).await;
    assert_eq!(world.keys.forced_fetches(), 0);
    assert_eq!(world.refusal(&world.alice().sign()).await, None);
}

#[tokio::test]
async fn a_service_without_keys_tries_on_and_becomes_ready() {
    let world = World::unloaded(|setup| setup.answer = Answer::Unreachable);
    let authenticator = world.authenticator();
    let _background = authenticator.start();
    eventually("a failed try", || world.keys.fetches() >= 1).await;
    assert!(!authenticator.is_ready());
    unpublished(&world.keys);
    eventually("a second try", || world.keys.fetches() >= 2).await;
    assert!(!authenticator.is_ready());
    world.keys.publish(&world.issuer);
    eventually("ready", || authenticator.is_ready()).await;
}

#[tokio::test]
async fn a_panic_does_not_end_the_refreshing() {
    let world = World::unloaded(|setup| setup.answer = Answer::Panic);
    let authenticator = world.authenticator();
    let _background = authenticator.start();
    eventually("the panic", || world.keys.fetches() >= 1).await;
    world.keys.publish(&world.issuer);
    eventually("ready", || authenticator.is_ready()).await;
}

#[tokio::test]
async fn dropping_the_background_ends_it() {
    let world = World::unloaded(|setup| setup.jwks.refresh = Duration::from_millis(1));
    let background = world.start().await;
    drop(background);
    eventually("only the world holds the verifier", || Arc::strong_count(&world.verifier) == 1).await;
}
