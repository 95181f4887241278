//! The life of signing keys: rotation, several replicas, restarts, emergencies.

use std::time::Duration;

use crate::helpers::{
    Process, TestApp, TestDatabase, credentials,
    fixtures::BOUND,
    process, tokens,
    wait::{eventually, until},
};

/// The kid that signs now.
async fn signing_kid(app: &TestApp) -> String {
    tokens::kid(&app.service_token(&credentials(BOUND)).await)
}

async fn rotate(app: &TestApp) {
    let outcome = process::run_on(&app.database, &["keys", "rotate"]).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

async fn state(app: &TestApp, kid: &str) -> String {
    app.database.text(&format!("SELECT state FROM signing_keys WHERE kid = '{kid}'")).await
}

#[tokio::test]
async fn the_first_start_makes_a_key_that_signs_at_once() {
    let database = std::sync::Arc::new(TestDatabase::empty().await);
    let app = TestApp::with().on(&database).spawn().await;
    assert_eq!(app.kids().await.len(), 1);
    assert_eq!(app.database.text("SELECT state FROM signing_keys").await, "active");
}

#[tokio::test]
async fn k3_a_new_key_is_published_before_it_signs() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 2).spawn().await;
    let old = signing_kid(&app).await;
    rotate(&app).await;
    let kids = eventually("two keys are published", async || {
        let kids = app.kids().await;
        (kids.len() == 2).then_some(kids)
    })
    .await;
    let published = std::time::Instant::now();
    assert_eq!(signing_kid(&app).await, old, "the new key does not sign yet");
    let new = kids.into_iter().find(|kid| *kid != old).unwrap();
    assert_eq!(state(&app, &new).await, "next");
    until("the new key signs", async || signing_kid(&app).await == new).await;
    assert!(published.elapsed() > Duration::from_millis(1500), "{:?}", published.elapsed());
    assert_eq!(
        (state(&app, &new).await, state(&app, &old).await),
        ("active".to_owned(), "retiring".to_owned())
    );
    assert!(app.kids().await.contains(&old), "its tokens are still out");
}

#[tokio::test]
async fn k3_a_new_key_is_announced_in_the_feed() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 600).spawn().await;
    let reader = app.scoped_token(&app.demo_client("oauth-relay-service").await, "revocations:read").await;
    let old = app.kids().await;
    let known = |kid: &serde_json::Value| old.iter().any(|old| kid == old);
    rotate(&app).await;
    let entry = eventually("the notice", async || {
        let feed = app.revocations(&reader, "").await.expect(200);
        feed.list_at("/items")
            .iter()
            .find(|item| item["kind"] == "keys_changed" && !known(&item["value"]))
            .cloned()
    })
    .await;
    let new = entry["value"].as_str().unwrap().to_owned();
    assert!(app.kids().await.contains(&new), "it is served when it is announced");
}

#[tokio::test]
async fn k3_the_schedule_rotates_by_itself() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 0).set("KEY_ROTATION_SECONDS", 4).spawn().await;
    app.database.execute("UPDATE signing_keys SET activated_at = now() - interval '1 hour'").await;
    let old = signing_kid(&app).await;
    until("another key signs", async || signing_kid(&app).await != old).await;
}

#[tokio::test]
async fn k4_a_retiring_key_goes_when_its_last_token_is_over() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 0).spawn().await;
    let old = signing_kid(&app).await;
    rotate(&app).await;
    until("the new key signs", async || signing_kid(&app).await != old).await;
    // Its longest token lives 900 s, and clocks may differ by 60 s.
    app.database
        .execute(
            "UPDATE signing_keys SET retired_at = now() - interval '955 seconds' WHERE state = 'retiring'",
        )
        .await;
    assert!(app.kids().await.contains(&old));
    app.database
        .execute(
            "UPDATE signing_keys SET retired_at = now() - interval '961 seconds' WHERE state = 'retiring'",
        )
        .await;
    until("the old key is not published any more", async || !app.kids().await.contains(&old)).await;
    assert_eq!(state(&app, &old).await, "removed");
    let kept = "SELECT count(*) FROM signing_keys WHERE state = 'removed' AND private_key IS NOT NULL";
    assert_eq!(app.database.number(kept).await, 0);
}

