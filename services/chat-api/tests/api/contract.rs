//! The contract: generated, committed, and true.

use std::{fs, path::Path};

use serde_json::{Value, json};

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

#[test]
fn every_error_is_a_problem() {
    let contract: Value = serde_json::from_str(&committed()).unwrap();
    let mut errors = 0;
    for (path, item) in contract["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with('2') {
                    continue;
                }
                let types: Vec<&String> = response["content"].as_object().unwrap().keys().collect();
                assert_eq!(types, ["application/problem+json"], "{method} {path} {status}");
                errors += 1;
            }
        }
    }
    assert!(errors > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_form_that_the_contract_says() {
    let app = TestApp::spawn().await;
    let contract: Value = serde_json::from_str(&committed()).unwrap();
    let schema = |path: &str, method: &str, status: &str| {
        let response = &contract["paths"][path][method]["responses"][status]["content"];
        response.as_object().unwrap().values().next().unwrap()["schema"].clone()
    };
    let token = app.token(app.bob);
    let root = app.send(app.alice, json!({ "content": "root" })).await;
    let reply = app.send(app.bob, json!({ "content": "reply", "thread_root": root.body["id"] })).await;
    let (groups, group) = ("/api/chat/groups", "/api/chat/groups/{group_id}");
    let messages = "/api/chat/groups/{group_id}/messages";
    let message_id = root.body["id"].as_str().unwrap();

    let answers = [
        (app.client.list_groups(&token, "").await, schema(groups, "get", "200")),
        (app.client.list_groups(&token, "?include=activity").await, schema(groups, "get", "200")),
        (app.client.get_group(&token, app.group_id, "").await, schema(group, "get", "200")),
        (app.client.get_group(&token, app.group_id, "?include=activity").await, schema(group, "get", "200")),
        (app.client.get_group(&token, app.org_id, "").await, schema(group, "get", "404")),
        (reply, schema(messages, "post", "201")),
        (app.history("").await, schema(messages, "get", "200")),
        (
            app.client.get_message(&token, app.group_id, message_id).await,
            schema("/api/chat/groups/{group_id}/messages/{message_id}", "get", "200"),
        ),
        (
            app.client.put_read_mark(&token, app.group_id, 1).await,
            schema("/api/chat/groups/{group_id}/read", "put", "200"),
        ),
    ];
    for (answer, schema) in answers {
        assert!(fits(&answer.body, &schema, &contract), "{answer:?}\n{schema:#}");
    }
    app.stop().await;
}

/// Whether a value is of the form of a schema, in the words of JSON Schema that the contract uses.
fn fits(value: &Value, schema: &Value, contract: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(value, contract.pointer(reference.trim_start_matches('#')).unwrap(), contract);
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is unknown here"),
    };
    let has_type = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        _ => true,
    };
    let all = |keyword: &str| schema[keyword].as_array().into_iter().flatten();
    let count = all("oneOf").filter(|schema| fits(value, schema, contract)).count();
    has_type
        && (schema["oneOf"].is_null() || count == 1)
        && all("allOf").all(|schema| fits(value, schema, contract))
        && all("required").all(|name| value.get(name.as_str().unwrap()).is_some())
        && value.as_array().into_iter().flatten().all(|item| fits(item, &schema["items"], contract))
        && schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(name, schema)| value.get(name).is_none_or(|value| fits(value, schema, contract)))
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
