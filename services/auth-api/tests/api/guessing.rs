//! Guessing passwords: who fails too often waits, whoever it is, and nobody else does.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::helpers::{
    Answer, Ask, TestApp,
    fixtures::{DORA, ERIN, HENRY, Person},
};

/// The window of an account's failures from everywhere.
const HOUR: u64 = 3600;

/// Tries until it has to wait; how often it was refused before, and the answer that said so.
async fn fail_until_limited(app: &TestApp, email: &str) -> (usize, Answer) {
    for failures in 0..20 {
        let answer = app.login_with(&wrong(email)).await;
        if answer.status == 429 {
            return (failures, answer);
        }
        answer.problem(401, "invalid_credentials");
    }
    panic!("{email} may be guessed at without an end");
}

fn wrong(email: &str) -> Value {
    json!({ "email": email, "password": "SecurePass123!Nimda" })
}

/// A login that came through proxies.
fn from(app: &TestApp, chain: &str, body: &Value) -> RequestBuilder {
    app.post("/auth/login").header("x-forwarded-for", chain).json(body)
}

fn body_of(person: &Person) -> Value {
    json!({ "email": person.email, "password": person.password })
}

/// The seconds that an answer asks to wait.
#[track_caller]
fn wait_of(answer: &Answer) -> u64 {
    let wait = answer.header("retry-after").and_then(|wait| wait.parse().ok());
    wait.unwrap_or_else(|| panic!("no time to wait: {:?}", answer.headers))
}

/// The counts of an account from a network.
const HERE: &str = "SELECT count(*) FROM failures WHERE network <> '' AND identifier <> ''";

/// As if the last failure of everybody had been a quarter of an hour ago.
const LATER: &str = "UPDATE failures SET last_at = last_at - interval '15 minutes'";

#[tokio::test]
async fn p6_every_name_is_limited_alike_known_or_not() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let mut bodies = Vec::new();
    for name in [&*alice.email, "nobody@example.com", "MyPassword in the wrong field", ""] {
        let (failures, answer) = fail_until_limited(&app, name).await;
        assert!((5..8).contains(&failures), "{name}: {failures}");
        wait_of(&answer);
        let mut answer = answer.problem(429, "rate_limited");
        answer.body["request_id"].take();
        bodies.push(answer.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    assert!(bodies[0]["detail"].as_str().is_some_and(|detail| detail.contains("failed")), "{bodies:?}");
    app.login(&app.bob().await).await;
}

#[tokio::test]
async fn p6_a_name_is_one_however_it_is_written_and_never_stored() {
    let app = TestApp::spawn().await;
    for name in ["Nobody@Example.com", " nobody@example.com ", "NOBODY@EXAMPLE.COM"] {
        app.login_with(&wrong(name)).await.expect(401);
    }
    assert_eq!(app.database.number(HERE).await, 1);
    let rows = app.database.text("SELECT string_agg(failures::text, ' ') FROM failures").await;
    assert!(!rows.to_lowercase().contains("nobody"), "{rows}");
}

#[tokio::test]
async fn p8_from_the_fifth_failure_each_one_waits_twice_as_long() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    for _ in 0..4 {
        app.login_with(&wrong(&alice.email)).await.expect(401);
    }
    let mut waits = Vec::new();
    for _ in 0..13 {
        app.login_with(&wrong(&alice.email)).await.expect(401);
        // Nothing of it passes while one looks.
        app.database.execute("UPDATE failures SET last_at = now() + interval '10 seconds'").await;
        waits.push(wait_of(&app.login_with(&wrong(&alice.email)).await.problem(429, "rate_limited")));
        app.database.execute("UPDATE failures SET last_at = now() - interval '20 minutes'").await;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
}

#[tokio::test]
async fn p8_who_waits_costs_nothing_and_a_success_ends_it() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    fail_until_limited(&app, &alice.email).await;
    let noted = "SELECT count(*) FROM audit WHERE event = 'login_limited' AND outcome = 'refused' AND target IS NOT NULL";
    assert!(app.database.number(noted).await >= 1);
    app.database.execute("UPDATE failures SET count = 15, last_at = now()").await;
    let tried = app.database.number("SELECT count(*) FROM audit").await;
    for _ in 0..10 {
        let answer = app.try_login(&alice).await.problem(429, "rate_limited");
        assert!((890..=900).contains(&wait_of(&answer)), "{:?}", answer.headers);
    }
    assert_eq!(app.database.number("SELECT count(*) FROM audit").await, tried, "no password was looked at");
    let limited = app.metric("authentications_limited_total{kind=\"login\"}").await;
    assert!(limited >= 10.0, "{limited}");
    app.database.execute(LATER).await;
    app.login(&alice).await;
    assert_eq!(app.database.number(HERE).await, 0);
    for _ in 0..4 {
        app.login_with(&wrong(&alice.email)).await.expect(401);
    }
    app.login(&alice).await;
}