#[tokio::test]
async fn k5_tokens_of_before_and_after_a_rotation_verify() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 1).spawn().await;
    let group = app.group_id().await;
    let before = app.service_token(&credentials(BOUND)).await;
    rotate(&app).await;
    until("the new key is published", async || app.kids().await.len() == 2).await;
    // What a verifier has cached just before the switch.
    let cached = app.jwks().await.body;
    until("the new key signs", async || signing_kid(&app).await != tokens::kid(&before)).await;
    let after = app.service_token(&credentials(BOUND)).await;
    for token in [&before, &after] {
        assert!(tokens::is_signed_by(token, &cached));
        app.group(token, group).await.expect(200);
    }
}

#[tokio::test]
async fn k6_a_revoked_key_goes_at_once_with_its_tokens() {
    let app = TestApp::spawn().await;
    let replica = TestApp::with().on(&app.database).spawn().await;
    let session = app.login(&app.alice().await).await;
    let old = tokens::kid(&session.access_token);
    replica.me(&session.access_token).await.expect(200);
    let outcome = process::run_on(&app.database, &["keys", "rotate", "--revoke", &old]).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let watcher = app.demo_client("chat-api-service").await;
    for app in [&app, &replica] {
        until("another key is published", async || app.kids().await.iter().all(|kid| *kid != old)).await;
        until("the token is refused", async || app.me(&session.access_token).await.status == 401).await;
        until("another key signs", async || app.grant(&watcher, &[]).await.status == 200).await;
        assert_eq!(app.introspect(&watcher, &session.access_token).await.body["active"], false);
        let refreshed = app.refresh(&session.refresh_token).await;
        assert_eq!(refreshed.status, 200, "the login itself goes on: {}", refreshed.text);
        assert_ne!(tokens::kid(refreshed.text_at("/access_token")), old);
    }
    assert_eq!(state(&app, &old).await, "removed");
    let reader = app.service_token(&watcher).await;
    let feed = app.revocations(&reader, "").await.expect(200);
    assert!(feed.list_at("/items").iter().any(|item| item["kind"] == "key" && item["value"] == old.as_str()));
    let events = "SELECT count(*) FROM audit WHERE event = 'key_revoked'";
    assert_eq!(app.database.number(events).await, 1);
    let count = "SELECT count(*) FROM signing_keys";
    let before = app.database.number(count).await;
    let unknown = process::run_on(&app.database, &["keys", "rotate", "--revoke", "unknown"]).await;
    assert_eq!(
        (unknown.code, app.database.number(count).await),
        (Some(1), before),
        "nothing is done by halves"
    );
}

#[tokio::test]
async fn k6_a_key_can_be_revoked_without_being_the_one_that_signs() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 600).spawn().await;
    let old = signing_kid(&app).await;
    rotate(&app).await;
    until("the next key is published", async || app.kids().await.len() == 2).await;
    let next = app.kids().await.into_iter().find(|kid| *kid != old).unwrap();
    assert_eq!(process::run_on(&app.database, &["keys", "revoke", &next]).await.code, Some(0));
    until("the next key is gone", async || app.kids().await == [old.as_str()]).await;
    assert_eq!(signing_kid(&app).await, old);
    assert_ne!(
        process::run_on(&app.database, &["keys", "revoke", &next]).await.code,
        Some(0),
        "it is gone already"
    );
}

