//! Every operation of the contract without a token, with a wrong one, and with one that is good for nothing.

use common_auth::testing::TestIssuer;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::helpers::{
    Answer, Ask, TestApp, credentials,
    fixtures::{ERIN, WEAK},
    process, tokens,
};

/// What strangers may do, by the contract.
const OPEN: [&str; 10] = [
    "post /auth/login",
    "post /auth/refresh",
    "post /api/auth/login",
    "post /api/auth/refresh",
    "get /health",
    "get /openapi.json",
    "get /.well-known/jwks.json",
    "get /.well-known/openid-configuration",
    "get /.well-known/oauth-authorization-server",
    // It authenticates the client in its own way, as its tests show.
    "post /oauth/token",
];
/// Clients authenticate here, as RFC 6749 has it.
const BY_CLIENT: [&str; 2] = ["post /oauth/introspect", "post /oauth/revoke"];
/// A user may do this with any role.
const ANY_USER: [&str; 7] = [
    "get /auth/me",
    "get /api/auth/me",
    "post /auth/logout",
    "post /api/auth/logout",
    "get /api/auth/groups",
    "get /api/auth/groups/{group_id}",
    "get /api/auth/groups/{group_id}/members",
];

struct Operation {
    name: String,
    method: Method,
    path: String,
    is_open: bool,
}

/// The operations of the generated contract, with ids in their paths.
async fn operations(app: &TestApp) -> Vec<Operation> {
    let contract = app.get("/openapi.json").ask().await.expect(200);
    let mut operations = Vec::new();
    for (path, item) in contract.body["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "patch", "head", "options"] {
            let Some(operation) = item.get(method) else { continue };
            let filled = path.replace("{group_id}", &app.group_id().await.to_string());
            let filled = filled.replace("{org_id}", &app.org_id().await.to_string());
            let filled = filled.replace("{user_id}", &Uuid::now_v7().to_string());
            assert!(!filled.contains('{'), "{path} has an id that this test does not know");
            let security = operation.get("security").and_then(Value::as_array);
            operations.push(Operation {
                name: format!("{method} {path}"),
                method: method.to_uppercase().parse().unwrap(),
                path: filled,
                is_open: security.is_none_or(|ways| ways.iter().any(|way| *way == json!({}))),
            });
        }
    }
    assert!(operations.len() >= 20, "{} operations", operations.len());
    operations
}

impl Operation {
    async fn call(&self, app: &TestApp, token: Option<&str>) -> Answer {
        let request = app.call(self.method.clone(), &self.path);
        match token {
            Some(token) => request.bearer_auth(token).ask().await,
            None => request.ask().await,
        }
    }

    fn is_for_clients(&self) -> bool {
        BY_CLIENT.contains(&&*self.name)
    }
}

#[tokio::test]
async fn what_is_open_is_written_down_here() {
    let app = TestApp::spawn().await;
    for operation in operations(&app).await {
        let is_expected = OPEN.contains(&&*operation.name) || BY_CLIENT.contains(&&*operation.name);
        assert!(!operation.is_open || is_expected, "{} is open to strangers", operation.name);
        if !is_expected {
            let answer = operation.call(&app, None).await;
            assert_eq!(
                answer.status, 401,
                "{} is {} although it needs a token",
                operation.name, answer.status
            );
        }
    }
}

#[tokio::test]
async fn j4_without_a_token_every_operation_is_401() {
    let app = TestApp::spawn().await;
    for operation in operations(&app).await.iter().filter(|it| !OPEN.contains(&&*it.name)) {
        let answer = operation.call(&app, None).await;
        assert_eq!(answer.status, 401, "{}: {}", operation.name, answer.text);
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        if operation.is_for_clients() {
            assert!(
                challenge.starts_with("Basic realm=") || challenge.starts_with("Bearer realm="),
                "{}",
                operation.name
            );
            continue;
        }
        let answer = answer.problem(401, "authentication_required");
        assert_eq!(answer.text_at("/detail"), "Authentication required", "{}", operation.name);
        assert!(challenge.starts_with("Bearer realm=") && !challenge.contains("error="), "{challenge}");
    }
}

