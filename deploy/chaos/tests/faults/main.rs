//! The fault matrix, as far as one machine shows it (`make chaos`). A run prints its seed; `CHAOS_SEED=<number>` repeats it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it saw"
)]

mod auth_api_stopped;
mod bound_service;
mod databases_cut;
mod expiry;
mod relay;
mod replicas;
mod revocation;
mod rollback;
mod rotation;

use std::time::Duration;

use anyhow::Result;
use e2e::{ChatApi, Session, wait};
use uuid::Uuid;

/// Within which a revocation or a removal has to bite, and every answer of a service whose peer is down has to come.
const SOON: Duration = Duration::from_secs(3);

/// Waits until chat-api answers this token with this status.
async fn answers(
    chat: &ChatApi,
    session: &Session,
    group_id: Uuid,
    status: u16,
    what: &str,
) -> Result<Duration> {
    wait::until(SOON, what, async || {
        Ok(chat.history(&session.access_token, group_id, "limit=1").await?.status == status)
    })
    .await
}

/// chat-api as seen through a process of its own.
fn chat(service: &chaos::Service) -> ChatApi {
    ChatApi { peer: service.peer.clone(), admin: service.admin.clone() }
}
