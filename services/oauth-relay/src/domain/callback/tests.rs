//! What is read out of requests.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn query(query: &str) -> Result<Callback, CallbackError> {
    Callback::from_query(query, &CodeKeys::default())
}

fn body(content_type: &str, body: &str) -> Result<Callback, CallbackError> {
    Callback::from_body(content_type, body.as_bytes(), &CodeKeys::default())
}

fn code_of(callback: Result<Callback, CallbackError>) -> Option<String> {
    callback.unwrap().code
}

#[test]
fn code_and_state_are_found_and_the_rest_is_kept() {
    let callback = query("code=abc&state=s%20t+u&iss=https%3A%2F%2Fas.example").unwrap();
    assert_eq!((callback.code.as_deref(), callback.state.as_deref()), (Some("abc"), Some("s t u")));
    assert_eq!(Value::Object(callback.raw), json!({ "state": "s t u", "iss": "https://as.example" }));
}

#[test]
fn code_keys_are_found_in_any_case_and_state_is_not() {
    for text in ["CODE=abc", "Code=abc", "authorization_code=abc", "Authorization_Code=abc"] {
        assert_eq!(code_of(query(text)).as_deref(), Some("abc"), "{text}");
    }
    assert_eq!(query("code=a&State=s").unwrap().state, None);
}

#[test]
fn the_order_of_the_keys_decides() {
    assert_eq!(code_of(query("authorization_code=second&code=first")).as_deref(), Some("first"));
    let keys = CodeKeys::parse("access_code, code").unwrap();
    let callback = Callback::from_query("code=second&access_code=first", &keys).unwrap();
    assert_eq!(callback.code.as_deref(), Some("first"));
}

#[test]
fn an_empty_code_is_none_and_the_next_key_is_tried() {
    let callback = query("code=&state=s").unwrap();
    assert_eq!(callback.code, None);
    assert_eq!(Value::Object(callback.raw), json!({ "code": "", "state": "s" }));
    assert_eq!(code_of(query("code=&authorization_code=b")).as_deref(), Some("b"));
}

#[test]
fn an_error_wins_over_a_code_and_the_code_is_not_handed_on() {
    let callback = query("code=abc&error=access_denied&state=s").unwrap();
    assert!(callback.is_denied);
    assert_eq!(callback.code, None);
    assert_eq!(Value::Object(callback.raw), json!({ "error": "access_denied", "state": "s" }));
    assert!(!query("code=abc&error=").unwrap().is_denied);
}

#[test]
fn what_may_come_once_is_refused_twice() {
    for text in ["code=a&code=b", "code=a&CODE=b", "state=a&state=a&code=c"] {
        assert_eq!(query(text), Err(CallbackError::Repeated), "{text}");
        assert_eq!(body("application/x-www-form-urlencoded", text), Err(CallbackError::Repeated));
    }
    assert_eq!(body("application/json", r#"{"code":"a","code":"b"}"#), Err(CallbackError::Repeated));
    let callback = query("scope=a&scope=b&code=c").unwrap();
    assert_eq!(callback.raw.get("scope"), Some(&json!(["a", "b"])));
}

#[test]
fn json_values_become_codes() {
    for (text, code) in [
        (r#"{"code":"abc"}"#, Some("abc")),
        (r#"{"code":123}"#, Some("123")),
        (r#"{"code":["first","second"]}"#, Some("first")),
        (r#"{"code":[]}"#, None),
        (r#"{"code":[["nested"]]}"#, None),
        (r#"{"code":null}"#, None),
        (r#"{"code":true}"#, None),
        (r#"{"code":{}}"#, None),
    ] {
        assert_eq!(code_of(body("application/json", text)).as_deref(), code, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    let bomb = "[".repeat(20_000);
    for (content_type, text) in [
        ("application/json", "not json"),
        ("application/json", "[1]"),
        ("application/json", "\"text\""),
        ("application/json", r#"{"code":"a"} {}"#),
        ("application/json", r#"{"code":"a\u0000"}"#),
        ("application/json", &format!(r#"{{"code":{bomb}"#)),
        ("application/x-www-form-urlencoded", "code=%ff"),
        ("application/x-www-form-urlencoded", "code=%00"),
        ("", "neither json nor form"),
        ("", "[1]"),
    ] {
        assert_eq!(body(content_type, text), Err(CallbackError::Unreadable), "{content_type} {text:.40}");
    }
    assert_eq!(body("application/json", "{}"), Err(CallbackError::Empty));
    assert_eq!(query(""), Err(CallbackError::Empty));
}

#[test]
fn a_state_that_is_no_text_is_refused_and_null_is_none() {
    for text in [r#"{"state":1}"#, r#"{"state":["a"]}"#, r#"{"state":{}}"#, r#"{"state":false}"#] {
        assert_eq!(body("application/json", text), Err(CallbackError::State), "{text}");
    }
    assert_eq!(body("application/json", r#"{"state":null,"code":"a"}"#).unwrap().state, None);
}

#[test]
fn the_content_type_says_how_and_may_be_missing() {
    for (content_type, text) in [
        ("application/json; charset=utf-8", r#"{"code":"abc"}"#),
        ("Application/JSON", r#"{"code":"abc"}"#),
        ("application/x-www-form-urlencoded;charset=UTF-8", "code=abc"),
        ("", r#"{"code":"abc"}"#),
        ("", "code=abc"),
        ("text/plain", "code=abc"),
    ] {
        assert_eq!(code_of(body(content_type, text)).as_deref(), Some("abc"), "{content_type} {text}");
    }
}

#[test]
fn plain_waiters_get_the_parameters_only_where_there_is_no_code() {
    let with_code = query("code=a&iss=b").unwrap();
    assert!(with_code.raw_for(false).is_none() && with_code.raw_for(true).is_some());
    let without = query("iss=b").unwrap();
    assert!(without.raw_for(false).is_some());
}

#[test]
fn code_keys_come_as_a_list_or_as_json() {
    assert_eq!(CodeKeys::parse("code,authorization_code").unwrap(), CodeKeys::default());
    assert_eq!(CodeKeys::parse(r#"["code", "authorization_code"]"#).unwrap(), CodeKeys::default());
    // As `.env` files are read, which loses the quotes.
    assert_eq!(CodeKeys::parse("[code, authorization_code]").unwrap(), CodeKeys::default());
    for text in ["", " , ", "[]", "[1]", "[\"a\"", "[a", "[ , ]"] {
        assert!(CodeKeys::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_read(code in "[^\0]+", state in "[^\0]+") {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &state)
            .finish();
        let callback = Callback::from_query(&query, &CodeKeys::default()).unwrap();
        prop_assert_eq!(callback.code, Some(code));
        prop_assert_eq!(callback.state, Some(state));
    }

    #[test]
    fn json_and_form_say_the_same(code in "[a-z]{1,20}", state in "[^\0]{1,20}") {
        let json = json!({ "code": code, "state": state }).to_string();
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &state)
            .finish();
        prop_assert_eq!(body("application/json", &json).unwrap(), body("", &form).unwrap());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        content_type in "(application/json|application/x-www-form-urlencoded|.*)",
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Callback::from_body(&content_type, &bytes, &CodeKeys::default());
    }

    #[test]
    fn a_code_never_stays_in_what_is_kept(query in "(code=[a-z]{8}|CODE=[0-9]{8})(&[a-b]=[a-z]{1,3}){0,3}") {
        let callback = Callback::from_query(&query, &CodeKeys::default()).unwrap();
        let code = callback.code.unwrap();
        prop_assert!(!Value::Object(callback.raw).to_string().contains(&code));
    }
}
