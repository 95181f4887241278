//! The contract: generated, committed, and true.

use std::{fs, path::Path};

use serde_json::Value;

use crate::helpers::TestApp;

/// The committed contract.
fn committed() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/chat-api.openapi.json");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_committed_contract_is_the_generated_one() {
    assert!(committed() == chat_api::routes::contract::render(None), "run `make generate`");
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
    let contract: Value = serde_json::from_str(&committed()).unwrap();
    let mut found = Vec::new();
    references(&contract, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(contract.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_contract_names_the_server() {
    let app = TestApp::spawn_with(crate::helpers::TestAppOptions {
        settings: vec![("PUBLIC_URL", "https://chat.example.com/".to_owned())],
        ..Default::default()
    })
    .await;

    let served = app.client.request(reqwest::Method::GET, "/openapi.json", None, None).await;
    assert_eq!(served.body["servers"][0]["url"], "https://chat.example.com");
    let health = app.client.request(reqwest::Method::GET, "/health", None, None).await;
    assert_eq!(health.body, serde_json::json!({ "status": "ok" }));
    app.stop().await;
}