#[tokio::test]
async fn j3_j5_with_a_wrong_token_every_operation_is_401() {
    let app = TestApp::spawn().await;
    let good = app.login(&app.alice().await).await.access_token;
    let stranger = TestIssuer::new(process::ISSUER);
    let alice = app.alice().await.id;
    let [_, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    let wrong = [
        ("garbage", "garbage".to_owned()),
        ("another signature", tokens::forged(&good)),
        (
            "another issuer's key",
            stranger.user(alice, app.org_id().await).permissions(&["groups:read"]).sign(),
        ),
        (
            "another key under our kid",
            stranger.user(alice, app.org_id().await).header("kid", json!(tokens::kid(&good))).sign(),
        ),
        ("alg none", format!("{unsigned}.{payload}.")),
        ("alg none with a signature", format!("{unsigned}.{payload}.{signature}")),
        ("a refresh token", app.login(&app.alice().await).await.refresh_token),
        ("long", "x".repeat(6000)),
    ];
    for operation in operations(&app).await {
        if OPEN.contains(&&*operation.name) || operation.name == "post /oauth/revoke" {
            continue;
        }
        for (what, token) in &wrong {
            let answer = operation.call(&app, Some(token)).await;
            assert_eq!(answer.status, 401, "{} with {what}: {}", operation.name, answer.text);
            // An OAuth endpoint answers in RFC 6749's form.
            let is_oauth = operation.name == "post /oauth/introspect";
            let answer = if is_oauth {
                answer.oauth_error(401, "invalid_token")
            } else {
                answer.problem(401, "invalid_token")
            };
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(
                challenge.contains("error=\"invalid_token\""),
                "{} with {what}: {challenge}",
                operation.name
            );
        }
    }
}

#[tokio::test]
async fn an_expired_token_says_so() {
    let app = TestApp::with().set("ACCESS_TOKEN_TTL_SECONDS", 10).spawn().await;
    let identity = app.identity().await;
    let good = app.login(&app.alice().await).await.access_token;
    app.me(&tokens::resign(&identity, &good, |_| {})).await.expect(200);
    let shifted = |by: i64| {
        tokens::resign(&identity, &good, |claims| {
            (claims.iat, claims.nbf, claims.exp) = (claims.iat + by, Some(claims.iat + by), claims.exp + by);
        })
    };
    for seconds in [-1000, -90] {
        app.me(&shifted(seconds)).await.problem(401, "token_expired");
    }
    // Clocks may differ a little; a day is no little.
    app.me(&shifted(86_400)).await.problem(401, "invalid_token");
}

#[tokio::test]
async fn j3_a_token_of_ours_for_somebody_else_is_refused() {
    let app = TestApp::spawn().await;
    let identity = app.identity().await;
    let good = app.login(&app.alice().await).await.access_token;
    let elsewhere = tokens::resign(&identity, &good, |claims| claims.aud = vec!["chat-api".to_owned()]);
    let nobody = tokens::resign(&identity, &good, |claims| claims.aud = Vec::new());
    let issuer = tokens::resign(&identity, &good, |claims| claims.iss.push('/'));
    let org = tokens::resign(&identity, &good, |claims| claims.org_id = None);
    for token in [elsewhere, nobody, issuer, org] {
        app.me(&token).await.problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn every_operation_of_the_contract_is_there() {
    let app = TestApp::spawn().await;
    for operation in operations(&app).await {
        let answer = operation.call(&app, None).await;
        assert!(!matches!(answer.status, 404 | 405), "{}: {}", operation.name, answer.status);
        assert!(answer.status < 500, "{}: {}", operation.name, answer.text);
    }
}

#[tokio::test]
async fn j6_with_a_token_that_is_good_for_nothing_every_operation_is_403() {
    let app = TestApp::spawn().await;
    let service = app.service_token(&credentials(WEAK)).await;
    for operation in operations(&app).await {
        if OPEN.contains(&&*operation.name) || operation.is_for_clients() {
            continue;
        }
        let answer = operation.call(&app, Some(&service)).await;
        assert_eq!(answer.status, 403, "{}: {}", operation.name, answer.text);
        let code = answer.body["error"].as_str().unwrap_or_default().to_owned();
        assert!(matches!(&*code, "insufficient_scope" | "permission_denied"), "{}: {code}", operation.name);
        if code == "insufficient_scope" {
            assert!(
                answer
                    .header("www-authenticate")
                    .is_some_and(|it| it.contains("error=\"insufficient_scope\", scope=\""))
            );
        }
    }
}

#[tokio::test]
async fn a_guest_may_only_look() {
    let app = TestApp::spawn().await;
    let guest = app.login(&app.person(ERIN).await).await.access_token;
    for operation in operations(&app).await {
        let is_open = OPEN.contains(&&*operation.name) || ANY_USER.contains(&&*operation.name);
        if is_open || operation.is_for_clients() {
            continue;
        }
        let answer = operation.call(&app, Some(&guest)).await;
        assert_eq!(answer.status, 403, "{}: {}", operation.name, answer.text);
    }
}

#[tokio::test]
async fn j7_two_authorization_headers_are_400() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let request =
        app.get("/api/auth/groups").bearer_auth(&token).header("authorization", format!("Bearer {token}"));
    request.ask().await.problem(400, "invalid_request");
}

#[tokio::test]
async fn every_operation_says_how_it_may_fail() {
    let app = TestApp::spawn().await;
    let contract = app.get("/openapi.json").ask().await.expect(200);
    for operation in operations(&app).await {
        let (method, path) = operation.name.split_once(' ').unwrap();
        let documented = &contract.body["paths"][path][method];
        assert!(
            documented["operationId"].is_string() && documented["responses"].is_object(),
            "{}",
            operation.name
        );
        if !OPEN.contains(&&*operation.name) {
            for status in ["401", "503"] {
                assert!(documented["responses"].get(status).is_some(), "{} has no {status}", operation.name);
            }
        }
    }
}
