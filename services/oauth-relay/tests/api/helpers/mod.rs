//! The harness: [`TestApp`] gives a relay of one's own, [`Wire`] speaks its frames byte by byte, [`Process`] runs the real binary,
//! [`AuthApi`] plays auth-api.

mod app;
mod auth_api;
mod original;
mod process;
mod schema;
mod wire;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub(crate) use app::{Answer, Http, TestApp, state};
pub(crate) use auth_api::AuthApi;
pub(crate) use original::{OriginalCoordinator, python_client};
pub(crate) use process::{Outcome, Process, free_port, run, run_with_input};
pub(crate) use wire::Wire;

/// Longer than anything takes that works; the machine may be busy with a build.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// A folder with a short path, gone with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = std::env::temp_dir().join(format!("relay-{}", &name[..12]));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the socket of a relay goes; short enough for `sun_path`.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("relay.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until `condition` holds, and fails the test when it does not within [`SOON`].
pub(crate) async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(what, SOON, condition).await;
}

/// As [`eventually`], with a limit of its own.
pub(crate) async fn within(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What `future` resolves to, which it has to within [`SOON`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

/// Asserts that something took `expected`, give or take 5 %.
pub(crate) fn assert_took(started: Instant, expected: Duration) {
    let took = started.elapsed();
    assert!(took >= expected.mul_f64(0.95) && took <= expected.mul_f64(1.05), "{took:?} is not {expected:?}");
}

pub(crate) fn install_crypto_provider() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
