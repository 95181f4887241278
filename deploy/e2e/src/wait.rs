//! Waiting for a condition: polled, with a deadline, and never longer than needed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Asks until the answer is yes, and returns how long that took; an error when it takes longer than `limit`.
pub async fn until<F: Future<Output = Result<bool>>>(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let outcome = holds().await;
        if let Ok(true) = outcome {
            return Ok(started.elapsed());
        }
        if started.elapsed() > limit {
            match outcome {
                Ok(_) => bail!("not within {limit:?}: {what}"),
                Err(error) => return Err(error.context(format!("not within {limit:?}: {what}"))),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
