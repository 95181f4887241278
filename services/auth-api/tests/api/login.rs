//! `POST /auth/login`.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::helpers::{
    Answer, Ask, TestApp,
    fixtures::{DORA, ERIN, HENRY, OLGA},
    tokens,
};

#[tokio::test]
async fn a_login_answers_with_tokens_and_the_user() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let answer = app.try_login(&alice).await.expect(200);
    assert_eq!(answer.text_at("/token_type"), "Bearer");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.text_at("/user/id"), alice.id.to_string());
    assert_eq!(answer.text_at("/user/email"), alice.email);
    assert_eq!(answer.text_at("/user/org_id"), app.org_id().await.to_string());
    assert!(Uuid::parse_str(answer.text_at("/user/app_id")).is_ok());
    assert!(!answer.text_at("/user/username").is_empty());
    assert!(answer.text_at("/refresh_token").starts_with("art_"));
    let claims = tokens::claims(answer.text_at("/access_token"));
    assert_eq!(answer.body["user"]["roles"], claims["roles"]);
    assert_eq!(answer.body["user"]["permissions"], claims["permissions"]);
    assert_eq!(answer.body["user"]["app_id"], claims["app_id"]);
    assert_eq!(answer.text_at("/scope"), "openid profile email");
}

#[tokio::test]
async fn j1_the_header_names_the_type_the_algorithm_and_a_published_key() {
    let app = TestApp::spawn().await;
    let token = app.login(&app.alice().await).await.access_token;
    let header = tokens::header(&token);
    assert_eq!(header, json!({ "alg": "RS256", "typ": "at+jwt", "kid": tokens::kid(&token) }));
    let jwks = app.jwks().await.expect(200).body;
    assert!(tokens::is_signed_by(&token, &jwks));
    assert!(!tokens::is_signed_by(&tokens::forged(&token), &jwks));
}

#[tokio::test]
async fn j2_a_users_token_has_every_claim() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let session = app.login(&alice).await;
    let claims = tokens::claims(&session.access_token);
    assert_eq!(claims["iss"], crate::helpers::process::ISSUER);
    assert_eq!(claims["aud"], json!(["auth-api", "chat-api", "mozaiks-runtime", "oauth-integrations"]));
    assert_eq!(claims["sub"], alice.id.to_string());
    assert_eq!(claims["client_id"], "first-party");
    assert_eq!(claims["scope"], "openid profile email");
    assert_eq!(claims["org_id"], app.org_id().await.to_string());
    assert_eq!(claims["email"], alice.email);
    assert!(Uuid::parse_str(claims["sid"].as_str().unwrap()).is_ok());
    assert!(!claims["jti"].as_str().unwrap().is_empty());
    let number = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(number("iat"), number("nbf"));
    assert!(number("auth_time") <= number("iat"));
    assert_eq!(number("exp") - number("iat"), 900);
    assert_eq!(session.answer.number_at("/expires_in"), 900);
    assert!(claims.get("orgs").is_none(), "only services have orgs");
}

/// common-auth hashes the first 448 bytes once for all tokens that have them in common.
#[tokio::test]
async fn what_tokens_of_one_role_have_in_common_comes_first_whatever_the_org() {
    let app = TestApp::spawn().await;
    let (of_one_org, of_another) = (app.person(OLGA).await, app.carol().await);
    let [one, another] =
        [app.login(&of_one_org).await, app.login(&of_another).await].map(|session| session.access_token);
    assert_ne!(tokens::claims(&one)["org_id"], tokens::claims(&another)["org_id"]);
    let alike = one.bytes().zip(another.bytes()).take_while(|(one, another)| one == another).count();
    assert!(alike >= 448, "only {alike} bytes");
}

