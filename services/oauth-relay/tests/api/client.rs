//! The client library: its time limit, its end by drop, and a coordinator that is busy, away or begins anew.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use oauth_relay::client::{OAuthRelayError, OAuthTimeoutError, Settings, WaitForCode, wait_for_code};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixSocket, UnixStream},
};

use crate::helpers::{Folder, Process, SOON, TestApp, assert_took, eventually, soon, state};

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_timeout_is_a_timeout_error_within_5_percent() {
    let app = TestApp::spawn_with(&[("OAUTH_DEFAULT_TIMEOUT", "600")]).await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let started = Instant::now();
    let limit = Duration::from_secs(3);
    let error = wait_for_code(Some(&state("client")), Some(limit), Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Timeout(_)), "{error:?}");
    assert_took(started, limit);
    eventually("the slot is freed", async || app.http.waiters().await == 0).await;
    // The same when the server is the one who counts.
    let settings = Settings { default_timeout: Duration::from_secs(1), ..settings };
    let started = Instant::now();
    let error = wait_for_code(Some(&state("client")), Some(limit), Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Timeout(_)), "{error:?}");
    assert_took(started, limit);
    let started = Instant::now();
    let settings = Settings { default_timeout: Duration::from_secs(2), ..settings };
    let error = wait_for_code(None, None, Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Timeout(_)), "{error:?}");
    assert_took(started, Duration::from_secs(2));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_client_future_frees_its_slot_within_100_ms() {
    let app = TestApp::spawn().await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let name = state("dropped");
    let waiting = tokio::spawn(WaitForCode::new().state(&name).timeout(SOON).settings(settings).wait());
    eventually("it is registered", async || app.http.waiters().await == 1).await;

    let dropped = Instant::now();
    waiting.abort();

    let limit = Duration::from_millis(100);
    while app.http.waiters().await != 0 {
        assert!(dropped.elapsed() < limit, "not within {limit:?}");
    }
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_flows_at_once_each_get_their_own_code() {
    let app = TestApp::spawn().await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let flows = (0..50).map(|number| {
        let (http, settings) = (&app.http, settings.clone());
        async move {
            let (name, code) = (format!("user{number}-auth-0123456789"), format!("code-of-{number}"));
            let wait = WaitForCode::new().state(&name).timeout(SOON).settings(settings).wait();
            let callback = eventually("it is delivered", async || {
                http.callback(&[("code", &code), ("state", &name)]).await.status == 200
            });
            let (result, ()) = tokio::join!(wait, callback);
            assert_eq!(result.unwrap().code, Some(code));
        }
    });
    join_all(flows).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_builder_asks_for_all_parameters() {
    let app = TestApp::spawn().await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let name = state("builder");
    let wait = WaitForCode::new().state(&name).timeout(SOON).settings(settings).extended(true);
    let client = tokio::spawn(wait.wait());
    eventually("it is registered", async || app.http.waiters().await == 1).await;
    let issuer = "https://provider.example";
    app.http.callback(&[("code", "C"), ("state", &name), ("iss", issuer)]).await.is_complete();
    let result = client.await.unwrap().unwrap();
    assert!(result.success);
    assert_eq!((result.code.as_deref(), result.issuer()), (Some("C"), Some(issuer)));
    assert_eq!(result.state.as_deref(), Some(&*name));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_survives_a_restart_of_the_coordinator() {
    let folder = Folder::new();
    let first = Process::serve(&folder, &[]).await;
    let name = state("restart");
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let wait = WaitForCode::new().state(&name).timeout(Duration::from_secs(30)).settings(settings.clone());
    let client = tokio::spawn(wait.reconnect(true).wait());
    let impatient =
        tokio::spawn(WaitForCode::new().state(state("other")).timeout(SOON).settings(settings).wait());
    eventually("both are registered", async || first.http.waiters().await == 2).await;

    first.kill().await;
    assert!(soon("the impatient one's end", impatient).await.unwrap().is_err());
    let second = Process::serve(&folder, &[]).await;

    eventually("it is registered anew", async || second.http.waiters().await == 1).await;
    second.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(client.await.unwrap().unwrap().code.as_deref(), Some("C"));
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_in_the_middle_of_a_frame_has_hung_up() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.socket()).unwrap();
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let wait = WaitForCode::new().state("cut").timeout(SOON).settings(settings).extended(true);
    let impatient = tokio::spawn(wait.clone().wait());
    let (mut stream, _) = soon("the impatient one", listener.accept()).await.unwrap();
    let registered = b"{\"type\":\"REGISTERED\",\"state\":\"cut\"}\n";
    let deliver = b"{\"type\":\"DELIVER\",\"state\":\"cut\",\"code\":\"C\",\"raw\":{}}\n";
    stream.write_all(&[registered, &deliver[..30]].concat()).await.unwrap();
    // What was not read would be a reset.
    stream.read_u8().await.unwrap();
    while stream.try_read(&mut [0; 1024]).is_ok() {}
    drop(stream);
    let error = soon("its end", impatient).await.unwrap().unwrap_err();
    assert!(matches!(error, OAuthRelayError::Closed), "{error:?}");

    let patient = tokio::spawn(wait.reconnect(true).wait());
    let (mut stream, _) = soon("the patient one", listener.accept()).await.unwrap();
    stream.write_all(&[registered, &deliver[..30]].concat()).await.unwrap();
    // What was not read would be a reset.
    stream.read_u8().await.unwrap();
    while stream.try_read(&mut [0; 1024]).is_ok() {}
    drop(stream);
    let (mut stream, _) = soon("another try", listener.accept()).await.unwrap();
    stream.write_all(&[&registered[..], deliver].concat()).await.unwrap();
    assert_eq!(soon("its code", patient).await.unwrap().unwrap().code.as_deref(), Some("C"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_no_clock_can_hold_is_only_long() {
    let app = TestApp::spawn().await;
    for is_extended in [false, true] {
        let settings = Settings { socket_path: app.socket(), ..Settings::default() };
        let name = state("for-ever");
        let wait = WaitForCode::new().state(&name).timeout(Duration::MAX).settings(settings);
        let client = tokio::spawn(wait.extended(is_extended).wait());
        eventually("it is registered", async || app.http.waiters().await == 1).await;
        app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
        assert_eq!(client.await.unwrap().unwrap().code.as_deref(), Some("C"));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_tells_how_long_it_really_was() {
    let app = TestApp::spawn_with(&[("OAUTH_DEFAULT_TIMEOUT", "1"), ("OAUTH_MAX_TIMEOUT", "2")]).await;
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let wait = WaitForCode::new().state(state("cut-short")).timeout(Duration::from_mins(2));
    let error = wait.settings(settings).extended(true).wait().await.unwrap_err();
    let OAuthRelayError::Timeout(OAuthTimeoutError(waited)) = &error else { panic!("{error:?}") };
    assert!((2..5).contains(&waited.as_secs()), "{error}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reconnects_still_ends_at_its_deadline() {
    let folder = Folder::new();
    let process = Process::serve(&folder, &[]).await;
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let limit = Duration::from_secs(2);
    let started = Instant::now();
    let wait = WaitForCode::new().state(state("deadline")).timeout(limit).settings(settings);
    let client = tokio::spawn(wait.reconnect(true).wait());
    eventually("it is registered", async || process.http.waiters().await == 1).await;
    process.kill().await;
    let error = soon("its end", client).await.unwrap().unwrap_err();
    assert!(matches!(error, OAuthRelayError::Timeout(_)), "{error:?}");
    assert!(started.elapsed() >= limit.mul_f64(0.9) && started.elapsed() < limit * 2, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_missing_and_mute_coordinators_are_connection_errors() {
    let folder = Folder::new();
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let wait = async || {
        let error = wait_for_code(Some("x"), Some(SOON), Some(&settings)).await.unwrap_err();
        assert!(matches!(error, OAuthRelayError::Connection(_)), "{error:?}");
        assert!(error.to_string().contains("relay.sock"), "{error}");
    };
    wait().await;
    drop(std::os::unix::net::UnixListener::bind(folder.socket()).unwrap());
    wait().await;
    // One that never lets anybody in: after ten seconds, and sooner where there is less time.
    std::fs::remove_file(folder.socket()).unwrap();
    let (_listener, _filler) = full_backlog(&folder).await;
    let started = Instant::now();
    wait().await;
    assert_took(started, Duration::from_secs(10));
    let started = Instant::now();
    let limit = Duration::from_secs(2);
    let error = wait_for_code(Some("x"), Some(limit), Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Connection(_)), "{error:?}");
    assert_took(started, limit);
    // Nobody listens there.
    let settings = Settings { use_tcp: true, tcp_port: 1, ..Settings::default() };
    let error = wait_for_code(Some("x"), Some(SOON), Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Connection(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backlog_is_waited_out() {
    let folder = Folder::new();
    let (listener, filler) = full_backlog(&folder).await;
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let wait = WaitForCode::new().state("backlog").timeout(SOON).settings(settings).wait();
    let mut client = tokio::spawn(wait);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut client).await;
    assert!(early.is_err(), "it gave up: {early:?}");

    for _ in &filler {
        listener.accept().await.unwrap();
    }

    let (mut stream, _) = soon("the client", listener.accept()).await.unwrap();
    stream.write_all(b"{\"type\":\"DELIVER\",\"state\":\"backlog\",\"code\":\"C\"}\n").await.unwrap();
    assert_eq!(soon("its code", client).await.unwrap().unwrap().code.as_deref(), Some("C"));
}

/// A socket with as many in its queue as it takes.
async fn full_backlog(folder: &Folder) -> (UnixListener, Vec<UnixStream>) {
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(folder.socket()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut filler = Vec::new();
    let error = loop {
        match UnixStream::connect(folder.socket()).await {
            Ok(stream) => filler.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    (listener, filler)
}
