//! The harness: [`TestApp::spawn`] gives an app of one's own, [`AuthApi`] plays auth-api, [`CutProxy`] stands in front of a server
//! and can be cut, [`World`] starts real processes.

mod app;
mod auth_api;
mod cut_proxy;
mod replicas;

use std::time::{Duration, Instant};

pub(crate) use app::{Answer, Client, TestApp, TestAppOptions, mongodb_uri};
pub(crate) use auth_api::AuthApi;
pub(crate) use cut_proxy::CutProxy;
pub(crate) use replicas::World;

/// Waits until `condition` holds, and fails the test when it does not within `limit`.
pub(crate) async fn eventually(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