#[tokio::test]
async fn k6_a_key_whose_id_begins_with_a_hyphen_is_no_option() {
    let app = TestApp::spawn().await;
    app.database
        .execute(
            "INSERT INTO signing_keys (kid, state, public_key, published_at, retired_at) \
             SELECT kid, 'retiring', public_key, now(), now() FROM (VALUES ('-revoke'), ('-r')) AS made (kid), \
             (SELECT public_key FROM signing_keys LIMIT 1) AS one",
        )
        .await;
    for arguments in [&["keys", "revoke", "-revoke"][..], &["keys", "rotate", "--revoke", "-r"]] {
        let outcome = process::run_on(&app.database, arguments).await;
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(state(&app, arguments.last().unwrap()).await, "removed");
    }
}

#[tokio::test]
async fn k6_a_key_that_has_to_sign_before_its_time_is_announced() {
    let app = TestApp::spawn().await;
    let old = signing_kid(&app).await;
    // A replica that does not serve the next key keeps it from being announced.
    let stuck = "INSERT INTO replicas (id, kids, seen_at) VALUES ('00000000-0000-7000-8000-000000000001', '{}', now() + interval '5 minutes')";
    app.database.execute(stuck).await;
    rotate(&app).await;
    let next = app.database.text("SELECT kid FROM signing_keys WHERE state = 'next'").await;
    let notice = format!("SELECT count(*) FROM revocations WHERE kind = 'keys_changed' AND value = '{next}'");
    assert_eq!(app.database.number(&notice).await, 0);
    let identity = app.identity().await;
    auth_api::domain::key_rotation::revoke(&identity, &old).await.unwrap();
    until("the next key signs", async || state(&app, &next).await == "active").await;
    assert_eq!(app.database.number(&notice).await, 1, "verifiers are told to fetch it at once");
}

#[tokio::test]
async fn k7_many_replicas_on_a_new_database_make_one_key() {
    let database = std::sync::Arc::new(TestDatabase::empty().await);
    let spawn = || TestApp::with().on(&database).spawn();
    let (first, second, third) = tokio::join!(spawn(), spawn(), spawn());
    let kids = first.kids().await;
    assert_eq!(kids.len(), 1);
    for replica in [&second, &third] {
        assert_eq!(replica.kids().await, kids);
    }
}

#[tokio::test]
async fn k7_a_key_signs_only_when_every_replica_serves_it() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 0).spawn().await;
    let old = signing_kid(&app).await;
    // A replica that says it is alive and does not take up the new key.
    let stuck = "INSERT INTO replicas (id, kids, seen_at) VALUES ('00000000-0000-7000-8000-000000000001', '{}', now() + interval '5 minutes')";
    app.database.execute(stuck).await;
    rotate(&app).await;
    until("the new key is published", async || app.kids().await.len() == 2).await;
    let ticks =
        "SELECT count(*) FROM replicas WHERE seen_at > now() - interval '1 second' AND cardinality(kids) = 2";
    until("this replica serves it", async || app.database.number(ticks).await == 1).await;
    assert_eq!(signing_kid(&app).await, old);
    assert_eq!(
        app.database
            .number("SELECT count(*) FROM signing_keys WHERE served_at IS NOT NULL AND state = 'next'")
            .await,
        0
    );
    app.database
        .execute("UPDATE replicas SET seen_at = now() - interval '11 seconds' WHERE cardinality(kids) = 0")
        .await;
    until("the new key signs", async || signing_kid(&app).await != old).await;
}

#[tokio::test]
async fn k7_two_replicas_rotate_together_under_load() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 1).spawn().await;
    let replica = TestApp::with().on(&app.database).set("JWKS_PREPUBLISH_SECONDS", 1).spawn().await;
    let client = credentials(BOUND);
    let group = app.group_id().await;
    let old = signing_kid(&app).await;
    rotate(&app).await;
    let (mut of_first, mut of_second) = (old.clone(), old.clone());
    until("both sign with the new key", async || {
        for (signer, verifier, last) in [(&app, &replica, &mut of_first), (&replica, &app, &mut of_second)] {
            let token = signer.service_token(&client).await;
            *last = tokens::kid(&token);
            // A token of either is good at the other at every moment of the rotation.
            verifier.group(&token, group).await.expect(200);
        }
        of_first != old && of_second != old
    })
    .await;
    assert_eq!(of_first, of_second);
}

