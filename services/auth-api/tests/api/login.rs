//! `POST /auth/login`.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::helpers::{
    Answer, Ask, TestApp,
    fixtures::{DORA, ERIN, FRANK, GRACE, HENRY, OLGA},
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
async fn p5_every_refusal_looks_the_same() {
    let app = TestApp::spawn().await;
    let (alice, frank, grace) = (app.alice().await, app.person(FRANK).await, app.person(GRACE).await);
    let attempts = [
        ("unknown user", "nobody@example.com", "SecurePass123!Admin"),
        ("no address", "nobody", "SecurePass123!Admin"),
        ("wrong password", &*alice.email, "SecurePass123!Nimda"),
        ("empty password", &*alice.email, ""),
        ("a password that goes on", &*alice.email, "SecurePass123!AdminX"),
        ("a password that stops early", &*alice.email, "SecurePass123!Admi"),
        ("disabled user", &*frank.email, &*frank.password),
        ("user without a password", &*grace.email, &*grace.password),
        ("user without a password, empty", &*grace.email, ""),
    ];
    let mut bodies = Vec::new();
    for (what, email, password) in attempts {
        let answer = app.login_with(&json!({ "email": email, "password": password })).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text);
        assert!(answer.cookies().is_empty(), "{what}");
        let mut body = answer.problem(401, "invalid_credentials").body;
        body["request_id"].take();
        bodies.push(body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
}

#[tokio::test]
async fn p5_every_refusal_costs_the_same_work() {
    let app = TestApp::spawn().await;
    let (alice, frank, grace) = (app.alice().await, app.person(FRANK).await, app.person(GRACE).await);
    let classes = [
        ("nobody@example.com", "SecurePass123!Nimda"),
        (&*alice.email, "SecurePass123!Nimda"),
        (&*alice.email, ""),
        (&*frank.email, &*frank.password),
        (&*grace.email, "SecurePass123!Nimda"),
    ];
    let mut times = vec![Vec::new(); classes.len()];
    // Interleaved, so that whatever else runs on this machine slows all classes alike.
    for _ in 0..9 {
        for ((email, password), times) in classes.iter().zip(&mut times) {
            let body = json!({ "email": email, "password": password });
            times.push(app.login_with(&body).await.expect(401).took);
        }
    }
    let medians: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    // A class without the hash takes a tenth of the time; the scheduler's noise is smaller than a half.
    assert!(*most < *least * 2, "medians: {medians:?}");
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
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

#[tokio::test]
async fn p2_a_crowd_of_logins_is_bounded_and_the_keys_are_served_meanwhile() {
    let app = TestApp::spawn().await;
    let body = json!({ "email": "nobody@example.com", "password": "SecurePass123!Nimda" });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // More than may wait: 32 for each thread that hashes.
    let crowd = join_all((0..threads * 48).map(|_| app.login_with(&body)));
    let keys = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..40 {
            slowest = slowest.max(app.jwks().await.expect(200).took);
        }
        slowest
    };
    let (answers, slowest) = tokio::join!(crowd, keys);
    assert!(slowest < Duration::from_millis(500), "the keys took {slowest:?}");
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 401).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len(), "{} of {}", refused.len(), answers.len());
    for answer in refused {
        assert!(matches!(answer.status, 429 | 503), "{}", answer.text);
        assert!(answer.header("retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok()));
    }
    app.login(&app.alice().await).await;
}

#[tokio::test]
async fn p3_a_hash_with_old_parameters_is_replaced_at_login() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let old = {
        let params = argon2::Params::new(8192, 1, 1, None).unwrap();
        let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon2::PasswordHasher::hash_password_with_salt(&argon, alice.password.as_bytes(), &[7_u8; 16])
            .unwrap()
            .to_string()
    };
    let client = app.database.client().await;
    client.execute("UPDATE users SET password_hash = $1 WHERE id = $2", &[&old, &alice.id]).await.unwrap();
    app.login(&alice).await;
    let hash = app.database.text(&format!("SELECT password_hash FROM users WHERE id = '{}'", alice.id)).await;
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    app.login(&alice).await;
}

#[tokio::test]
async fn logins_are_written_down_with_their_outcome_and_without_secrets() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    app.login(&alice).await;
    app.login_with(&json!({ "email": alice.email, "password": "SecurePass123!Nimda" })).await.expect(401);
    let count = |outcome: &str| {
        format!(
            "SELECT count(*) FROM audit WHERE event LIKE 'login%' AND outcome = '{outcome}' AND request_id IS NOT NULL"
        )
    };
    assert_eq!(app.database.number(&count("ok")).await, 1);
    assert_eq!(app.database.number(&count("refused")).await, 1);
    let rows = app.database.text("SELECT string_agg(audit::text, ' ') FROM audit").await;
    for secret in ["SecurePass", "example.com"] {
        assert!(!rows.contains(secret), "{secret} in {rows}");
    }
}
