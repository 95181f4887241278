//! Keeps the directory current.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{clients::auth_api::AuthApiError, domain::group::Directory};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short, so that a member removed during an outage is out soon after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Follows auth-api's feed of changes until the task is dropped.
pub async fn run(directory: Arc<Directory>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let asked = Instant::now();
        match directory.follow_feed().await {
            Ok(has_news) => {
                pause = FIRST_PAUSE;
                if !has_news {
                    // An auth-api that does not wait, such as one that is shutting down, must not be asked in a tight circle.
                    tokio::time::sleep(FIRST_PAUSE.saturating_sub(asked.elapsed())).await;
                }
                continue;
            }
            Err(AuthApiError::CursorTooOld) => {}
            Err(error) => tracing::warn!(%error, "the feed of changes failed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