#[tokio::test]
async fn each_role_has_its_permissions_and_those_of_the_roles_below() {
    let app = TestApp::spawn().await;
    let guest = ["groups:read", "messages:read"];
    let member = ["messages:delete", "messages:edit", "messages:send", "workflows:run"];
    let admin = [
        "audit:read",
        "groups:create",
        "groups:delete",
        "groups:update",
        "integrations:manage",
        "members:manage",
        "messages:moderate",
    ];
    let owner = ["clients:manage", "org:manage"];
    let steps: [(Value, &[&str]); 4] = [
        (json!(["guest"]), &guest),
        (json!(["guest", "member"]), &member),
        (json!(["guest", "member", "admin"]), &admin),
        (json!(["guest", "member", "admin", "owner"]), &owner),
    ];
    let people = [app.person(ERIN).await, app.bob().await, app.alice().await, app.person(OLGA).await];
    let mut expected: Vec<&str> = Vec::new();
    for (person, (roles, adds)) in people.iter().zip(steps) {
        expected.extend(adds);
        expected.sort_unstable();
        let answer = app.try_login(person).await.expect(200);
        assert_eq!(answer.body["user"]["roles"], roles, "{}", person.email);
        assert_eq!(answer.each("/user/permissions", ""), expected, "{}", person.email);
    }
}

#[tokio::test]
async fn an_address_is_the_same_in_capitals_and_with_spaces_around() {
    let app = TestApp::spawn().await;
    let mut alice = app.alice().await;
    alice.email = format!(" {} ", alice.email.to_uppercase());
    let answer = app.try_login(&alice).await.expect(200);
    assert_eq!(answer.text_at("/user/id"), alice.id.to_string());
}

#[tokio::test]
async fn several_orgs_and_none_named_is_409_with_the_list() {
    let app = TestApp::spawn().await;
    let dora = app.person(DORA).await;
    let answer = app.try_login(&dora).await.problem(409, "org_required");
    let text = &answer.text;
    for org in [app.org_id().await, app.other_org_id().await] {
        assert!(text.contains(&org.to_string()), "{org} is not in {text}");
    }
    assert!(answer.cookies().is_empty());
    let wrong = json!({ "email": dora.email, "password": "SecurePass123!Nimda" });
    let refused = app.login_with(&wrong).await.problem(401, "invalid_credentials");
    assert!(!refused.text.contains(&app.org_id().await.to_string()), "the list comes after the password");
}

#[tokio::test]
async fn the_named_org_is_the_one_of_the_token() {
    let app = TestApp::spawn().await;
    for (org, roles) in
        [(app.org_id().await, json!(["guest", "member"])), (app.other_org_id().await, json!(["guest"]))]
    {
        let answer = login_to(&app, DORA, json!({ "org_id": org })).await.expect(200);
        let claims = tokens::claims(answer.text_at("/access_token"));
        assert_eq!(claims["org_id"], org.to_string());
        assert_eq!(claims["roles"], roles);
    }
}

#[tokio::test]
async fn an_org_that_is_not_the_users_is_refused_like_one_that_does_not_exist() {
    let app = TestApp::spawn().await;
    let foreign = login_to(&app, ERIN, json!({ "org_id": app.other_org_id().await })).await;
    let unknown = login_to(&app, ERIN, json!({ "org_id": Uuid::now_v7() })).await;
    let nowhere = login_to(&app, HENRY, json!({})).await;
    assert!((400..500).contains(&foreign.status), "{}", foreign.text);
    for other in [&unknown, &nowhere] {
        assert_eq!((foreign.status, &foreign.body["error"]), (other.status, &other.body["error"]));
    }
    assert!([&foreign, &unknown, &nowhere].iter().all(|answer| answer.cookies().is_empty()));
}

