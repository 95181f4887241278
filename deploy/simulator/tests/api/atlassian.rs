//! Atlassian: real status codes, families with a leeway, and one grant for each account.

use std::collections::HashMap;

use serde_json::{Value, json};
use simulator::Provider;

use crate::helpers::{Answer, Ask, CHALLENGE, VERIFIER, World};

const SITE_1: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
const SITE_2: &str = "11111111-aaaa-4bbb-8ccc-000000000002";
const DAY: i64 = 86_400;

async fn authorize(
    world: &World,
    scope: &str,
    more: &[(&str, &str)],
    sites: &[&str],
) -> HashMap<String, String> {
    let callback = world.callback("jira");
    let client = world.sim.settings().atlassian.id.clone();
    let mut query = vec![
        ("audience", "api.atlassian.com"),
        ("client_id", client.as_str()),
        ("scope", scope),
        ("redirect_uri", &callback),
        ("state", "a-state-of-ours"),
        ("response_type", "code"),
        ("prompt", "consent"),
    ];
    query.extend_from_slice(more);
    let answer: Vec<(&str, &str)> = sites.iter().map(|site| ("site", *site)).collect();
    world.consent(Provider::Atlassian, "/authorize", &query, &answer).await
}

async fn post(world: &World, fields: Value) -> Answer {
    let client = &world.sim.settings().atlassian;
    let mut body = json!({ "client_id": client.id, "client_secret": client.secret });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    world.http.post(format!("{}/oauth/token", world.sim.atlassian_url())).json(&body).answer().await
}

async fn redeem(world: &World, code: &str) -> Answer {
    let fields =
        json!({ "grant_type": "authorization_code", "code": code, "redirect_uri": world.callback("jira") });
    post(world, fields).await
}

async fn refresh(world: &World, token: &str) -> Answer {
    post(world, json!({ "grant_type": "refresh_token", "refresh_token": token })).await
}

async fn connected(world: &World, sites: &[&str]) -> Answer {
    let code = authorize(world, "read:jira-work read:me offline_access", &[], sites).await["code"].clone();
    redeem(world, &code).await.expect(200)
}

async fn get(world: &World, path: &str, token: &str) -> Answer {
    world.http.get(format!("{}{path}", world.sim.atlassian_url())).bearer_auth(token).answer().await
}

#[tokio::test]
async fn a_code_brings_a_pair_in_json_and_by_a_form() {
    let world = World::start();
    let tokens = connected(&world, &[SITE_1]).await;
    assert_eq!(
        (tokens.body["expires_in"].clone(), tokens.text_at("/token_type")),
        (json!(3600), "Bearer".to_owned())
    );
    assert_eq!(tokens.text_at("/scope"), "read:jira-work read:me offline_access");
    assert!(tokens.text_at("/refresh_token").len() > 255, "long");
    let code = authorize(&world, "read:jira-work", &[], &[SITE_1]).await["code"].clone();
    let (client, callback) = (&world.sim.settings().atlassian, world.callback("jira"));
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", &client.id),
        ("client_secret", &client.secret),
        ("code", &code),
        ("redirect_uri", &callback),
    ];
    let url = format!("{}/oauth/token", world.sim.atlassian_url());
    let without = world.http.post(url).form(&form).answer().await.expect(200);
    assert!(without.body.get("refresh_token").is_none(), "no offline_access, no refresh token");
}

#[tokio::test]
async fn errors_have_statuses_of_their_own() {
    let world = World::start();
    assert_eq!(redeem(&world, "unknown").await.expect(403).error(), "invalid_grant");
    let refused = refresh(&world, "unknown").await.expect(403);
    assert_eq!(refused.text_at("/error_description"), "Unknown or invalid refresh token.");
    let wrong = json!({ "client_secret": "wrong", "grant_type": "refresh_token" });
    assert_eq!(post(&world, wrong).await.expect(401).error(), "access_denied");
    let code = authorize(&world, "read:me", &[], &[SITE_1]).await["code"].clone();
    redeem(&world, &code).await.expect(200);
    redeem(&world, &code).await.expect(403);
    let old = authorize(&world, "read:me", &[], &[SITE_1]).await["code"].clone();
    world.sim.advance_clock(600);
    redeem(&world, &old).await.expect(403);
    let elsewhere = [("client_id", "atlassian-client"), ("redirect_uri", "http://127.0.0.1:8010/elsewhere")];
    world.get(world.sim.atlassian_url(), "/authorize", &elsewhere).await.expect(400);
    let denied = world
        .consent(
            Provider::Atlassian,
            "/authorize",
            &[
                ("client_id", "atlassian-client"),
                ("redirect_uri", &world.callback("jira")),
                ("response_type", "code"),
                ("scope", "read:me"),
                ("state", "s"),
            ],
            &[("decision", "cancel")],
        )
        .await;
    assert_eq!((denied["error"].as_str(), denied["state"].as_str()), ("access_denied", "s"));
}

