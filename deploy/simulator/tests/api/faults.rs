//! Each fault does what it says, as often as it says.

use std::time::{Duration, Instant};

use serde_json::json;
use simulator::{Fault, FaultKind, Provider};

use crate::helpers::{Ask, World};

/// A refresh at Slack with a token that nobody knows: cheap, and processed.
fn request(world: &World) -> reqwest::RequestBuilder {
    let client = &world.sim.settings().slack;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "xoxe-1-unknown")];
    let url = format!("{}/api/oauth.v2.access", world.sim.slack_url());
    world.http.post(url).basic_auth(&client.id, Some(&client.secret)).form(&form)
}

fn world_with(kind: FaultKind) -> World {
    let world = World::start();
    world.sim.fault(Fault::once(Provider::Slack, "/api/oauth.v2.access", kind));
    world
}

/// How many calls were processed.
fn processed(world: &World) -> usize {
    world.sim.count(Provider::Slack, "POST /api/oauth.v2.access", "refresh_token")
}

#[tokio::test]
async fn a_reset_before_or_after_leaves_the_client_without_an_answer() {
    for (kind, times) in [(FaultKind::ResetBefore, 0), (FaultKind::ResetAfter, 1)] {
        let world = world_with(kind);
        let outcome = async { request(&world).send().await?.bytes().await }.await;
        assert!(outcome.is_err());
        assert_eq!(processed(&world), times);
        assert_eq!(request(&world).answer().await.error(), "invalid_refresh_token", "once");
    }
}

#[tokio::test]
async fn a_delay_comes_before_or_after_the_work() {
    for kind in [FaultKind::Delay { milliseconds: 200 }, FaultKind::DelayReply { milliseconds: 200 }] {
        let is_before = matches!(kind, FaultKind::Delay { .. });
        let world = world_with(kind);
        let started = Instant::now();
        let early = tokio::time::timeout(Duration::from_millis(100), request(&world).send()).await;
        assert!(early.is_err());
        assert_eq!(processed(&world), usize::from(!is_before));
        assert!(started.elapsed() < Duration::from_millis(200));
    }
    let world = world_with(FaultKind::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(200), request(&world).send()).await.is_err());
}

#[tokio::test]
async fn answers_that_no_client_should_believe() {
    let world = world_with(FaultKind::ServerError);
    request(&world).answer().await.expect(500);
    let world = world_with(FaultKind::Html);
    assert!(request(&world).answer().await.expect(502).text.contains("<h1>Bad Gateway"));
    let world = world_with(FaultKind::TruncatedJson);
    let cut = request(&world).answer().await.expect(200);
    assert!(cut.body.is_null() && cut.text.starts_with('{'));
    let world = world_with(FaultKind::EmptyBody);
    assert_eq!(request(&world).answer().await.expect(200).text, "");
    assert_eq!(processed(&world), 0);
    let world = world_with(FaultKind::WrongContentType);
    let html = request(&world).answer().await.expect(200);
    assert!(html.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert_eq!(html.error(), "invalid_refresh_token");
    let world = world_with(FaultKind::ExtraFields);
    let more = request(&world).answer().await.expect(200);
    assert!(more.body["a_member_of_tomorrow"].is_object() && more.error() == "invalid_refresh_token");
    let world = world_with(FaultKind::HugeBody);
    assert!(request(&world).answer().await.expect(200).text.len() > 1 << 20);
    let body = r#"{"error":"fatal_error"}"#.to_owned();
    let world =
        world_with(FaultKind::Reply { status: 418, content_type: "application/json".to_owned(), body });
    assert_eq!(request(&world).answer().await.expect(418).error(), "fatal_error");
}

#[tokio::test]
async fn too_many_requests_is_said_in_each_providers_words() {
    let world = World::start();
    for provider in [Provider::Github, Provider::Atlassian, Provider::Slack] {
        world.sim.fault(Fault::once(provider, "", FaultKind::RateLimited { retry_after: 7 }));
    }
    for (base, pointer) in [
        (world.sim.github_url(), "/message"),
        (world.sim.atlassian_url(), "/message"),
        (world.sim.slack_url(), "/error"),
    ] {
        let limited = world.get(base, "/user", &[]).await.expect(429);
        assert_eq!(limited.headers["retry-after"], "7");
        assert!(!limited.text_at(pointer).is_empty());
    }
}

#[tokio::test]
async fn a_fault_can_last_and_end() {
    let world = World::start();
    world.sim.fault(Fault::always(Provider::Slack, "auth.test", FaultKind::ServerError));
    for _ in 0..3 {
        world.get(world.sim.slack_url(), "/api/auth.test", &[]).await.expect(500);
    }
    request(&world).answer().await.expect(200);
    world.sim.clear_faults();
    assert_eq!(
        world.get(world.sim.slack_url(), "/api/auth.test", &[]).await.body,
        json!({ "ok": false, "error": "not_authed" })
    );
}
