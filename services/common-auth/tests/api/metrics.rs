//! The metrics that the migration plan names, with their meaning.

use common_auth::AuthMetrics;
use prometheus::TextEncoder;
use serde_json::json;

use crate::helpers::{Answer, World};

/// The value of a line of the exposition.
fn sample(world: &World, line: &str) -> Option<String> {
    let text = TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    text.lines().find_map(|known| known.strip_prefix(line)?.strip_prefix(' ').map(str::to_owned))
}

#[tokio::test]
async fn the_names_are_those_of_the_migration_plan() {
    let world = World::new().await;
    world.accept(&world.alice().sign()).await;
    for (name, value) in [
        ("oauth2_token_validations_total{result=\"valid\"}", "1"),
        ("oauth2_token_validation_duration_seconds_count", "1"),
        ("oauth2_permission_checks_total", "0"),
        ("oauth2_permission_denied_total", "0"),
        ("jwks_refresh_total", "1"),
        ("jwks_refresh_failures_total", "0"),
        ("jwks_key_cache_hits_total", "1"),
        ("jwks_key_cache_misses_total", "0"),
        ("revocation_feed_age_seconds", "0"),
    ] {
        assert_eq!(sample(&world, name).as_deref(), Some(value), "{name}");
    }
    assert!(sample(&world, "oauth2_token_validation_duration_seconds_sum").is_some());
}

#[tokio::test]
async fn validations_count_hits_and_tell_the_reasons_apart() {
    let world = World::new().await;
    let token = world.alice().sign();
    for _ in 0..3 {
        world.accept(&token).await;
    }
    world.refusal(&world.alice().issued(7200, 3600).sign()).await;
    world.refusal(&world.alice().header("alg", json!("none")).sign()).await;
    let count =
        |result: &str| sample(&world, &format!("oauth2_token_validations_total{{result=\"{result}\"}}"));
    assert_eq!(count("valid").as_deref(), Some("3"));
    assert_eq!(count("token_expired").as_deref(), Some("1"));
    assert_eq!(count("algorithm").as_deref(), Some("1"));
    assert_eq!(sample(&world, "oauth2_token_validation_duration_seconds_count").as_deref(), Some("5"));
}

#[tokio::test]
async fn refreshes_count_attempts() {
    let world = World::new().await;
    for answer in [Answer::Unreachable, Answer::Unusable, Answer::Unchanged] {
        world.keys.answer(answer);
        let _ = world.manager().fetch(false).await;
    }
    assert_eq!(sample(&world, "jwks_refresh_total").as_deref(), Some("4"));
    assert_eq!(sample(&world, "jwks_refresh_failures_total").as_deref(), Some("2"));
    world.refusal(&world.alice().header("kid", json!("stray")).sign()).await;
    assert_eq!(sample(&world, "jwks_key_cache_misses_total").as_deref(), Some("1"));
}

#[test]
fn metrics_are_registered_once() {
    let registry = prometheus::Registry::new();
    AuthMetrics::register(&registry).unwrap();
    assert!(AuthMetrics::register(&registry).is_err());
}
