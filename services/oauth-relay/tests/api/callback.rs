//! The checklist's "HTTP": every form of a callback, what counts as the code, and what is refused without harm.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::helpers::{Answer, TestApp, Wire, state};

const FORM: &str = "application/x-www-form-urlencoded";

/// Sends bytes to the main listener and returns the status of what comes back, if something does.
async fn raw_request(app: &TestApp, request: &[u8]) -> Option<u16> {
    let address = app.http.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

/// Registers, calls back with what `call` makes of the state, and returns the delivery.
async fn delivered(app: &TestApp, call: impl AsyncFnOnce(&str) -> Answer) -> Value {
    let state = state("callback");
    let mut waiter = app.wait_plain(Some(&state)).await;
    let answer = call(&state).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    waiter.last_frame().await
}

/// The code of a delivery by a `GET` with these parameters.
async fn code_of(app: &TestApp, parameters: &[(&str, &str)]) -> Option<String> {
    let frame =
        delivered(app, async |state| app.http.callback(&[parameters, &[("state", state)]].concat()).await)
            .await;
    assert_eq!(frame.get("raw").is_some(), frame.get("code").is_none(), "{frame}");
    frame["code"].as_str().map(str::to_owned)
}

/// The waiter was not touched: it is still delivered to.
async fn still_waits(app: &TestApp, mut waiter: Wire, state: &str) {
    app.http.callback(&[("code", "the-real-one"), ("state", state)]).await.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "the-real-one");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_post_json_post_form_and_post_without_a_type_deliver() {
    let app = TestApp::spawn().await;
    let http = &app.http;
    let form = |state: &str| format!("code=C&state={state}&other=data");

    let by_get =
        delivered(&app, async |s| http.callback(&[("code", "C"), ("state", s), ("other", "x")]).await).await;
    let by_json =
        delivered(&app, async |s| http.post_json(&json!({ "code": "C", "state": s, "other": 1 })).await)
            .await;
    let by_form = delivered(&app, async |s| http.post(Some(FORM), form(s)).await).await;
    let bare_json =
        delivered(&app, async |s| http.post(None, json!({ "code": "C", "state": s }).to_string()).await)
            .await;
    let bare_form = delivered(&app, async |s| http.post(None, form(s)).await).await;
    let odd_type = delivered(&app, async |s| http.post(Some("text/plain"), form(s)).await).await;

    for frame in [by_get, by_json, by_form, bare_json, bare_form, odd_type] {
        assert_eq!((&frame["type"], &frame["code"]), (&json!("DELIVER"), &json!("C")), "{frame}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charset_parameter_is_tolerated() {
    let app = TestApp::spawn().await;
    let http = &app.http;
    for content_type in ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        let body = |state: &str| json!({ "code": "C", "state": state }).to_string();
        let frame = delivered(&app, async |s| http.post(Some(content_type), body(s)).await).await;
        assert_eq!(frame["code"], "C", "{content_type}");
    }
    let content_type = "application/x-www-form-urlencoded; charset=UTF-8";
    let frame =
        delivered(&app, async |s| http.post(Some(content_type), format!("state={s}&code=%C3%BC+%2B")).await)
            .await;
    assert_eq!(frame["code"], "ü +");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn response_mode_form_post_from_another_site_works() {
    let app = TestApp::spawn().await;
    for origin in ["https://login.provider.example", "null"] {
        let frame = delivered(&app, async |state| {
            let request = app.http.request(Method::POST, "/oauth/callback");
            let request = request.header("origin", origin).header("sec-fetch-site", "cross-site");
            let request = request.header("sec-fetch-mode", "navigate").header("content-type", FORM);
            Answer::read(request.body(format!("code=C&state={state}"))).await
        })
        .await;
        assert_eq!(frame["code"], "C");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_keys_match_in_any_case_and_their_order_decides() {
    let app = TestApp::spawn().await;
    for key in ["code", "CODE", "cOdE", "authorization_code", "Authorization_Code"] {
        assert_eq!(code_of(&app, &[(key, "V")]).await.as_deref(), Some("V"), "{key}");
    }
    let both = [("authorization_code", "second"), ("code", "first")];
    assert_eq!(code_of(&app, &both).await.as_deref(), Some("first"));
    for key in ["codes", "my_code", "co de", "auth_code"] {
        assert_eq!(code_of(&app, &[(key, "V")]).await, None, "{key}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_keys_can_be_set_as_a_comma_list_and_as_a_json_list() {
    for keys in ["auth_code, Access_Code", r#"["auth_code", "Access_Code"]"#] {
        let app = TestApp::spawn_with(&[("OAUTH_CODE_KEYS", keys)]).await;
        assert_eq!(code_of(&app, &[("AUTH_CODE", "A")]).await.as_deref(), Some("A"));
        assert_eq!(code_of(&app, &[("access_code", "B")]).await.as_deref(), Some("B"));
        let both = [("access_code", "B"), ("auth_code", "A")];
        assert_eq!(code_of(&app, &both).await.as_deref(), Some("A"), "{keys}");
        assert_eq!(code_of(&app, &[("code", "C")]).await, None, "{keys}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_may_be_a_list_or_a_number_in_json_and_empty_is_none() {
    let app = TestApp::spawn().await;
    let code = async |value: Value| {
        let body = |state: &str| json!({ "code": value, "state": state });
        delivered(&app, async |state| app.http.post_json(&body(state)).await).await
    };
    assert_eq!(code(json!(["first", "second"])).await["code"], "first");
    assert_eq!(code(json!(12345)).await["code"], "12345");
    assert_eq!(code(json!(9_007_199_254_740_993_u64)).await["code"], "9007199254740993");
    for empty in [json!(""), json!([]), json!(null)] {
        let frame = code(empty.clone()).await;
        assert!(frame.get("code").is_none() && frame.get("raw").is_some(), "{empty}: {frame}");
    }
    assert_eq!(code_of(&app, &[("code", "")]).await, None);
    assert_eq!(code_of(&app, &[("code", ""), ("authorization_code", "")]).await, None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_code_at_all_is_delivered_with_raw() {
    let app = TestApp::spawn().await;
    let state = state("fallback");
    let mut waiter = app.wait_plain(Some(&state)).await;

    let answer = app.http.callback(&[("token", "T"), ("state", &state)]).await;

    answer.is_complete();
    assert!(!answer.text.contains("Code received"), "there is none: {}", answer.text);
    let frame = waiter.last_frame().await;
    assert_eq!(frame, json!({ "type": "DELIVER", "state": state, "raw": { "token": "T", "state": state } }));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_state_or_code_is_400_and_consumes_nothing() {
    let app = TestApp::spawn().await;
    let state = state("repeated");
    let waiter = app.wait_plain(Some(&state)).await;
    for query in [
        format!("code=a&code=b&state={state}"),
        format!("code=a&state={state}&state={state}"),
        format!("code=a&state={state}&state=other"),
        format!("state=other&code=a&state={state}"),
        format!("code=a&%63ode=b&state={state}"),
    ] {
        app.http.callback_query(&query).await.is_page(400, "Authorization Failed");
        app.http.post(Some(FORM), query.clone()).await.is_page(400, "Authorization Failed");
    }
    still_waits(&app, waiter, &state).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_reaches_the_waiter_at_once_and_the_page_says_failed() {
    let app = TestApp::spawn().await;
    let state = state("denied");
    let parameters = [
        ("error", "access_denied"),
        ("error_description", "The user said no"),
        ("error_uri", "https://provider.example/why"),
        ("state", state.as_str()),
    ];
    for is_post in [false, true] {
        let mut waiter = app.wait_plain(Some(&state)).await;
        let started = Instant::now();
        let answer = if is_post {
            app.http.post_form(&parameters).await
        } else {
            app.http.callback(&parameters).await
        };
        answer.is_denied();
        let frame = waiter.last_frame().await;
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(frame.get("code").is_none(), "{frame}");
        for (name, value) in parameters {
            assert_eq!(frame["raw"][name], value, "{frame}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_and_error_together_are_an_error() {
    let app = TestApp::spawn().await;
    let state = state("both");
    let mut plain = app.wait_plain(Some(&state)).await;
    let parameters = [("code", "leaked-code"), ("error", "server_error"), ("state", &state)];
    app.http.callback(&parameters).await.is_denied();
    let frame = plain.last_frame().await;
    assert!(frame.get("code").is_none() && frame["raw"]["error"] == "server_error", "{frame}");
    assert!(!frame.to_string().contains("leaked-code"), "{frame}");

    let mut extended = app.wait_extended(&state).await;
    let delivery = tokio::spawn(async move { extended.acknowledge().await });
    app.http.callback(&parameters).await.is_denied();
    let frame = delivery.await.unwrap();
    assert!(frame.get("code").is_none() && frame["raw"]["error"] == "server_error", "{frame}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_on_success_brings_iss_and_the_rest_to_new_clients_only() {
    let app = TestApp::spawn().await;
    let state = state("iss");
    let issuer = "https://provider.example";
    let parameters =
        [("code", "C"), ("state", state.as_str()), ("iss", issuer), ("session_state", "s"), ("scope", "a b")];
    let mut extended = app.wait_extended(&state).await;
    let delivery = tokio::spawn(async move { extended.acknowledge().await });
    app.http.callback(&parameters).await.is_complete();
    let frame = delivery.await.unwrap();
    let raw = json!({ "state": state, "iss": issuer, "session_state": "s", "scope": "a b" });
    assert_eq!(frame, json!({ "type": "DELIVER", "state": state, "code": "C", "raw": raw }));

    let mut plain = app.wait_plain(Some(&state)).await;
    app.http.callback(&parameters).await.is_complete();
    assert_eq!(plain.last_frame().await, json!({ "type": "DELIVER", "state": state, "code": "C" }));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_413_and_queries_414() {
    let app = TestApp::spawn().await;
    let state = state("limits");
    let waiter = app.wait_plain(Some(&state)).await;
    let long = "x".repeat(64 * 1024);

    let body = json!({ "code": "C", "state": state, "padding": long }).to_string();
    assert_eq!(app.http.post(Some("application/json"), body.clone()).await.status, 413);
    assert_eq!(app.http.post(None, body).await.status, 413);
    assert_eq!(app.http.post(Some(FORM), format!("code=C&state={state}&p={long}")).await.status, 413);
    // Without a length, the limit is found on the way.
    let chunk = format!("{:x}\r\n{long}\r\n", long.len());
    let chunked = format!(
        "POST /oauth/callback HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {FORM}\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    assert_eq!(raw_request(&app, chunked.as_bytes()).await, Some(413));
    let query = format!("code=C&state={state}&padding={}", "x".repeat(16 * 1024));
    assert_eq!(app.http.callback_query(&query).await.status, 414);
    // Just beneath, both work.
    let query = format!("code=C&state=nobody&padding={}", "x".repeat(15 * 1024));
    app.http.callback_query(&query).await.is_unmatched();
    let body = json!({ "state": "nobody", "padding": "x".repeat(63 * 1024) });
    app.http.post_json(&body).await.is_unmatched();

    still_waits(&app, waiter, &state).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_400_never_500_and_the_relay_lives_on() {
    let app = TestApp::spawn().await;
    let state = state("unreadable");
    let waiter = app.wait_plain(Some(&state)).await;
    let depth = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"".to_vec(),
        b"null".to_vec(),
        b"\"text\"".to_vec(),
        b"[]".to_vec(),
        format!(r#"[{{"code":"C","state":"{state}"}}]"#).into_bytes(),
        depth(20_000).into_bytes(),
        format!(r#"{{"code":"C","state":"{state}","a":{}}}"#, depth(20_000)).into_bytes(),
        format!(r#"{{"code":"C","state":["{state}"]}}"#).into_bytes(),
        format!(r#"{{"code":"C","state":{{"a":"{state}"}}}}"#).into_bytes(),
        br#"{"code":"C","state":true}"#.to_vec(),
        br#"{"code":{"a":1},"state":5}"#.to_vec(),
        b"{\"code\":\"\xff\xfe\",\"state\":\"x\"}".to_vec(),
        b"{\"code\":\"a\0b\",\"state\":\"x\"}".to_vec(),
        br#"{"code":"a","state":"\ud800"}"#.to_vec(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = app.http.post(Some("application/json"), body).await;
        assert_eq!(answer.status, 400, "{shown}: {answer:?}");
        assert_eq!(answer.heading(), "Authorization Failed");
    }
    for query in ["code=%ff&state=x", "code=C&state=%c3%28", "code=a%00b&state=x", "code=C&state=%00"] {
        let answer = app.http.callback_query(query).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert_eq!(app.http.post(Some(FORM), query).await.status, 400, "{query}");
    }
    let requests: [&[u8]; 3] = [
        b"GET /oauth/callback?code=\xff&state=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /oauth/callback?code=\0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /oauth/callback HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n\xff\xfe\xfd\0\0",
    ];
    for request in requests {
        assert_eq!(raw_request(&app, request).await, Some(400), "{}", String::from_utf8_lossy(request));
    }
    still_waits(&app, waiter, &state).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_options_put_and_the_like_do_not_consume() {
    let app = TestApp::spawn().await;
    let state = state("methods");
    let waiter = app.wait_plain(Some(&state)).await;
    let path = format!("/oauth/callback?code=C&state={state}");
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let answer = app.http.ask(Method::from_bytes(method.as_bytes()).unwrap(), &path).await;
        assert!([404, 405].contains(&answer.status.as_u16()), "{method}: {answer:?}");
    }
    still_waits(&app, waiter, &state).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetch_does_not_consume() {
    let app = TestApp::spawn().await;
    let state = state("prefetch");
    let waiter = app.wait_plain(Some(&state)).await;
    let path = format!("/oauth/callback?code=C&state={state}");
    let headers = [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("Sec-Purpose", "prefetch; anonymous-client-ip"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
    ];
    for (name, value) in headers {
        let answer = Answer::read(app.http.request(Method::GET, &path).header(name, value)).await;
        assert!(!answer.status.is_success(), "{name}: {value}: {answer:?}");
        assert!(!answer.text.contains("Authorization Complete"));
    }
    still_waits(&app, waiter, &state).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_state_is_no_state() {
    let app = TestApp::spawn().await;
    let mut waiter = app.wait_plain(None).await;
    app.http.callback_query("code=C&state=").await.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "C");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callback_path_can_be_set() {
    let app = TestApp::spawn_with(&[("OAUTH_CALLBACK_PATH", "/elsewhere/cb")]).await;
    let state = state("path");
    let mut waiter = app.wait_plain(Some(&state)).await;
    assert_eq!(app.http.callback(&[("code", "C"), ("state", &state)]).await.status, 404);
    let answer = app.http.ask(Method::GET, &format!("/elsewhere/cb?code=C&state={state}")).await;
    answer.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "C");
    app.stop().await;
}