#[tokio::test]
async fn p8_an_hour_without_a_failure_is_a_new_beginning() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    app.login_with(&wrong(&alice.email)).await.expect(401);
    let sql = "UPDATE failures SET count = 40, last_at = now() - interval '1 hour', expires_at = now()";
    app.database.execute(sql).await;
    for _ in 0..4 {
        app.login_with(&wrong(&alice.email)).await.expect(401);
    }
    app.login(&alice).await;
}

#[tokio::test]
async fn p8_a_crowd_at_once_guesses_hardly_more_often() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    let body = wrong(&alice.email);
    let answers = join_all((0..60).map(|_| app.login_with(&body))).await;
    let guesses = answers.iter().filter(|answer| answer.status == 401).count();
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)));
    // Those whose hash was under way when the fifth was counted.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    assert!((5..=5 + 3 * threads).contains(&guesses), "{guesses} guesses");
}

#[tokio::test]
async fn p8_an_account_under_attack_is_open_from_where_its_owner_was_before() {
    let app = TestApp::with().set("TRUSTED_PROXIES", "127.0.0.1").spawn().await;
    let alice = app.alice().await;
    let (at_home, on_a_journey) = ("198.51.100.7", "192.0.2.1");
    from(&app, at_home, &body_of(&alice)).ask().await.expect(200);
    from(&app, "203.0.113.1", &wrong(&alice.email)).ask().await.expect(401);
    app.database.execute("UPDATE failures SET count = 49 WHERE network = ''").await;
    from(&app, on_a_journey, &body_of(&alice)).ask().await.expect(200);
    app.database.execute("DELETE FROM known_networks WHERE network LIKE '192.%'").await;
    // The last one that counts, and then nobody from elsewhere.
    from(&app, "203.0.114.1", &wrong(&alice.email)).ask().await.expect(401);
    for chain in ["203.0.115.1", on_a_journey] {
        let answer = from(&app, chain, &body_of(&alice)).ask().await.problem(429, "rate_limited");
        assert!((1..=HOUR).contains(&wait_of(&answer)), "{:?}", answer.headers);
    }
    // At home one may go on, and even fail, within the limit of that place.
    from(&app, at_home, &wrong(&alice.email)).ask().await.expect(401);
    from(&app, "198.51.100.200", &body_of(&alice)).ask().await.expect(200);
    let bob = app.bob().await;
    from(&app, "203.0.115.1", &body_of(&bob)).ask().await.expect(200);
    // What was a month ago is forgotten.
    app.database.execute("UPDATE known_networks SET seen_at = seen_at - interval '31 days'").await;
    from(&app, at_home, &body_of(&alice)).ask().await.problem(429, "rate_limited");
    app.database.execute("UPDATE failures SET expires_at = now()").await;
    from(&app, on_a_journey, &body_of(&alice)).ask().await.expect(200);
}

#[tokio::test]
async fn p8_a_network_that_tries_everybody_waits_but_for_those_at_home_there() {
    let app = TestApp::with().set("TRUSTED_PROXIES", "127.0.0.1").spawn().await;
    let (alice, bob) = (app.alice().await, app.bob().await);
    let (office, elsewhere) = ("198.51.100.7", "192.0.2.1");
    from(&app, office, &body_of(&alice)).ask().await.expect(200);
    for number in 0..3 {
        let chain = format!("198.51.100.{number}");
        from(&app, &chain, &wrong(&format!("nobody-{number}@example.com"))).ask().await.expect(401);
    }
    let of_network =
        "SELECT count::bigint FROM failures WHERE identifier = '' AND network = '198.51.100.0/24'";
    assert_eq!(app.database.number(of_network).await, 3);
    app.database.execute("UPDATE failures SET count = 120 WHERE identifier = ''").await;
    from(&app, elsewhere, &wrong("nobody-4@example.com")).ask().await.expect(401);

    for body in [body_of(&bob), wrong("nobody-5@example.com")] {
        let answer = from(&app, office, &body).ask().await.problem(429, "rate_limited");
        assert!((1..=60).contains(&wait_of(&answer)), "{:?}", answer.headers);
    }
    from(&app, office, &body_of(&alice)).ask().await.expect(200);
    from(&app, elsewhere, &body_of(&bob)).ask().await.expect(200);

    // A newcomer gets in a minute after the last failure, which ends nothing for the others.
    app.database.execute("UPDATE failures SET last_at = last_at - interval '1 minute'").await;
    from(&app, office, &body_of(&bob)).ask().await.expect(200);
    assert_eq!(app.database.number(of_network).await, 120);
    from(&app, office, &wrong("nobody-6@example.com")).ask().await.expect(401);
    from(&app, office, &wrong("nobody-7@example.com")).ask().await.problem(429, "rate_limited");
    app.database.execute("UPDATE failures SET expires_at = now()").await;
    from(&app, office, &wrong("nobody-7@example.com")).ask().await.expect(401);
    assert_eq!(app.database.number(of_network).await, 1);
}

#[tokio::test]
async fn p9_right_passwords_at_once_never_fail() {
    let app = TestApp::spawn().await;
    let alice = app.alice().await;
    for _ in 0..4 {
        app.login_with(&wrong(&alice.email)).await.expect(401);
    }
    let answers = join_all((0..24).map(|_| app.try_login(&alice))).await;
    let statuses: HashSet<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, HashSet::from([200]));
}

