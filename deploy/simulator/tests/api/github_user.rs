//! The user web flow of both registrations: errors with status 200, PKCE, rotation without leeway.

use std::collections::HashMap;

use serde_json::json;
use simulator::{Client, Provider};

use crate::helpers::{Answer, Ask, CHALLENGE, VERIFIER, World};

const TOKEN: &str = "/login/oauth/access_token";

async fn authorize(world: &World, client: &Client, more: &[(&str, &str)]) -> HashMap<String, String> {
    let callback = world.callback("github");
    let mut query =
        vec![("client_id", client.id.as_str()), ("redirect_uri", &callback), ("state", "a-state-of-ours")];
    query.extend_from_slice(more);
    world.consent(Provider::Github, "/login/oauth/authorize", &query, &[("user", "alice")]).await
}

async fn token(world: &World, client: &Client, fields: &[(&str, &str)]) -> Answer {
    let mut form = vec![("client_id", client.id.as_str()), ("client_secret", client.secret.as_str())];
    form.extend_from_slice(fields);
    let url = format!("{}{TOKEN}", world.sim.github_url());
    world.http.post(url).header("accept", "application/json").form(&form).answer().await.expect(200)
}

async fn signed_in(world: &World, client: &Client) -> Answer {
    let code = authorize(world, client, &[]).await["code"].clone();
    token(world, client, &[("code", &code)]).await
}

fn app(world: &World) -> Client {
    world.sim.settings().github_app.client.clone()
}

#[tokio::test]
async fn an_app_gets_expiring_tokens_and_an_oauth_app_one_that_lasts() {
    let world = World::start();
    let tokens = signed_in(&world, &app(&world)).await;
    assert!(tokens.text_at("/access_token").starts_with("ghu_"));
    assert!(tokens.text_at("/refresh_token").starts_with("ghr_"));
    assert_eq!(tokens.body["expires_in"], 28800);
    assert_eq!(tokens.body["refresh_token_expires_in"], 15_811_200);
    assert_eq!(tokens.body["scope"], "");

    let oauth_app = world.sim.settings().github_oauth_app.clone();
    let code = authorize(&world, &oauth_app, &[("scope", "repo gist")]).await["code"].clone();
    let tokens = token(&world, &oauth_app, &[("code", &code)]).await;
    assert!(tokens.text_at("/access_token").starts_with("gho_"));
    assert_eq!(tokens.body["scope"], "repo,gist");
    assert!(tokens.body.get("expires_in").is_none() && tokens.body.get("refresh_token").is_none());
    let again = signed_in(&world, &oauth_app).await;
    assert_eq!(again.body["scope"], "repo,gist", "no scope asked for is what there was");

    world.sim.world().github.options.expire_user_tokens = false;
    assert!(signed_in(&world, &app(&world)).await.body.get("refresh_token").is_none());
}

#[tokio::test]
async fn the_reply_is_a_form_unless_json_is_asked_for() {
    let world = World::start();
    let client = app(&world);
    let code = authorize(&world, &client, &[]).await["code"].clone();
    let form = [("client_id", &client.id), ("client_secret", &client.secret), ("code", &code)];
    let url = format!("{}{TOKEN}", world.sim.github_url());
    let reply = world.http.post(&url).form(&form).answer().await.expect(200);
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("application/x-www-form-urlencoded"));
    assert!(reply.text.contains("access_token=ghu_"), "{}", reply.text);
    let error = world.http.post(&url).form(&form).answer().await.expect(200);
    assert!(error.text.contains("error=bad_verification_code"), "a code is good once: {}", error.text);
}

#[tokio::test]
async fn errors_have_status_200() {
    let world = World::start();
    let client = app(&world);
    let wrong = Client { secret: "wrong".to_owned(), ..client.clone() };
    assert_eq!(token(&world, &wrong, &[("code", "any")]).await.error(), "incorrect_client_credentials");
    assert_eq!(token(&world, &client, &[("code", "any")]).await.error(), "bad_verification_code");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "ghr_none")];
    assert_eq!(token(&world, &client, &refresh).await.error(), "bad_refresh_token");
    assert_eq!(token(&world, &client, &[("grant_type", "password")]).await.error(), "unsupported_grant_type");
    let code = authorize(&world, &client, &[]).await["code"].clone();
    let elsewhere = [("code", code.as_str()), ("redirect_uri", "http://127.0.0.1:8010/elsewhere")];
    assert_eq!(token(&world, &client, &elsewhere).await.error(), "redirect_uri_mismatch");
}

#[tokio::test]
async fn a_code_is_good_for_ten_minutes_and_a_challenge_has_to_be_answered() {
    let world = World::start();
    let client = app(&world);
    let old = authorize(&world, &client, &[]).await["code"].clone();
    world.sim.advance_clock(600);
    assert_eq!(token(&world, &client, &[("code", &old)]).await.error(), "bad_verification_code");
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    for (verifier, is_good) in
        [(None, false), (Some("x".repeat(43)), false), (Some(VERIFIER.to_owned()), true)]
    {
        let code = authorize(&world, &client, &pkce).await["code"].clone();
        let mut fields = vec![("code", code.as_str())];
        fields.extend(verifier.iter().map(|verifier| ("code_verifier", verifier.as_str())));
        assert_eq!(
            token(&world, &client, &fields).await.body.get("error").is_none(),
            is_good,
            "{verifier:?}"
        );
    }
    let plain =
        [("client_id", client.id.as_str()), ("code_challenge", "x"), ("code_challenge_method", "plain")];
    world.get(world.sim.github_url(), "/login/oauth/authorize", &plain).await.expect(400);
}