#[tokio::test]
async fn an_app_has_to_be_one_of_the_orgs() {
    let app = TestApp::spawn().await;
    let of_org = async |org: Uuid| {
        app.database
            .text(&format!("SELECT id::text FROM apps WHERE org_id = '{org}' ORDER BY id LIMIT 1"))
            .await
    };
    let (own, foreign) = (of_org(app.org_id().await).await, of_org(app.other_org_id().await).await);
    let chosen = login_to(&app, ERIN, json!({ "app_id": own })).await.expect(200);
    assert_eq!(tokens::claims(chosen.text_at("/access_token"))["app_id"], own);
    let first = login_to(&app, ERIN, json!({})).await.expect(200);
    assert_eq!(
        tokens::claims(first.text_at("/access_token"))["app_id"],
        own,
        "the first one where none is named"
    );
    login_to(&app, ERIN, json!({ "app_id": foreign })).await.problem(400, "invalid_app");
    login_to(&app, ERIN, json!({ "app_id": Uuid::now_v7() })).await.problem(400, "invalid_app");
}

/// Logs a person of the fixtures in, with more members in the body.
async fn login_to(app: &TestApp, email: &str, more: Value) -> Answer {
    let person = app.person(email).await;
    let mut body = json!({ "email": person.email, "password": person.password });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.login_with(&body).await
}

#[tokio::test]
async fn a_body_that_is_no_login_is_400() {
    let app = TestApp::spawn().await;
    for body in ["", "{", "[]", "{}", r#"{"email":"a@b.example"}"#, r#"{"email":1,"password":"x"}"#] {
        let request = app.post("/auth/login").header("content-type", "application/json").body(body);
        request.ask().await.problem(400, "validation_failed");
    }
    let odd = json!({ "email": 12_345_678, "password": ["hunter2"] });
    let answer = app.login_with(&odd).await.problem(400, "validation_failed");
    assert!(!answer.text.contains("hunter2") && !answer.text.contains("12345678"), "{}", answer.text);
    let alice = app.alice().await;
    let wrong_id = json!({ "email": alice.email, "password": alice.password, "org_id": "example" });
    app.login_with(&wrong_id).await.problem(400, "validation_failed");
}

#[tokio::test]
async fn a_form_of_another_page_is_no_login() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let body = json!({ "email": alice.email, "password": alice.password }).to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer =
            app.post("/auth/login").header("content-type", media_type).body(body.clone()).ask().await;
        assert!(matches!(answer.status, 400 | 415), "{media_type}: {} {}", answer.status, answer.text);
        assert!(answer.cookies().is_empty());
    }
    let login = |name: &str, value: &str| {
        app.post("/auth/login")
            .header("content-type", "application/json")
            .header(name, value)
            .body(body.clone())
    };
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let answer = login(name, value).ask().await.expect(403);
        assert!(answer.cookies().is_empty(), "{name}: {value}");
    }
    login("sec-fetch-site", "same-origin").ask().await.expect(200);
}

#[tokio::test]
async fn a_large_body_is_413() {
    let app = TestApp::spawn().await;
    let body = json!({ "email": "a@b.example", "password": "x".repeat(1024 * 1024) });
    app.login_with(&body).await.problem(413, "payload_too_large");
}

#[tokio::test]
async fn each_login_is_a_session_of_its_own() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let (first, second) = (app.login(&alice).await, app.login(&alice).await);
    let sid = |token: &str| tokens::claims(token)["sid"].clone();
    assert_ne!(sid(&first.access_token), sid(&second.access_token));
    assert_ne!(first.cookie, second.cookie);
}

#[tokio::test]
async fn the_four_paths_are_also_below_api_auth() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let body = json!({ "email": alice.email, "password": alice.password });
    let login = app.post("/api/auth/login").json(&body).ask().await.expect(200);
    let refresh = json!({ "refresh_token": login.text_at("/refresh_token") });
    let refreshed = app.post("/api/auth/refresh").json(&refresh).ask().await.expect(200);
    let token = refreshed.text_at("/access_token");
    let me = app.get("/api/auth/me").bearer_auth(token).ask().await.expect(200);
    assert!(me.text.contains(&alice.id.to_string()), "{}", me.text);
    let logout = app.post("/api/auth/logout").bearer_auth(token).json(&json!({})).ask().await;
    assert!(matches!(logout.status, 200 | 204), "{}", logout.text);
}
