//! The contracts: generated, committed, and true.

use std::{fs, path::Path};

use serde_json::Value;

use crate::helpers::TestApp;

fn proto(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto").join(name)).unwrap()
}

#[test]
fn the_committed_contract_is_the_generated_one() {
    let generated = oauth_relay::routes::contract::render(None, "/oauth/callback");
    assert!(proto("oauth-relay.openapi.json") == generated, "run `make generate`");
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    for name in ["oauth-relay.openapi.json", "relay-frames.schema.json"] {
        let contract: Value = serde_json::from_str(&proto(name)).unwrap();
        let mut found = Vec::new();
        references(&contract, &mut found);
        assert!(!found.is_empty(), "{name}");
        for reference in found {
            assert!(contract.pointer(reference.trim_start_matches('#')).is_some(), "{name}: {reference}");
        }
    }
}

#[test]
fn the_frames_are_written_down_in_schema_and_prose() {
    let schema = proto("relay-frames.schema.json");
    let prose = proto("relay-frames.md");
    for name in ["REGISTER", "REGISTERED", "DELIVER", "ACK", "ERROR", "UNREGISTER"] {
        assert!(schema.contains(&format!("\"{name}\"")), "{name} is not in the schema");
        assert!(prose.contains(name), "{name} is not in the prose");
    }
    for word in ["replaced", "timeout", "capacity", "shutdown"] {
        assert!(schema.contains(&format!("\"{word}\"")), "{word} is not in the schema");
        assert!(prose.contains(word), "{word} is not in the prose");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_contract_names_the_server() {
    let app = TestApp::spawn_with(&[("PUBLIC_URL", "https://relay.example.com/")]).await;
    let served = app.http.ask(reqwest::Method::GET, "/openapi.json").await;
    assert_eq!(served.json()["servers"][0]["url"], "https://relay.example.com");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_contract_names_the_callback_path_of_the_settings() {
    let app = TestApp::spawn_with(&[("OAUTH_CALLBACK_PATH", "/elsewhere")]).await;
    let served = app.http.ask(reqwest::Method::GET, "/openapi.json").await.json();
    assert!(served["paths"]["/elsewhere"]["get"].is_object(), "{served}");
    assert!(served["paths"]["/oauth/callback"].is_null(), "{served}");
    app.stop().await;
}
