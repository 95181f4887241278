//! The checklist's lines on the pages: nothing of a request comes back in them, and the browser is told to keep nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::helpers::{Answer, TestApp, state};

/// Every page that the callback path answers with.
async fn every_page(app: &TestApp) -> Vec<Answer> {
    let state = state("page");
    let mut waiter = app.wait_plain(Some(&state)).await;
    let complete = app.http.callback(&[("code", "C"), ("state", &state)]).await;
    waiter.last_frame().await;
    let mut waiter = app.wait_plain(Some(&state)).await;
    let denied = app.http.callback(&[("error", "access_denied"), ("state", &state)]).await;
    waiter.last_frame().await;
    let unmatched = app.http.callback(&[("code", "C"), ("state", &state)]).await;
    let unreadable = app.http.post(Some("application/json"), "{").await;
    let repeated = app.http.callback_query("code=a&code=b").await;
    let too_large = app.http.post(Some("application/json"), "x".repeat(70_000)).await;
    let too_long = app.http.callback_query(&"x".repeat(17_000)).await;
    let pages = vec![complete, denied, unmatched, unreadable, repeated, too_large, too_long];
    let statuses: Vec<u16> = pages.iter().map(|page| page.status.as_u16()).collect();
    assert_eq!(statuses, [200, 200, 404, 400, 400, 413, 414]);
    pages
}

/// The contents of every element of this name.
fn contents<'a>(page: &'a str, element: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{element}"), format!("</{element}>"));
    let after = page.split(open.as_str()).skip(1).map(|rest| rest.split_once('>').unwrap().1);
    after.map(|rest| rest.split_once(close.as_str()).unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_request_comes_back_in_a_page() {
    let app = TestApp::spawn().await;
    let payloads = [
        "<script>alert(1)</script>",
        "</script><script>canary",
        "\"><img src=x onerror=canary>",
        "' onload='canary",
        "</style><b>canary",
        "{{canary}}${canary}",
        "canary",
    ];
    for payload in payloads {
        for name in ["error", "error_description", "error_uri", "code", "iss", payload] {
            let state = format!("{payload}-{}", state("xss"));
            let mut waiter = app.wait_plain(Some(&state)).await;
            let answer = app.http.callback(&[(name, payload), ("state", &state)]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            waiter.last_frame().await;
            let unmatched = app.http.callback(&[(name, payload), ("state", &state)]).await;
            let posted = app.http.post_json(&json!({ name: payload, "state": payload })).await;
            for page in [answer, unmatched, posted] {
                assert!(!page.text.contains(payload), "{payload} in {}", page.text);
                assert!(!page.text.contains("canary") && !page.text.contains("alert(1)"), "{}", page.text);
                for (_, value) in &page.headers {
                    assert!(!value.to_str().unwrap().contains("canary"), "{:?}", page.headers);
                }
            }
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_the_same_bytes_whoever_asks() {
    let app = TestApp::spawn().await;
    let one = app.http.callback(&[("code", "C1"), ("state", "nobody-1")]).await;
    let other = app.http.callback(&[("code", "C2"), ("state", "nobody-2"), ("iss", "x")]).await;
    assert_eq!(one.text, other.text);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_has_the_headers() {
    let app = TestApp::spawn().await;
    for page in every_page(&app).await {
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(
                page.header(name).to_ascii_lowercase(),
                value.to_ascii_lowercase(),
                "{name}: {page:?}"
            );
        }
        let policy = page.header("content-security-policy");
        let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
        for directive in
            ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"]
        {
            assert!(directives.contains(&directive), "{directive} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_names_exactly_the_inline_style_and_script() {
    let app = TestApp::spawn().await;
    for page in every_page(&app).await {
        let policy = page.header("content-security-policy");
        for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
            let hashes: Vec<String> = contents(&page.text, element)
                .iter()
                .map(|text| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes()))))
                .collect();
            let allowed: Vec<&str> = policy
                .split(';')
                .filter_map(|part| part.trim().strip_prefix(directive))
                .flat_map(|sources| sources.split_whitespace())
                .collect();
            for hash in &hashes {
                assert!(allowed.contains(&hash.as_str()), "{hash} of a {element} is not in {policy}");
            }
            assert!(allowed.iter().all(|source| source.starts_with("'sha256-")), "{policy}");
        }
        assert!(!contents(&page.text, "style").is_empty(), "a page without a style");
        let is_handler = |word: &str| word.starts_with("on") && word.contains('=');
        let forbidden =
            page.text.split_whitespace().find(|word| word.starts_with("style=") || is_handler(word));
        assert_eq!(forbidden, None, "the policy forbids it");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_clears_the_query_from_the_history() {
    let app = TestApp::spawn().await;
    let pages = every_page(&app).await;
    let scripts = contents(&pages[0].text, "script");
    assert!(scripts.iter().any(|script| script.contains("history.replaceState")), "{scripts:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_load_nothing_from_elsewhere() {
    let app = TestApp::spawn().await;
    for page in every_page(&app).await {
        for reference in
            ["src=", "href=", "url(", "@import", "http://", "<iframe", "<form", "fetch(", "import("]
        {
            assert!(!page.text.contains(reference), "{reference} in {}", page.text);
        }
        assert!(page.text.starts_with("<!DOCTYPE html>") || page.text.starts_with("<!doctype html>"));
        assert!(page.text.contains("<html lang="), "{}", page.text);
        assert!(page.text.contains("<title>") && page.text.contains("viewport"), "{}", page.text);
    }
    app.stop().await;
}
