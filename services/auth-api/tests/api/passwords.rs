//! Passwords: every refusal alike, bounded work, current hashes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::helpers::{
    Answer, TestApp,
    fixtures::{FRANK, GRACE},
};

#[tokio::test]
async fn p5_every_refusal_looks_the_same() {
    let app = TestApp::spawn().await;
    let (alice, frank, grace) = (app.alice().await, app.person(FRANK).await, app.person(GRACE).await);
    let long = format!("{}@example.com", "x".repeat(20_000));
    let attempts = [
        ("unknown user", "nobody@example.com", "SecurePass123!Admin"),
        ("no address", "nobody", "SecurePass123!Admin"),
        ("an address with a NUL", "no\0body@example.com", "SecurePass123!Admin"),
        ("a long address", &long, "SecurePass123!Admin"),
        ("a long password", &*alice.email, &long),
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
        // None of them is made to wait.
        app.database.execute("DELETE FROM failures").await;
        for ((email, password), times) in classes.iter().zip(&mut times) {
            let body = json!({ "email": email, "password": password });
            times.push(app.login_with(&body).await.expect(401).took);
        }
    }
    // The quickest of each: what else runs on this machine only ever adds.
    let quickest: Vec<Duration> = times.iter().map(|times| *times.iter().min().unwrap()).collect();
    let (least, most) = (quickest.iter().min().unwrap(), quickest.iter().max().unwrap());
    // Without the hash a class would take a twentieth of the time.
    assert!(*most < *least * 3, "{quickest:?}");
}

#[tokio::test]
async fn p2_a_crowd_of_logins_is_bounded_and_the_keys_are_served_meanwhile() {
    let app = TestApp::spawn().await;
    // Each is somebody else, whom no failure before makes wait.
    let body = |number: usize| json!({ "email": format!("{number}@example.com"), "password": "SecurePass123!Nimda" });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // More than may wait: 32 for each thread that hashes.
    let bodies: Vec<_> = (0..threads * 48).map(body).collect();
    let crowd = join_all(bodies.iter().map(|body| app.login_with(body)));
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
