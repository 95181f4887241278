//! The committed schema of the frames, as much of JSON Schema as it uses.

use std::{path::Path, sync::OnceLock};

use serde_json::Value;

/// Asserts that a frame which really came is one of those that the schema knows.
#[track_caller]
pub(crate) fn assert_in_schema(frame: &Value) {
    let name = frame["type"].as_str().unwrap_or_default();
    let definition = &schema()["$defs"][name];
    assert!(definition.is_object(), "the schema has no {frame}");
    let names_of = |list: &Value| {
        let names = list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        names.collect::<Vec<_>>()
    };
    for required in names_of(&definition["required"]) {
        assert!(frame.get(&required).is_some(), "{required} is missing in {frame}");
    }
    if let Some(choices) = definition["anyOf"].as_array() {
        let is_met = |choice: &Value| names_of(&choice["required"]).iter().all(|it| frame.get(it).is_some());
        assert!(choices.iter().any(is_met), "{frame} is incomplete");
    }
    for (key, value) in frame.as_object().unwrap() {
        let property = &definition["properties"][key];
        assert!(property.is_object(), "the schema has no {key} in {frame}");
        let property = match property["$ref"].as_str() {
            Some(reference) => schema().pointer(reference.trim_start_matches('#')).unwrap(),
            None => property,
        };
        let is_typed = match property["type"].as_str() {
            Some("string") => value.is_string(),
            Some("object") => value.is_object(),
            Some(other) => panic!("a type that this check does not know: {other}"),
            None => true,
        };
        let is_constant = property.get("const").is_none_or(|constant| constant == value);
        let is_listed = property["enum"].as_array().is_none_or(|values| values.contains(value));
        assert!(is_typed && is_constant && is_listed, "{key} of {frame} is not as the schema says");
    }
}

fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/relay-frames.schema.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    })
}
