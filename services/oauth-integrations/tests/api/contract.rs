//! The contract: generated, committed, and true.

use std::{fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Ask, TestApp, process};

fn committed() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/oauth-integrations.openapi.json");
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn the_committed_contract_is_the_generated_one() {
    let generated = process::run(&["openapi"], &[]).await;
    assert_eq!(generated.code, Some(0), "{}", generated.stderr);
    assert!(committed() == generated.stdout, "run `make generate`");
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

#[tokio::test]
async fn the_routes_of_the_document_are_there() {
    let app = TestApp::spawn().await;
    let served = app.call(Method::GET, "/openapi.json").ask().await.expect(200);
    for path in [
        "/oauth/install/{platform}",
        "/oauth/callback/{platform}",
        "/oauth/installations",
        "/oauth/installations/{id}",
        "/oauth/token/{platform}",
    ] {
        assert!(served.body["paths"][path].is_object(), "{path}");
    }
    assert_eq!(app.call(Method::GET, "/health").ask().await.expect(200).body, json!({ "status": "ok" }));
}
