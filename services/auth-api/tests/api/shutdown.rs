//! SIGTERM on the real binary: nothing is cut, and the exit code is 0.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::helpers::{Answer, Ask, Process, TestDatabase, app::http, database::seeded, process, wait::until};

async fn serve(database: &TestDatabase) -> Process {
    let mut settings = process::base_settings();
    settings.extend(database.settings(None));
    let server = Process::serve(&settings).await;
    let ready = format!("{}/readyz", server.admin_url);
    until("the process is ready", async || http().get(&ready).ask().await.status == 200).await;
    server
}

/// The sum of the metrics whose lines start so.
async fn metric(server: &Process, start: &str) -> f64 {
    let metrics = http().get(format!("{}/metrics", server.admin_url)).ask().await.expect(200).text;
    let values =
        metrics.lines().filter(|line| line.starts_with(start)).filter_map(|line| line.rsplit_once(' '));
    values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

const ACTIVE: &str = "http_server_active_requests ";
const DONE: &str = "http_server_request_duration_seconds_count{";

#[tokio::test]
async fn u5_open_requests_are_answered_and_the_process_ends_with_0() {
    let database = TestDatabase::create().await;
    let mut server = serve(&database).await;
    let client = http();
    let token = token(&server).await;
    let changes =
        |query: &str| client.get(format!("{}/api/auth/changes{query}", server.url)).bearer_auth(&token);
    let next = changes("").ask().await.expect(200).text_at("/next").to_owned();
    let before = metric(&server, DONE).await;
    // Waits for news that never come.
    let polling = changes(&format!("?after={next}&wait=30")).try_ask();
    let body = json!({ "email": seeded("ALICE_EMAIL").await, "password": seeded("ALICE_PASSWORD").await });
    let url = format!("{}/auth/login", server.url);
    // Enough work that most of it is still open when the signal comes.
    let logins = join_all((0..24).map(|_| client.post(&url).json(&body).try_ask()));
    let (health, stranger) = (format!("{}/health", server.url), http());
    let stopping = async {
        until("all requests have come", async || {
            metric(&server, ACTIVE).await + metric(&server, DONE).await - before >= 25.0
        })
        .await;
        assert!(metric(&server, ACTIVE).await > 2.0, "they are open still");
        server.signal("TERM").await;
        let stopped = Instant::now();
        until("no new connection is taken", async || stranger.get(&health).send().await.is_err()).await;
        stopped
    };
    let (polled, logins, stopped) = tokio::join!(polling, logins, stopping);
    let logins: Vec<Answer> = logins.into_iter().map(|answer| answer.expect("no request is cut")).collect();
    let statuses: Vec<u16> = logins.iter().map(|answer| answer.status).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let late = logins.iter().filter(|answer| answer.header("connection") == Some("close")).count();
    assert!(late > 0, "while draining every answer asks the caller to connect elsewhere");
    let polled = polled.expect("no request is cut");
    assert_eq!(polled.status, 200, "whoever waits for news is sent home: {}", polled.text);
    assert_eq!(server.exit_code().await, Some(0), "{}", server.output());
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
}

/// chat-api's.
async fn token(server: &Process) -> String {
    let secret = seeded("CHAT_API_SERVICE_CLIENT_SECRET").await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "chat-api-service"),
        ("client_secret", &*secret),
    ];
    let answer = http().post(format!("{}/oauth/token", server.url)).form(&form).ask().await.expect(200);
    answer.text_at("/access_token").to_owned()
}

#[tokio::test]
async fn u5_an_idle_process_ends_soon() {
    let database = TestDatabase::create().await;
    let mut server = serve(&database).await;
    // A connection that is kept alive holds it up for as long as its caller is told to connect elsewhere.
    let client = http();
    client.get(format!("{}/health", server.url)).ask().await.expect(200);
    let started = Instant::now();
    server.signal("TERM").await;
    assert_eq!(server.exit_code().await, Some(0), "{}", server.output());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let connections = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'auth-api'",
        database.name
    );
    // The server's side of a connection ends a moment after ours.
    until("no connection is left", async || database.number(&connections).await == 0).await;
    assert_eq!(database.number("SELECT count(*) FROM replicas").await, 0, "its keys hold no rotation up");
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

#[tokio::test]
async fn u5_a_connection_that_was_idle_at_sigterm_is_told_before_it_is_closed() {
    let database = TestDatabase::create().await;
    let mut server = serve(&database).await;
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

#[tokio::test]
async fn sigint_stops_it_as_well() {
    let database = TestDatabase::create().await;
    let mut server = serve(&database).await;
    server.signal("INT").await;
    assert_eq!(server.exit_code().await, Some(0), "{}", server.output());
}

#[tokio::test]
async fn s4_the_last_use_of_a_client_is_written_down_at_the_latest_when_it_stops() {
    let database = TestDatabase::create().await;
    let mut server = serve(&database).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", crate::helpers::fixtures::BOUND),
        ("client_secret", &crate::helpers::fixtures::secret_of(crate::helpers::fixtures::BOUND)),
    ];
    http().post(format!("{}/oauth/token", server.url)).form(&form).ask().await.expect(200);
    server.signal("TERM").await;
    assert_eq!(server.exit_code().await, Some(0), "{}", server.output());
    let used = "SELECT count(*) FROM clients WHERE client_id = 'bound-service' AND last_used_at > now() - interval '1 minute'";
    assert_eq!(database.number(used).await, 1);
}
