//! Keeps the directory current.

use std::{sync::Arc, time::Duration};

use crate::{clients::auth_api::AuthApiError, domain::group::Directory};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short, so that a member removed during an outage is out soon after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Follows auth-api's feed of changes until the task is dropped.
pub async fn run(directory: Arc<Directory>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match directory.follow_feed().await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                continue;
            }
            Err(AuthApiError::CursorTooOld) => {}
            Err(error) => tracing::warn!(%error, "the feed of changes failed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