#[tokio::test]
async fn a_challenge_has_to_be_answered() {
    let world = World::start();
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    for (verifier, status) in [("x".repeat(43), 403), (VERIFIER.to_owned(), 200)] {
        let code = authorize(&world, "read:me", &pkce, &[SITE_1]).await["code"].clone();
        let fields = json!({
            "grant_type": "authorization_code", "code": code, "redirect_uri": world.callback("jira"),
            "code_verifier": verifier,
        });
        post(&world, fields).await.expect(status);
    }
}

#[tokio::test]
async fn a_used_refresh_token_has_ten_minutes_and_then_ends_its_family() {
    let world = World::start();
    let first = connected(&world, &[SITE_1]).await.text_at("/refresh_token");
    let second = refresh(&world, &first).await.expect(200);
    world.sim.advance_clock(600);
    let third = refresh(&world, &first).await.expect(200);
    assert_ne!(second.text_at("/refresh_token"), third.text_at("/refresh_token"));
    refresh(&world, &second.text_at("/refresh_token")).await.expect(200);
    world.sim.advance_clock(1);
    refresh(&world, &first).await.expect(403);
    for killed in [&second, &third] {
        refresh(&world, &killed.text_at("/refresh_token")).await.expect(403);
        get(&world, "/me", &killed.text_at("/access_token")).await.expect(401);
    }
}

#[tokio::test]
async fn ninety_idle_days_or_a_year_end_it() {
    let world = World::start();
    let idle = connected(&world, &[SITE_1]).await.text_at("/refresh_token");
    let mut kept = connected(&world, &[SITE_1]).await.text_at("/refresh_token");
    for _ in 0..4 {
        world.sim.advance_clock(89 * DAY);
        kept = refresh(&world, &kept).await.expect(200).text_at("/refresh_token");
    }
    refresh(&world, &idle).await.expect(403);
    world.sim.advance_clock(9 * DAY);
    refresh(&world, &kept).await.expect(403);
}

#[tokio::test]
async fn a_refresh_may_leave_the_refresh_token_out_and_then_the_old_one_goes_on() {
    let world = World::start();
    let token = connected(&world, &[SITE_1]).await.text_at("/refresh_token");
    world.sim.world().atlassian.options.omit_refresh_token = true;
    for _ in 0..2 {
        assert!(refresh(&world, &token).await.expect(200).body.get("refresh_token").is_none());
        world.sim.advance_clock(3600);
    }
}

#[tokio::test]
async fn a_second_consent_widens_the_tokens_of_the_first() {
    let world = World::start();
    let first = connected(&world, &[SITE_1]).await.text_at("/access_token");
    let sites = async |token: &str| {
        let resources = get(&world, "/oauth/token/accessible-resources", token).await.expect(200);
        resources
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|site| site["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(sites(&first).await, [SITE_1]);
    connected(&world, &[SITE_2]).await;
    assert_eq!(sites(&first).await, [SITE_1, SITE_2]);
    get(&world, &format!("/ex/jira/{SITE_2}/rest/api/3/myself"), &first).await.expect(200);
    assert_eq!(get(&world, "/me", &first).await.expect(200).text_at("/email"), "alice@example.com");
}

#[tokio::test]
async fn resources_may_be_none_or_the_same_site_for_two_products() {
    let world = World::start();
    let none = connected(&world, &[]).await.text_at("/access_token");
    assert_eq!(get(&world, "/oauth/token/accessible-resources", &none).await.expect(200).body, json!([]));
    let world = World::start();
    let scope = "read:jira-work read:confluence-content.all";
    let code = authorize(&world, scope, &[], &[SITE_1]).await["code"].clone();
    let token = redeem(&world, &code).await.expect(200).text_at("/access_token");
    let resources = get(&world, "/oauth/token/accessible-resources", &token).await.expect(200);
    assert_eq!(resources.body.as_array().unwrap().len(), 2);
    assert_eq!(resources.body[0]["id"], resources.body[1]["id"]);
    get(&world, "/me", &token).await.expect(403);
    get(&world, &format!("/ex/jira/{SITE_2}/rest/api/3/myself"), &token).await.expect(404);
    world.sim.advance_clock(3600);
    get(&world, "/oauth/token/accessible-resources", &token).await.expect(401);
}
