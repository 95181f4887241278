//! The App as itself: JSON Web Tokens, installation tokens of both forms, suspension.

use josekit::jws::{JwsHeader, RS256, serialize_compact};
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Settings, Simulator, github_private_key_pem};

use crate::helpers::{Answer, Ask, World};

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

fn sign(claims: &Value, key: &str) -> String {
    let mut header = JwsHeader::new();
    header.set_token_type("JWT");
    let signer = RS256.signer_from_pem(key).unwrap();
    serialize_compact(claims.to_string().as_bytes(), &header, &signer).unwrap()
}

fn jwt() -> String {
    sign(&json!({ "iss": "4711", "iat": now() - 60, "exp": now() + 540 }), github_private_key_pem())
}

async fn call(world: &World, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
    let mut request =
        world.http.request(method, format!("{}{path}", world.sim.github_url())).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.answer().await
}

/// The App at Example Corp.
fn installed(world: &World) -> u64 {
    let mut state = world.sim.world();
    let org = state.github.account_id("example-corp").unwrap();
    state.github.install(org, None, now())
}

#[tokio::test]
async fn the_token_has_to_be_signed_and_short() {
    let world = World::start();
    let id = installed(&world);
    let path = format!("/app/installations/{id}");
    let status = async |token: &str| call(&world, Method::GET, &path, token, None).await;
    let good = json!({ "iss": "4711", "iat": now() - 60, "exp": now() + 540 });
    status(&sign(&good, github_private_key_pem())).await.expect(200);
    let by_client = json!({ "iss": "github-client", "iat": now() - 60, "exp": now() + 540 });
    status(&sign(&by_client, github_private_key_pem())).await.expect(200);
    for (name, value, message) in [
        ("exp", json!(now() + 700), "too far in the future"),
        ("exp", json!(now() - 1), "must be a numeric value"),
        ("iat", json!(now() + 90), "'Issued at'"),
    ] {
        let mut claims = good.clone();
        claims[name] = value;
        let refused = status(&sign(&claims, github_private_key_pem())).await.expect(401);
        assert!(refused.text_at("/message").contains(message), "{}", refused.text);
    }
    let mut other = good.clone();
    other["iss"] = json!("4712");
    status(&sign(&other, github_private_key_pem())).await.expect(404);
    let stranger = RS256.generate_key_pair(2048).unwrap().to_pem_private_key();
    status(&sign(&good, std::str::from_utf8(&stranger).unwrap())).await.expect(401);
    status("no.token.at-all").await.expect(401);
    let unnamed = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}{path}", world.sim.github_url());
    unnamed.get(url).bearer_auth(jwt()).answer().await.expect(403);
}

#[tokio::test]
async fn a_minted_token_is_as_narrow_as_asked_for() {
    let world = World::start();
    let id = installed(&world);
    let mint = format!("/app/installations/{id}/access_tokens");
    let whole = call(&world, Method::POST, &mint, &jwt(), None).await.expect(201);
    assert_eq!(whole.body["repository_selection"], "all");
    assert_eq!(whole.body["permissions"]["issues"], "write");
    let wish = json!({ "repositories": ["platform"], "permissions": { "issues": "read" } });
    let narrow = call(&world, Method::POST, &mint, &jwt(), Some(wish)).await.expect(201);
    assert_eq!(narrow.body["permissions"], json!({ "issues": "read" }));
    assert_eq!(narrow.body["repositories"].as_array().unwrap().len(), 1);
    let token = narrow.text_at("/token");
    let reached = call(&world, Method::GET, "/installation/repositories", &token, None).await.expect(200);
    assert_eq!(
        (reached.body["total_count"].clone(), reached.text_at("/repositories/0/name")),
        (json!(1), "platform".to_owned())
    );
    call(&world, Method::GET, "/repos/example-corp/website", &token, None).await.expect(404);
    for wish in
        [json!({ "permissions": { "administration": "write" } }), json!({ "repositories": ["unknown"] })]
    {
        call(&world, Method::POST, &mint, &jwt(), Some(wish)).await.expect(422);
    }
    call(&world, Method::DELETE, "/installation/token", &token, None).await.expect(204);
    call(&world, Method::GET, "/installation/repositories", &token, None).await.expect(401);
    world.sim.advance_clock(3601);
    call(&world, Method::GET, "/installation/repositories", &whole.text_at("/token"), None).await.expect(401);
}

#[tokio::test]
async fn a_token_may_be_short_or_long() {
    let world = World::start();
    let id = installed(&world);
    let url = format!("{}/app/installations/{id}/access_tokens", world.sim.github_url());
    let mint = async |form: &str| {
        let request = world.http.post(&url).bearer_auth(jwt()).header("x-github-stateless-s2s-token", form);
        request.answer().await.expect(201).text_at("/token")
    };
    assert_eq!(mint("disabled").await.len(), 40);
    let long = mint("enabled").await;
    assert!(long.starts_with("ghs_4711_") && long.len() >= 500 && long.matches('.').count() == 2, "{long}");
    world.sim.world().github.options.stateless_tokens = true;
    assert!(mint("").await.len() >= 500);
}

#[tokio::test]
async fn suspension_shows_at_the_token_and_uninstalling_everywhere() {
    let world = World::start();
    let id = installed(&world);
    let (path, mint) = (format!("/app/installations/{id}"), format!("/app/installations/{id}/access_tokens"));
    call(&world, Method::PUT, &format!("{path}/suspended"), &jwt(), None).await.expect(204);
    let shown = call(&world, Method::GET, &path, &jwt(), None).await.expect(200);
    assert!(shown.body["suspended_at"].is_string());
    let refused = call(&world, Method::POST, &mint, &jwt(), None).await.expect(403);
    assert_eq!(refused.text_at("/message"), "This installation has been suspended");
    call(&world, Method::DELETE, &format!("{path}/suspended"), &jwt(), None).await.expect(204);
    call(&world, Method::POST, &mint, &jwt(), None).await.expect(201);
    call(&world, Method::DELETE, &path, &jwt(), None).await.expect(204);
    for gone in [
        call(&world, Method::GET, &path, &jwt(), None).await,
        call(&world, Method::POST, &mint, &jwt(), None).await,
        call(&world, Method::DELETE, &path, &jwt(), None).await,
    ] {
        gone.expect(404);
    }
}

#[tokio::test]
async fn several_simulators_do_not_know_each_other() {
    let (one, two) = (World::start(), Simulator::start(Settings::default()).unwrap());
    installed(&one);
    assert_eq!(one.sim.world().github.installations.len(), 1);
    assert!(two.world().github.installations.is_empty());
}
