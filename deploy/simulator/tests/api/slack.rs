//! Slack: errors with status 200, two chains that rotate apart, two live tokens each.

use std::collections::HashMap;

use simulator::Provider;

use crate::helpers::{Answer, Ask, World};

async fn authorize(
    world: &World,
    query: &[(&str, &str)],
    answer: &[(&str, &str)],
) -> HashMap<String, String> {
    let callback = world.callback("slack");
    let client = world.sim.settings().slack.id.clone();
    let mut all =
        vec![("client_id", client.as_str()), ("redirect_uri", &callback), ("state", "a-state-of-ours")];
    all.extend_from_slice(query);
    world.consent(Provider::Slack, "/oauth/v2/authorize", &all, answer).await
}

async fn access(world: &World, fields: &[(&str, &str)]) -> Answer {
    let client = &world.sim.settings().slack;
    let url = format!("{}/api/oauth.v2.access", world.sim.slack_url());
    world.http.post(url).basic_auth(&client.id, Some(&client.secret)).form(fields).answer().await.expect(200)
}

async fn redeem(world: &World, code: &str) -> Answer {
    access(world, &[("code", code), ("redirect_uri", &world.callback("slack"))]).await
}

async fn refresh(world: &World, token: &str) -> Answer {
    access(world, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

async fn connected(world: &World, query: &[(&str, &str)], answer: &[(&str, &str)]) -> Answer {
    let code = authorize(world, query, answer).await["code"].clone();
    redeem(world, &code).await
}

async fn call(world: &World, method: &str, token: &str) -> Answer {
    let url = format!("{}/api/{method}", world.sim.slack_url());
    world.http.post(url).bearer_auth(token).answer().await.expect(200)
}

const BOTH: &[(&str, &str)] = &[("scope", "channels:read,chat:write"), ("user_scope", "search:read")];

#[tokio::test]
async fn bot_and_user_get_chains_of_their_own() {
    let world = World::start();
    let tokens = connected(&world, BOTH, &[("workspace", "T0EXAMPLE")]).await;
    assert!(tokens.text_at("/access_token").starts_with("xoxe.xoxb-1-"));
    assert!(tokens.text_at("/authed_user/access_token").starts_with("xoxe.xoxp-1-"));
    assert!(tokens.text_at("/refresh_token").starts_with("xoxe-1-"));
    assert_eq!(tokens.body["expires_in"], 43_200);
    assert_eq!(tokens.text_at("/team/id"), "T0EXAMPLE");
    assert!(tokens.body["enterprise"].is_null());
    let bot = refresh(&world, &tokens.text_at("/refresh_token")).await;
    assert_eq!(bot.text_at("/token_type"), "bot");
    let user = refresh(&world, &tokens.text_at("/authed_user/refresh_token")).await;
    assert_eq!(user.text_at("/token_type"), "user");
    for token in
        [tokens.text_at("/access_token"), bot.text_at("/access_token"), user.text_at("/access_token")]
    {
        let known = call(&world, "auth.test", &token).await;
        assert_eq!(known.body["ok"], true, "the old token goes on: {}", known.text);
        assert!(known.body["expires_in"].is_number());
    }
}

#[tokio::test]
async fn two_tokens_live_and_a_used_refresh_token_has_a_short_grace() {
    let world = World::start();
    let first = connected(&world, &[("scope", "chat:write")], &[]).await;
    let second = refresh(&world, &first.text_at("/refresh_token")).await;
    let third = refresh(&world, &first.text_at("/refresh_token")).await;
    assert_eq!(call(&world, "auth.test", &first.text_at("/access_token")).await.error(), "token_revoked");
    for live in [&second, &third] {
        assert_eq!(call(&world, "auth.test", &live.text_at("/access_token")).await.body["ok"], true);
    }
    world.sim.advance_clock(60);
    assert_eq!(refresh(&world, &first.text_at("/refresh_token")).await.error(), "invalid_refresh_token");
    assert_eq!(refresh(&world, &second.text_at("/refresh_token")).await.error(), "invalid_refresh_token");
    let fourth = refresh(&world, &third.text_at("/refresh_token")).await;
    world.sim.advance_clock(43_200);
    assert_eq!(call(&world, "auth.test", &fourth.text_at("/access_token")).await.error(), "token_expired");
}

#[tokio::test]
async fn connecting_again_goes_on_with_the_same_chain() {
    let world = World::start();
    let first = connected(&world, &[("scope", "chat:write")], &[]).await;
    let second = connected(&world, &[("scope", "channels:read")], &[]).await;
    assert_eq!(second.text_at("/scope"), "chat:write,channels:read", "scopes only grow");
    assert_eq!(second.text_at("/bot_user_id"), first.text_at("/bot_user_id"));
    world.sim.advance_clock(60);
    assert_eq!(refresh(&world, &first.text_at("/refresh_token")).await.error(), "invalid_refresh_token");
}

#[tokio::test]
async fn without_rotation_the_token_lasts_and_is_the_same_again() {
    let world = World::start();
    world.sim.world().slack.options.rotation = false;
    let first = connected(&world, &[("scope", "chat:write")], &[]).await;
    assert!(first.text_at("/access_token").starts_with("xoxb-"));
    assert!(first.body.get("refresh_token").is_none() && first.body.get("expires_in").is_none());
    let second = connected(&world, &[("scope", "chat:write")], &[]).await;
    assert_eq!(second.text_at("/access_token"), first.text_at("/access_token"));
    let token = first.text_at("/access_token");
    assert!(call(&world, "auth.test", &token).await.body.get("expires_in").is_none());
    assert_eq!(call(&world, "auth.revoke?test=1", &token).await.body["revoked"], false);
    assert_eq!(call(&world, "auth.revoke", &token).await.body["revoked"], true);
    assert_eq!(call(&world, "auth.test", &token).await.error(), "token_revoked");
}

#[tokio::test]
async fn an_enterprise_has_no_team_and_user_scopes_alone_no_bot() {
    let world = World::start();
    let wide = connected(&world, &[("scope", "chat:write")], &[("workspace", "E0EXAMPLE")]).await;
    assert!(wide.body["team"].is_null());
    assert_eq!(
        (wide.body["is_enterprise_install"].as_bool(), wide.text_at("/enterprise/id")),
        (Some(true), "E0EXAMPLE".to_owned())
    );
    let inside = connected(&world, &[("scope", "chat:write")], &[("workspace", "T0LABS")]).await;
    assert_eq!(inside.text_at("/enterprise/id"), "E0EXAMPLE");
    let user = connected(&world, &[("user_scope", "search:read")], &[]).await;
    assert!(user.body.get("access_token").is_none() && user.body.get("token_type").is_none());
    assert_eq!(user.text_at("/authed_user/token_type"), "user");
}

#[tokio::test]
async fn errors_have_status_200() {
    let world = World::start();
    assert_eq!(redeem(&world, "unknown").await.error(), "invalid_code");
    assert_eq!(access(&world, &[("grant_type", "password")]).await.error(), "invalid_grant_type");
    let code = authorize(&world, &[("scope", "chat:write")], &[]).await["code"].clone();
    assert_eq!(access(&world, &[("code", &code)]).await.error(), "bad_redirect_uri");
    assert_eq!(redeem(&world, &code).await.body["ok"], true);
    assert_eq!(redeem(&world, &code).await.error(), "code_already_used");
    let url = format!("{}/api/oauth.v2.access", world.sim.slack_url());
    let id = &world.sim.settings().slack.id;
    let wrong =
        world.http.post(&url).basic_auth(id, Some("wrong")).form(&[("code", "x")]).answer().await.expect(200);
    assert_eq!(wrong.error(), "bad_client_secret");
    let unknown =
        world.http.post(&url).form(&[("client_id", "none"), ("code", "x")]).answer().await.expect(200);
    assert_eq!(unknown.error(), "invalid_client_id");
    assert_eq!(call(&world, "auth.test", "xoxb-unknown").await.error(), "invalid_auth");
    assert_eq!(
        world.http.post(format!("{}/api/auth.test", world.sim.slack_url())).answer().await.error(),
        "not_authed"
    );
    let denied = authorize(&world, &[("scope", "chat:write")], &[("decision", "cancel")]).await;
    assert_eq!((denied["error"].as_str(), denied["state"].as_str()), ("access_denied", "a-state-of-ours"));
}

#[tokio::test]
async fn uninstalling_ends_every_token_and_a_rotated_one_is_revoked_alone() {
    let world = World::start();
    let tokens = connected(&world, BOTH, &[]).await;
    let (bot, user) = (tokens.text_at("/access_token"), tokens.text_at("/authed_user/access_token"));
    call(&world, "auth.revoke", &user).await;
    assert_eq!(call(&world, "auth.test", &user).await.error(), "token_revoked");
    let renewed = refresh(&world, &tokens.text_at("/authed_user/refresh_token")).await;
    assert_eq!(renewed.body["ok"], true, "one token alone was revoked");
    let client = &world.sim.settings().slack;
    let url = format!("{}/api/apps.uninstall", world.sim.slack_url());
    let form = [("client_id", &client.id), ("client_secret", &client.secret), ("token", &bot)];
    assert_eq!(world.http.post(url).form(&form).answer().await.body["ok"], true);
    assert_eq!(call(&world, "auth.test", &bot).await.error(), "invalid_auth");
    assert_eq!(call(&world, "auth.test", &renewed.text_at("/access_token")).await.error(), "invalid_auth");
}
