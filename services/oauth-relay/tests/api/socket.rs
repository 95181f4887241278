//! The checklist's "Socket and TCP", the socket's conversation: who may connect, and how much each may take.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::{Duration, Instant},
};

use oauth_relay::{
    client::{OAuthRelayError, Settings, WaitForCode, wait_for_code},
    routes::socket::SPARE_CONNECTIONS,
};
use serde_json::json;

use crate::helpers::{Folder, Process, SOON, TestApp, eventually, soon, state, within};

#[tokio::test(flavor = "multi_thread")]
async fn another_uid_is_refused_unless_it_is_allowed() {
    // Only root can play another user; everywhere else the mode of the socket says no before the relay could.
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let own = TestApp::spawn_with(&[("OAUTH_ALLOWED_UIDS", "65533")]).await;
    // The folder of the socket is open, its mode lets everybody connect: the peer's uid decides.
    let refused = python_as_uid(&own.socket(), 65_534, "refused-0123456789abcdef").await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(own.http.waiters().await, 0);
    let name = state("uid");
    let before = own.http.metric("waiters_registered_total").await;
    let (client, path) = (name.clone(), own.socket());
    let allowed = tokio::spawn(async move { python_as_uid(&path, 65_533, &client).await });
    eventually("it is registered", async || own.http.metric("waiters_registered_total").await > before).await;
    own.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert!(allowed.await.unwrap().unwrap().contains("\"C\""));
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_another_uid_is_refused_even_where_the_files_mode_lets_it_in() {
    // As above.
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let app = TestApp::spawn().await;
    std::fs::set_permissions(app.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = python_as_uid(&app.socket(), 65_534, "refused-0123456789abcdef").await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(app.http.metric("waiters_registered_total").await, 0);
    app.works().await;
    app.stop().await;
}

/// Runs the original's client as another user.
async fn python_as_uid(socket: &std::path::Path, uid: u32, state: &str) -> Result<String, String> {
    // The sources may lie where that user cannot read.
    let script = include_str!("original_client.py");
    let mut client = tokio::process::Command::new("python3");
    client.args(["-c", script, "unix", socket.to_str().unwrap(), state]).uid(uid).gid(uid);
    let client = client.current_dir("/").kill_on_drop(true).output();
    let output = soon("the client's end", client).await.unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_has_to_come_within_10_s_even_from_a_slow_writer() {
    let app = TestApp::spawn().await;
    let (mut silent, mut slow) = (app.connect().await, app.connect().await);
    let started = Instant::now();
    let drip = async {
        for byte in format!("{{\"type\":\"REGISTER\",\"state\":\"{}\"", "x".repeat(200)).bytes() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => slow.send_bytes(&[byte]).await,
                line = slow.line() => { assert_eq!(line, None); return started.elapsed(); }
            }
        }
        panic!("a slow writer is never hung up on");
    };
    let silence = async {
        assert_eq!(silent.line().await, None);
        started.elapsed()
    };
    let (slow_took, silent_took) = tokio::join!(soon("the slow one's end", drip), silence);
    for took in [slow_took, silent_took] {
        assert!(took >= Duration::from_millis(9500) && took <= Duration::from_millis(10_500), "{took:?}");
    }
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_over_64_kib_is_refused() {
    let app = TestApp::spawn().await;
    let mut long = app.connect().await;
    long.send_bytes(&vec![b' '; 70 * 1024]).await;
    long.refusal().await;
    let mut long = app.connect().await;
    long.send_bytes(format!("{{\"type\":\"REGISTER\",\"state\":\"{}\"}}\n", "x".repeat(70_000)).as_bytes())
        .await;
    long.refusal().await;
    assert_eq!(app.http.waiters().await, 0);
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_frames_that_are_no_registration_are_refused() {
    let app = TestApp::spawn().await;
    let frames: [&[u8]; 14] = [
        b"\n",
        b"not json\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"{\"type\":\"DELIVER\",\"state\":\"backlog\",\"code\":\"C\"}\n",
        b"{\"type\":\"UNREGISTER\"}\n",
        b"{\"type\":\"ACK\"}\n",
        b"{\"type\":\"register\"}\n",
        b"{\"type\":\"REGISTER\",\"state\":5}\n",
        b"{\"type\":\"REGISTER\",\"state\":\"\\ud800\"}\n",
        b"{\"type\":\"REGISTER\",\"state\":\"\xff\"}\n",
        b"GET / HTTP/1.1\r\n",
        b"{\"type\":\"REGISTER\",\"state\":\"a\"",
    ];
    for frame in frames {
        let mut wire = app.connect().await;
        wire.send_bytes(frame).await;
        if !frame.ends_with(b"\n") {
            // Cut in the middle.
            drop(wire);
            continue;
        }
        wire.refusal().await;
    }
    assert_eq!(app.http.metric("waiters_registered_total").await, 0);
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_in_pieces_and_one_with_more_behind_it_both_hold() {
    let app = TestApp::spawn().await;
    let name = state("pieces");
    let mut waiter = app.connect().await;
    for byte in format!("{{\"type\": \"REGISTER\",\"state\":\"{name}\"}}\n").bytes() {
        waiter.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    eventually("it is registered", async || app.http.waiters().await == 1).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "C");
    // The goodbye in the same packet as the registration.
    let mut fickle = app.connect().await;
    let frames = format!("{{\"type\":\"REGISTER\",\"state\":\"{name}\"}}\n{{\"type\":\"UNREGISTER\"}}\n");
    fickle.send_bytes(frames.as_bytes()).await;
    eventually("it came and went", async || app.http.metric("waiters_registered_total").await == 2).await;
    eventually("the slot is freed", async || app.http.waiters().await == 0).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_talks_without_end_is_bounded() {
    let app = TestApp::spawn().await;
    let name = state("chatty");
    let mut chatty = app.wait_plain(Some(&name)).await;
    chatty.send_bytes(&vec![b'x'; 1024 * 1024]).await;
    assert_eq!(chatty.line().await, None, "it is hung up on");
    eventually("the slot is freed", async || app.http.waiters().await == 0).await;
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_unmatched();
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_waiters_than_the_maximum_are_told_capacity_and_http_goes_on() {
    let app = TestApp::spawn_with(&[("OAUTH_MAX_WAITERS", "3")]).await;
    let mut waiters = Vec::new();
    for number in 0..3 {
        waiters.push((app.wait_plain(Some(&format!("slot-{number}-0123456789"))).await, number));
    }
    for frame in [json!({ "type": "REGISTER", "state": "x-0123456789abcdef" }), json!({ "type": "REGISTER" })]
    {
        let mut refused = app.connect().await;
        refused.send(&frame).await;
        assert_eq!(refused.refusal().await.as_deref(), Some("capacity"));
    }
    assert_eq!(app.http.metric("capacity_total").await, 2);
    assert_eq!(app.http.waiters().await, 3);
    app.http.callback(&[("code", "C"), ("state", "nobody")]).await.is_unmatched();
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    let error = wait_for_code(Some("y-0123456789abcdef"), Some(SOON), Some(&settings)).await.unwrap_err();
    assert!(matches!(error, OAuthRelayError::Capacity), "{error:?}");
    for (mut waiter, number) in waiters {
        app.http
            .callback(&[("code", "C"), ("state", &format!("slot-{number}-0123456789"))])
            .await
            .is_complete();
        assert_eq!(waiter.last_frame().await["code"], "C");
    }
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_register_do_not_use_up_the_places_for_ever() {
    let app = TestApp::spawn_with(&[("OAUTH_MAX_WAITERS", "1")]).await;
    let mut idle = Vec::new();
    for _ in 0..=SPARE_CONNECTIONS {
        idle.push(app.connect().await);
    }
    // Who comes now is told so before a word was said, and our client understands it.
    assert_eq!(app.connect().await.refusal().await.as_deref(), Some("capacity"));
    assert_eq!(app.http.metric("capacity_total").await, 1);
    let settings = Settings { socket_path: app.socket(), ..Settings::default() };
    for _ in 0..50 {
        let error = wait_for_code(Some(&state("late")), Some(SOON), Some(&settings)).await.unwrap_err();
        assert!(matches!(error, OAuthRelayError::Capacity), "{error:?}");
    }
    // They are gone after the ten seconds of the first frame.
    within("the places are free", SOON, async || {
        let mut wire = app.connect().await;
        wire.send(&json!({ "type": "REGISTER", "state": "late-0123456789abcdef", "extended": true })).await;
        wire.frame().await.is_some_and(|frame| frame["type"] == "REGISTERED")
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_that_connect_at_once_all_register() {
    const CLIENTS: usize = 10_000;
    let folder = Folder::new();
    let process = Process::serve(&folder, &[("RUST_LOG", "warn,oauth_relay::app=info")]).await;
    let settings = Settings { socket_path: folder.socket(), ..Settings::default() };
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let wait = WaitForCode::new().state(format!("storm-{number}-0123456789"));
        clients.spawn(wait.timeout(Duration::from_mins(2)).settings(settings.clone()).wait());
    }
    within("all are registered", Duration::from_mins(1), async || {
        let ended = clients.try_join_next();
        assert!(ended.is_none(), "one of them ended: {ended:?}");
        process.http.waiters().await == u64::try_from(CLIENTS).unwrap()
    })
    .await;
    assert_eq!(process.http.metric("capacity_total").await, 0);
    for number in [0, CLIENTS / 2, CLIENTS - 1] {
        let name = format!("storm-{number}-0123456789");
        process.http.callback(&[("code", &name), ("state", &name)]).await.is_complete();
        let result = clients.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(result.code, Some(name));
    }
    clients.abort_all();
    while clients.join_next().await.is_some() {}
    within("all slots are freed", Duration::from_secs(30), async || process.http.waiters().await == 0).await;
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_file_limit_is_raised_and_a_low_one_is_warned_of() {
    let folder = Folder::new();
    let process = Process::serve(&folder, &[]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
    process.kill().await;
    // No machine has that many.
    let process = Process::serve(&folder, &[("OAUTH_MAX_WAITERS", "1000000")]).await;
    assert!(process.output().lines().any(|line| line.contains("WARN")), "{}", process.output());
    process.kill().await;
}