#[tokio::test]
async fn an_apps_redirect_is_matched_exactly() {
    let world = World::start();
    let client = app(&world);
    let beneath = format!("{}/more", world.callback("github"));
    let query = [("client_id", client.id.as_str()), ("redirect_uri", &beneath), ("state", "s")];
    let back = world.get(world.sim.github_url(), "/login/oauth/authorize", &query).await.location();
    assert_eq!(
        (back["error"].as_str(), back["path"].as_str()),
        ("redirect_uri_mismatch", "/oauth/callback/github")
    );
    world.get(world.sim.github_url(), "/login/oauth/authorize", &[("client_id", "none")]).await.expect(404);
}

#[tokio::test]
async fn refreshing_ends_both_old_tokens_at_once() {
    let world = World::start();
    let client = app(&world);
    let first = signed_in(&world, &client).await;
    let (access, refresh) = (first.text_at("/access_token"), first.text_at("/refresh_token"));
    let user = async |token: &str| {
        world.http.get(format!("{}/user", world.sim.github_url())).bearer_auth(token).answer().await
    };
    assert_eq!(user(&access).await.expect(200).body["login"], "alice");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let second = token(&world, &client, &fields).await;
    user(&access).await.expect(401);
    user(&second.text_at("/access_token")).await.expect(200);
    assert_eq!(token(&world, &client, &fields).await.error(), "bad_refresh_token");
    world.sim.advance_clock(28_801);
    user(&second.text_at("/access_token")).await.expect(401);
    world.sim.advance_clock(15_811_200);
    let late = second.text_at("/refresh_token");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", late.as_str())];
    assert_eq!(token(&world, &client, &fields).await.error(), "bad_refresh_token");
}

#[tokio::test]
async fn ten_tokens_live_and_an_eleventh_authorization_in_an_hour_asks_again() {
    let world = World::start();
    let client = app(&world);
    let mut tokens = Vec::new();
    for _ in 0..10 {
        tokens.push(signed_in(&world, &client).await.text_at("/access_token"));
    }
    let callback = world.callback("github");
    let query = [("client_id", client.id.as_str()), ("redirect_uri", &callback)];
    world.sim.preset_consent(Provider::Github, [("user", "alice")]);
    let page = world.get(world.sim.github_url(), "/login/oauth/authorize", &query).await.expect(200);
    assert!(page.text.contains("Reauthorization required"), "{}", page.text);
    world.sim.advance_clock(3601);
    tokens.push(signed_in(&world, &client).await.text_at("/access_token"));
    let user = async |token: &str| {
        world.http.get(format!("{}/user", world.sim.github_url())).bearer_auth(token).answer().await.status
    };
    assert_eq!((user(&tokens[0]).await, user(&tokens[1]).await, user(&tokens[10]).await), (401, 200, 200));
}

#[tokio::test]
async fn installations_are_shown_to_plain_members_too_and_by_pages() {
    let world = World::start();
    let client = app(&world);
    let ids: Vec<u64> = {
        let mut state = world.sim.world();
        let alice = state.github.account_id("alice").unwrap();
        let orgs: Vec<u64> = (0..3)
            .map(|number| {
                let role = if number == 0 {
                    simulator::github::OrgRole::Admin
                } else {
                    simulator::github::OrgRole::Member
                };
                state.github.add_org(&format!("org-{number}"), &[(alice, role)])
            })
            .collect();
        orgs.into_iter().map(|org| state.github.install(org, None, 0)).collect()
    };
    let access = signed_in(&world, &client).await.text_at("/access_token");
    let get = async |path: &str| {
        world.http.get(format!("{}{path}", world.sim.github_url())).bearer_auth(&access).answer().await
    };
    let first = get("/user/installations?per_page=2").await.expect(200);
    assert_eq!(
        (first.body["total_count"].clone(), first.body["installations"].as_array().unwrap().len()),
        (json!(3), 2)
    );
    assert!(first.headers["link"].to_str().unwrap().contains("page=2>; rel=\"next\""));
    let second = get("/user/installations?per_page=2&page=2").await.expect(200);
    assert_eq!(second.body["installations"][0]["id"], ids[2]);
    assert!(!second.headers.contains_key("link"));
    assert_eq!(get("/user/memberships/orgs/org-0").await.expect(200).body["role"], "admin");
    assert_eq!(get("/user/memberships/orgs/org-1").await.expect(200).body["role"], "member");
    get("/user/memberships/orgs/example-none").await.expect(404);
}

#[tokio::test]
async fn a_token_or_the_whole_grant_is_given_back_with_basic() {
    let world = World::start();
    let client = app(&world);
    let (one, two, three) = (
        signed_in(&world, &client).await.text_at("/access_token"),
        signed_in(&world, &client).await.text_at("/access_token"),
        signed_in(&world, &client).await.text_at("/access_token"),
    );
    let call = async |method: reqwest::Method, what: &str, token: &str| {
        let url = format!("{}/applications/{}/{what}", world.sim.github_url(), client.id);
        let request = world.http.request(method, url).basic_auth(&client.id, Some(&client.secret));
        request.json(&json!({ "access_token": token })).answer().await.status
    };
    assert_eq!(call(reqwest::Method::POST, "token", &one).await, 200);
    assert_eq!(call(reqwest::Method::DELETE, "token", &one).await, 204);
    assert_eq!(call(reqwest::Method::POST, "token", &one).await, 404);
    assert_eq!(call(reqwest::Method::POST, "token", &two).await, 200);
    assert_eq!(call(reqwest::Method::DELETE, "grant", &two).await, 204);
    assert_eq!(call(reqwest::Method::POST, "token", &three).await, 404);
}
