//! The checklist's "Socket and TCP", the socket's file: who may open it, and whose place it never takes.

use std::{
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    time::Duration,
};

use tokio::net::UnixListener;

use crate::helpers::{Folder, Process, TestApp, run, state};

/// Runs the server expecting that it does not start; what it said.
async fn refuses_to_start(folder: &Folder, settings: &[(&str, &str)]) -> String {
    let socket = folder.socket();
    let usual = [
        ("PORT", "0"),
        ("ADMIN_PORT", "0"),
        ("OAUTH_ENABLED", "true"),
        ("OAUTH_SOCKET_PATH", socket.to_str().unwrap()),
    ];
    let outcome = run(&["serve"], &[&usual, settings].concat()).await;
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
    outcome.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_file_is_0600() {
    let app = TestApp::spawn().await;
    let metadata = std::fs::symlink_metadata(app.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let path = app.socket();
    app.stop().await;
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_moment_of_wider_access() {
    let seen_folder = Folder::new();
    let path = seen_folder.path().to_owned();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let (seen_sender, seen) = std::sync::mpsc::channel();
    // Looks at every entry of the folder as often as it can while the relay starts.
    let watcher = std::thread::spawn(move || {
        let mut modes = std::collections::BTreeSet::new();
        while let Err(std::sync::mpsc::TryRecvError::Empty) = finished.try_recv() {
            let mut folders = vec![path.clone()];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let Ok(metadata) = entry.metadata() else { continue };
                    if metadata.is_dir() {
                        // What lies in a private folder is out of reach, whatever its mode.
                        if metadata.permissions().mode() & 0o077 != 0 {
                            folders.push(entry.path());
                        }
                    } else if metadata.file_type().is_socket() {
                        modes.insert(metadata.permissions().mode() & 0o777);
                    }
                }
            }
        }
        seen_sender.send(modes).unwrap();
    });
    for _ in 0..20 {
        let folder = Folder::new();
        let socket = seen_folder.socket();
        let settings = [("OAUTH_SOCKET_PATH", socket.to_str().unwrap())];
        TestApp::try_spawn(folder, &settings).await.unwrap().stop().await;
    }
    finish.send(()).unwrap();
    watcher.join().unwrap();
    let modes = seen.recv().unwrap();
    assert!(modes.contains(&0o600) && modes.len() == 1, "{modes:?}");
    assert!(std::fs::read_dir(seen_folder.path()).unwrap().next().is_none(), "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_anybody_may_write_to_is_refused() {
    let folder = Folder::new();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let socket = folder.socket();
    let usual = [
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("ADMIN_PORT", "0"),
        ("OAUTH_ENABLED", "true"),
        ("OAUTH_SOCKET_PATH", socket.to_str().unwrap()),
    ];
    let refused = run(&["serve"], &usual).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(
        refused.stderr.contains("OAUTH_SOCKET_PATH") || refused.stderr.contains("relay.sock"),
        "{refused:?}"
    );
    // With the sticky bit it is as good as the usual temporary folder.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let process = Process::serve(&folder, &[("OAUTH_MAX_WAITERS", "100")]).await;
    assert!(!process.output().contains("WARN"), "{}", process.output());
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced() {
    let folder = Folder::new();
    drop(std::os::unix::net::UnixListener::bind(folder.socket()).unwrap());
    assert!(folder.socket().exists());
    let app = TestApp::try_spawn(folder, &[]).await.unwrap();
    app.works().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_socket_is_never_stolen() {
    let app = TestApp::spawn().await;
    let name = state("first");
    let mut waiter = app.wait_plain(Some(&name)).await;
    let inode = std::fs::symlink_metadata(app.socket()).unwrap().ino();

    let said = refuses_to_start(&app.folder, &[]).await;

    assert!(said.contains("relay.sock"), "{said}");
    assert_eq!(std::fs::symlink_metadata(app.socket()).unwrap().ino(), inode);
    app.http.callback(&[("code", "C"), ("state", &name)]).await.is_complete();
    assert_eq!(waiter.last_frame().await["code"], "C");
    // Nor is one that belongs to something else.
    let folder = Folder::new();
    let foreign = UnixListener::bind(folder.socket()).unwrap();
    refuses_to_start(&folder, &[]).await;
    assert!(folder.socket().exists());
    drop(foreign);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_socket_is_refused_and_never_deleted() {
    let folder = Folder::new();
    std::fs::write(folder.socket(), "precious").unwrap();
    let said = refuses_to_start(&folder, &[]).await;
    assert!(said.contains("relay.sock"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.socket()).unwrap(), "precious");
    std::fs::remove_file(folder.socket()).unwrap();
    std::fs::create_dir(folder.socket()).unwrap();
    refuses_to_start(&folder, &[]).await;
    assert!(folder.socket().is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbolic_link_is_refused() {
    let folder = Folder::new();
    let target = folder.path().join("target");
    std::fs::write(&target, "precious").unwrap();
    symlink(&target, folder.socket()).unwrap();
    refuses_to_start(&folder, &[]).await;
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    std::fs::remove_file(folder.socket()).unwrap();
    // One that leads to a stale socket, and one that leads nowhere.
    let stale = folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    for target in [stale, folder.path().join("nowhere")] {
        symlink(&target, folder.socket()).unwrap();
        refuses_to_start(&folder, &[]).await;
        assert!(std::fs::symlink_metadata(folder.socket()).unwrap().is_symlink());
        std::fs::remove_file(folder.socket()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_cannot_be_bound_is_named() {
    let folder = Folder::new();
    let said = refuses_to_start(&folder, &[("OAUTH_SOCKET_PATH", "/no/such/folder/relay.sock")]).await;
    assert!(said.contains("/no/such/folder"), "{said}");
    // `sun_path` holds 108 bytes.
    let long = folder.path().join("x".repeat(120));
    let said = refuses_to_start(&folder, &[("OAUTH_SOCKET_PATH", long.to_str().unwrap())]).await;
    assert!(said.contains("xxx") || said.contains("OAUTH_SOCKET_PATH"), "{said}");
}