#[tokio::test]
async fn p9_a_refusal_after_the_right_password_is_no_failure() {
    let app = TestApp::spawn().await;
    let mut in_no_app = body_of(&app.person(ERIN).await);
    in_no_app["app_id"] = json!(uuid::Uuid::now_v7());
    for _ in 0..6 {
        app.try_login(&app.person(DORA).await).await.problem(409, "org_required");
        app.try_login(&app.person(HENRY).await).await.problem(404, "not_found");
        app.login_with(&in_no_app).await.problem(400, "invalid_app");
        app.login_with(&json!({ "email": ERIN })).await.problem(400, "validation_failed");
    }
    assert_eq!(app.database.number("SELECT count(*) FROM failures").await, 0);
}

#[tokio::test]
async fn p10_two_replicas_count_together_and_a_new_one_goes_on() {
    let app = TestApp::spawn().await;
    let other = TestApp::with().on(&app.database).spawn().await;
    let alice = app.alice().await;
    for replica in [&app, &other, &app, &other] {
        replica.login_with(&wrong(&alice.email)).await.expect(401);
    }
    assert_eq!(app.database.number("SELECT max(count)::bigint FROM failures").await, 4);
    // So that the next one has to wait for longer than this test takes.
    app.database.execute("UPDATE failures SET count = 12 WHERE network <> ''").await;
    app.database.execute(LATER).await;
    other.login_with(&wrong(&alice.email)).await.expect(401);
    app.try_login(&alice).await.problem(429, "rate_limited");
    let database = std::sync::Arc::clone(&app.database);
    app.stop().await;
    other.stop().await;
    let app = TestApp::with().on(&database).spawn().await;
    let answer = app.try_login(&alice).await.problem(429, "rate_limited");
    assert!((200..=256).contains(&wait_of(&answer)), "{:?}", answer.headers);
}

#[tokio::test]
async fn p12_nobody_says_where_he_is_unless_a_proxy_of_ours_does() {
    let app = TestApp::spawn().await;
    for number in 1..=4 {
        let chain = format!("198.51.{number}.1");
        from(&app, &chain, &wrong("nobody@example.com")).ask().await.expect(401);
    }
    let networks = "SELECT string_agg(network, ' ' ORDER BY network) FROM failures WHERE network <> '' AND identifier <> ''";
    assert_eq!(app.database.text(networks).await, "127.0.0.0/24");
}

#[tokio::test]
async fn p12_behind_proxies_the_last_address_that_is_none_of_theirs_counts() {
    let app = TestApp::with().set("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8").spawn().await;
    let networks = "SELECT string_agg(network, ' ' ORDER BY network) FROM failures WHERE network <> '' AND identifier <> ''";
    for (chain, network) in [
        ("198.51.100.77", "198.51.100.0/24"),
        ("203.0.113.9, 198.51.100.77", "198.51.100.0/24"),
        ("203.0.113.9, 198.51.100.77, 10.1.2.3", "198.51.100.0/24"),
        ("2001:db8:1:2ff:3:4:5:6", "2001:db8:1:200::/56"),
        ("::ffff:198.51.100.77", "198.51.100.0/24"),
        ("203.0.113.9, nonsense, 10.1.2.3", "10.1.2.0/24"),
        ("203.0.113.9,", "127.0.0.0/24"),
        ("10.1.2.3", "10.1.2.0/24"),
    ] {
        app.database.execute("DELETE FROM failures").await;
        from(&app, chain, &wrong("nobody@example.com")).ask().await.expect(401);
        assert_eq!(app.database.text(networks).await, network, "{chain}");
    }
    // The proxy's own line comes last; what the caller wrote in another does not count.
    app.database.execute("DELETE FROM failures").await;
    let request = from(&app, "203.0.113.9", &wrong("nobody@example.com"));
    request.header("x-forwarded-for", "198.51.100.77").ask().await.expect(401);
    assert_eq!(app.database.text(networks).await, "198.51.100.0/24");
    let address = app.database.text("SELECT ip FROM audit ORDER BY at DESC LIMIT 1").await;
    assert_eq!(address, "198.51.100.77", "the audit names the same");
}

#[tokio::test]
async fn what_is_over_is_swept() {
    let app = TestApp::spawn().await;
    app.login(&app.alice().await).await;
    app.login_with(&wrong("nobody@example.com")).await.expect(401);
    let rows = "SELECT (SELECT count(*) FROM failures) + (SELECT count(*) FROM known_networks)";
    let identity = app.identity().await;
    auth_api::domain::retention::sweep(&identity).await.unwrap();
    assert_eq!(app.database.number(rows).await, 4, "three counts and a place");
    app.database
        .execute(
            "UPDATE failures SET expires_at = now() - interval '1 second'; \
             UPDATE known_networks SET seen_at = now() - interval '31 days'",
        )
        .await;
    auth_api::domain::retention::sweep(&identity).await.unwrap();
    assert_eq!(app.database.number(rows).await, 0);
}
