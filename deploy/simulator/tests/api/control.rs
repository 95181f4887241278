//! The simulator steered from another process, and the binary itself.

use std::process::Stdio;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::helpers::{Answer, Ask, World};

async fn control(world: &World, method: Method, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", world.sim.control_url());
    world.http.request(method, url).json(&body).answer().await
}

#[tokio::test]
async fn everything_can_be_done_over_http() {
    let world = World::start();
    let post = async |path: &str, body: Value| control(&world, Method::POST, path, body).await;
    assert_eq!(
        control(&world, Method::GET, "/health", json!({})).await.expect(200).body,
        json!({ "status": "ok" })
    );
    let consent = json!({ "provider": "github", "fields": { "user": "alice", "account": "example-corp" } });
    post("/consents", consent).await.expect(204);
    let back = world
        .get(world.sim.github_url(), "/apps/example-app/installations/new", &[("state", "long-enough-state")])
        .await
        .location();
    let id = &back["installation_id"];

    let calls = control(&world, Method::GET, "/calls", json!({})).await.expect(200);
    assert_eq!(calls.body["counts"]["GET /apps/{slug}/installations/new"], 1);
    let canaries = control(&world, Method::GET, "/canaries", json!({})).await.expect(200);
    assert!(canaries.body["items"].as_array().unwrap().contains(&json!(back["code"])));

    post(&format!("/github/installations/{id}/suspend"), json!({})).await.expect(204);
    let listed = control(&world, Method::GET, "/github/installations", json!({})).await;
    assert_eq!(listed.body["items"][0]["suspended"], true);
    post(&format!("/github/installations/{id}/unsuspend"), json!({})).await.expect(204);
    post(
        "/webhooks/github/installation",
        json!({ "action": "created", "installation_id": id.parse::<u64>().unwrap() }),
    )
    .await
    .expect(204);
    post("/webhooks/github/authorization-revoked", json!({ "user": "alice" })).await.expect(204);
    post("/webhooks/slack", json!({ "event": "app_uninstalled", "place_id": "T0EXAMPLE" })).await.expect(204);
    control(&world, Method::DELETE, &format!("/github/installations/{id}"), json!({})).await.expect(204);
    post("/github/installations/1/suspend", json!({})).await.expect(404);

    let options = post("/options/slack", json!({ "rotation": false })).await.expect(200);
    assert_eq!(
        (options.body["rotation"].as_bool(), options.body["grace_seconds"].as_i64()),
        (Some(false), Some(60))
    );
    post("/options/slack", json!({ "rotation": "perhaps" })).await.expect(422);
    post(
        "/faults",
        json!({ "provider": "slack", "endpoint": "auth.test", "kind": "rate_limited", "retry_after": 3 }),
    )
    .await
    .expect(204);
    world.get(world.sim.slack_url(), "/api/auth.test", &[]).await.expect(429);
    let now = world.sim.now();
    post("/clock/advance", json!({ "seconds": 1000 })).await.expect(200);
    assert!(world.sim.now() >= now + 1000);
    post("/reset", json!({})).await.expect(204);
    assert!(world.sim.now() < now + 1000 && world.sim.calls().is_empty());
    assert!(world.sim.world().slack.options.rotation);
}

#[tokio::test]
async fn the_binary_answers_on_its_ports_and_ends_when_told_to() {
    let folder = std::env::temp_dir().join(format!("simulator-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let key = folder.join("key.pem");
    std::fs::write(&key, simulator::github_private_key_pem()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_simulator"))
        .env_clear()
        .envs([
            ("SIM_GITHUB_PORT", "0"),
            ("SIM_ATLASSIAN_PORT", "0"),
            ("SIM_SLACK_PORT", "0"),
            ("SIM_CONTROL_PORT", "0"),
        ])
        .env("GITHUB_PRIVATE_KEY_PATH", &key)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = loop {
        let line = lines.next_line().await.unwrap().expect("the line that says where it listens");
        if let Some((_, rest)) = line.split_once("control=\"") {
            break rest.split_once('"').unwrap().0.to_owned();
        }
    };
    let health = Client::builder().no_proxy().build().unwrap().get(format!("{url}/health")).answer().await;
    assert_eq!(health.expect(200).body["status"], "ok");
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    std::fs::remove_dir_all(folder).unwrap();
}
