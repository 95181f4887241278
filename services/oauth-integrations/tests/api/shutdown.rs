//! SIGTERM on the real binary: nothing is cut, no token is lost, and the exit code is 0.

use std::time::{Duration, Instant};

use simulator::{Fault, FaultKind, Provider};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::helpers::{
    Ask, Process, TestApp, TestDatabase,
    app::{http, settings},
    process, until,
};

async fn serve(app: &TestApp) -> Process {
    app.stop().await;
    let process = Process::serve(&settings(&app.sim, &app.auth_api, &app.database, &[])).await;
    let ready = format!("{}/readyz", process.admin_url);
    until("the process is ready", async || http().get(&ready).ask().await.status == 200).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_ends_soon() {
    let app = TestApp::spawn().await;
    let mut server = serve(&app).await;
    let client = http();
    client.get(format!("{}/health", server.url)).ask().await.expect(200);
    for signal in ["TERM", "INT"] {
        let started = Instant::now();
        server.signal(signal).await;
        assert_eq!(server.exit_code().await, Some(0), "{}", server.output());
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        server = serve(&app).await;
    }
}

/// Asks on a connection that stays open; the head of the answer, empty where the connection was closed instead.
async fn ask_on(connection: &mut BufReader<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
    let _ = connection.write_all(request.as_bytes()).await;
    let (mut head, mut length) = (String::new(), 0);
    while connection.read_line(&mut head).await.is_ok_and(|read| read > 2) {
        let last = head.lines().last().unwrap_or_default();
        length = last.strip_prefix("content-length: ").map_or(length, |value| value.parse().unwrap());
    }
    let mut body = vec![0; length];
    let _ = connection.read_exact(&mut body).await;
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_idle_at_sigterm_is_told_before_it_is_closed() {
    let app = TestApp::spawn().await;
    let mut server = serve(&app).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut connection = BufReader::new(TcpStream::connect(address).await.unwrap());
    let head = ask_on(&mut connection, "/health").await;
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("connection: close"), "{head:?}");

    server.signal("TERM").await;
    let ready = format!("{}/readyz", server.admin_url);
    until("it drains", async || http().get(&ready).ask().await.status == 503).await;
    let closed = tokio::time::timeout(Duration::from_millis(500), connection.fill_buf()).await;
    assert!(closed.is_err(), "closed without a word: {closed:?}");

    let head = ask_on(&mut connection, "/health").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head:?}");
    assert_eq!(server.exit_code().await, Some(0), "{}", server.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_is_written_down_before_the_end() {
    let app = TestApp::spawn().await;
    app.connect_slack().await;
    let mut server = serve(&app).await;
    app.expire_tokens().await;
    let slow = FaultKind::DelayReply { milliseconds: 3000 };
    app.sim.fault(Fault::once(Provider::Slack, "oauth.v2.access", slow));
    let url = format!("{}/oauth/token/slack?org_id={}", server.url, app.org_id);
    let asked = tokio::spawn(http().get(url).bearer_auth(app.indexer()).ask());
    until("the provider has rotated", async || app.refreshes("slack") >= 1).await;
    server.signal("TERM").await;
    let answer = asked.await.unwrap();
    assert_eq!(answer.status, 503, "it waited as long as it may: {}", answer.text);
    assert_eq!(server.exit_code().await, Some(0), "{}", server.output());
    let kept = "SELECT count(*) FROM installation_credentials WHERE refreshed_count > 0 AND token_expires_at > now()";
    assert!(app.database.number(kept).await >= 1, "{}", server.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_migrated_at_the_start_and_only_once_by_two() {
    let database = TestDatabase::empty().await;
    let app = TestApp::with().on(&database).spawn().await;
    let mut settings = process::base_settings(app.auth_api.url());
    settings.extend(database.settings(None));
    for _ in 0..2 {
        let outcome = process::run(&["migrate"], &settings).await;
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
    assert_eq!(database.number("SELECT count(*) FROM oauth_installations").await, 0);
    // A newer schema does not keep an older binary from starting.
    database
        .execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
             SELECT 999, 'of_tomorrow', applied_on, checksum FROM refinery_schema_history LIMIT 1",
        )
        .await;
    let process =
        Process::serve(&crate::helpers::app::settings(&app.sim, &app.auth_api, &database, &[])).await;
    let ready = format!("{}/readyz", process.admin_url);
    until("it is ready all the same", async || http().get(&ready).ask().await.status == 200).await;
}
