//! What every operation has in common: request ids, unknown paths, the two listeners, the contract.

use reqwest::Method;

use crate::helpers::{Ask, Process, TestApp, TestDatabase, process};

#[tokio::test]
async fn health_is_on_the_main_port_and_the_rest_on_the_admin_port() {
    let app = TestApp::spawn().await;
    let health = app.get("/health").ask().await.expect(200);
    assert_eq!(health.body, serde_json::json!({ "status": "ok" }));
    for path in ["/livez", "/readyz", "/metrics"] {
        app.admin(path).await.expect(200);
        app.get(path).ask().await.problem(404, "not_found");
    }
    for path in ["/health", "/auth/me", "/.well-known/jwks.json"] {
        app.admin(path).await.expect(404);
    }
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems() {
    let app = TestApp::spawn().await;
    app.get("/").ask().await.problem(404, "not_found");
    app.get("/api/auth/nothing").ask().await.problem(404, "not_found");
    let answer = app.call(Method::DELETE, "/api/auth/groups").ask().await.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET, POST"));
    app.get("/auth/login").ask().await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_request_id_is_kept_or_made() {
    let app = TestApp::spawn().await;
    let kept = app.get("/health").header("x-request-id", "abc-123").ask().await;
    assert_eq!(kept.header("x-request-id"), Some("abc-123"));
    let in_body = app
        .get("/auth/me")
        .header("x-request-id", "abc-123")
        .ask()
        .await
        .problem(401, "authentication_required");
    assert_eq!(in_body.text_at("/request_id"), "abc-123");
    let (first, second) = (app.get("/health").ask().await, app.get("/health").ask().await);
    assert!(first.header("x-request-id").is_some());
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    let long = app.get("/health").header("x-request-id", "x".repeat(4000)).ask().await;
    assert!(long.header("x-request-id").is_some_and(|id| id.len() <= 128));
}

#[tokio::test]
async fn a_browser_hears_only_what_is_for_its_origin() {
    let app = TestApp::with().set("ALLOWED_ORIGINS", "https://app.example,https://www.example").spawn().await;
    for origin in ["https://app.example", "https://www.example"] {
        let answer = app.get("/auth/me").header("origin", origin).ask().await.expect(401);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert!(answer.header("vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
    }
    let answer = app.get("/auth/me").header("origin", "https://app.example.evil.example").ask().await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn requests_are_measured_by_route_and_not_by_path() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    for _ in 0..3 {
        app.group(&token, uuid::Uuid::now_v7()).await.expect(404);
    }
    let line = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
                http_response_status_code=\"404\",http_route=\"/api/auth/groups/{group_id}\"}";
    assert!((app.metric(line).await - 3.0).abs() < 0.5);
    for path in ["/a", "/b", "/c"] {
        app.get(path).ask().await.expect(404);
    }
    let metrics = app.admin("/metrics").await.expect(200).text;
    assert!(!metrics.contains("\"/a\""), "{metrics}");
    for name in [
        "oauth2_permission_checks_total",
        "oauth2_token_validation",
        "jwks_refresh_total",
        "revocation_feed_age_seconds",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn the_contract_is_served_as_the_command_prints_it() {
    let app = TestApp::spawn().await;
    let served = app.get("/openapi.json").ask().await.expect(200);
    let printed = process::run(&["openapi"], &[]).await;
    assert_eq!(printed.code, Some(0));
    let printed: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(served.body, printed);
    assert!(served.text_at("/openapi").starts_with("3.1"));
}

#[tokio::test]
async fn each_log_line_is_one_json_object_with_the_request_id() {
    let database = TestDatabase::create().await;
    let mut settings = process::base_settings();
    settings.extend(database.settings(None));
    let mut server = Process::serve(&settings).await;
    crate::helpers::app::http().get(format!("{}/health", server.url)).ask().await.expect(200);
    server.signal("TERM").await;
    server.exit_code().await;
    for line in server.output().lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn u6_the_audit_is_kept_for_400_days() {
    let app = TestApp::spawn().await;
    let sql = "INSERT INTO audit (id, at, event, outcome) \
               SELECT gen_random_uuid(), now() - make_interval(days => days), 'of_day_' || days, 'ok' \
               FROM unnest(ARRAY[401, 399, 0]) AS days, generate_series(1, 1500)";
    app.database.execute(sql).await;
    auth_api::domain::retention::sweep(&app.identity().await).await.unwrap();
    for (days, left) in [(401, 0), (399, 1500), (0, 1500)] {
        let count = format!("SELECT count(*) FROM audit WHERE event = 'of_day_{days}'");
        assert_eq!(app.database.number(&count).await, left, "{days} days");
    }
}