#[tokio::test]
async fn k7_a_restart_keeps_the_keys() {
    let app = TestApp::spawn().await;
    let (kids, token) = (app.kids().await, app.service_token(&credentials(BOUND)).await);
    let database = std::sync::Arc::clone(&app.database);
    app.stop().await;
    let app = TestApp::with().on(&database).spawn().await;
    assert_eq!(app.kids().await, kids);
    app.group(&token, app.group_id().await).await.expect(200);
}

#[tokio::test]
async fn k8_private_keys_are_encrypted_at_rest() {
    let app = TestApp::spawn().await;
    let client = app.database.client().await;
    let rows = client
        .query("SELECT private_key, public_key::text, encryption_key_id FROM signing_keys", &[])
        .await
        .unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        let bytes: Vec<u8> = row.get(0);
        // PKCS#8 names the algorithm, in clear.
        let oid: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
        assert!(!bytes.windows(oid.len()).any(|window| window == oid), "a private key lies open");
        assert!(!row.get::<_, String>(1).contains("\"d\""));
        assert_eq!(row.get::<_, String>(2), "test-1");
    }
}

#[tokio::test]
async fn k8_without_the_right_key_nothing_is_signed() {
    let app = TestApp::spawn().await;
    let wrong = "test-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let replica = TestApp::with().on(&app.database).set("KEY_ENCRYPTION_KEYS", wrong).unready().spawn().await;
    let client = credentials(BOUND);
    let refused = eventually("an answer", async || Some(replica.grant(&client, &[]).await)).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert_ne!(replica.readyz().await.status, 200);
    until("the public keys are served", async || replica.jwks().await.status == 200).await;
    assert_eq!(replica.kids().await, app.kids().await);
}

#[tokio::test]
async fn k8_a_replica_that_cannot_open_the_next_key_goes_on_and_holds_it_back() {
    let app = TestApp::with().set("JWKS_PREPUBLISH_SECONDS", 0).spawn().await;
    let old = signing_kid(&app).await;
    // The next key is encrypted with a key that this replica was not given.
    let mut settings = process::base_settings();
    let (_, keys) = settings.iter_mut().find(|(name, _)| *name == "KEY_ENCRYPTION_KEYS").unwrap();
    *keys = format!("test-2:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,{keys}");
    settings.extend(app.database.settings(None));
    let outcome = process::run(&["keys", "rotate"], &settings).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let next = outcome.stdout.trim().to_owned();
    until("the next key is published", async || app.kids().await.contains(&next)).await;
    let ticks = "SELECT count(*) FROM replicas WHERE seen_at > (SELECT published_at + interval '2 seconds' FROM signing_keys \
                 WHERE state = 'next')";
    until("the replica is seen", async || app.database.number(ticks).await == 1).await;
    assert_eq!((signing_kid(&app).await, state(&app, &next).await), (old.clone(), "next".to_owned()));
    assert_eq!(app.readyz().await.status, 200);
    assert_eq!(process::run(&["keys", "revoke", &next], &settings).await.code, Some(0));
    until("a removed key is gone", async || app.kids().await == [old.as_str()]).await;
}

#[tokio::test]
async fn the_real_binary_rotates_too() {
    let database = TestDatabase::create().await;
    let mut settings = process::base_settings();
    settings.extend(database.settings(None));
    settings.push(("JWKS_PREPUBLISH_SECONDS", "0".to_owned()));
    let server = Process::serve(&settings).await;
    let http = crate::helpers::app::http();
    let kids = async || {
        let answer =
            crate::helpers::Ask::ask(http.get(format!("{}/.well-known/jwks.json", server.url))).await;
        if answer.status == 200 { answer.each("/keys", "/kid") } else { Vec::new() }
    };
    until("the keys are served", async || kids().await.len() == 1).await;
    assert_eq!(process::run_on(&database, &["keys", "rotate"]).await.code, Some(0));
    until("the new key is served", async || kids().await.len() == 2).await;
}
