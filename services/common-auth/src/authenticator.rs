//! The one thing that a service asks about tokens, whichever way they are checked.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::task::JoinHandle;

use crate::{
    error::AuthError,
    introspection::Introspector,
    token_hash::TokenHash,
    verifier::{VerifiedToken, Verifier, unix_now},
};

const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

/// Checks tokens locally or at auth-api. Shared by the workers as `actix_web::web::Data<Authenticator>`.
pub struct Authenticator {
    way: Way,
}

enum Way {
    Local(Arc<Verifier>),
    Introspection(Introspector),
}

/// The background tasks of an [`Authenticator`]; they end when this is dropped.
#[must_use = "the tasks end when this is dropped"]
pub struct Background(Vec<JoinHandle<()>>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Authenticator {
    /// Local validation (`USE_OAUTH2_AUTH=true`).
    pub fn local(verifier: Arc<Verifier>) -> Self {
        Self { way: Way::Local(verifier) }
    }

    /// Validation at auth-api (`USE_OAUTH2_AUTH=false`).
    pub fn introspection(introspector: Introspector) -> Self {
        Self { way: Way::Introspection(introspector) }
    }

    /// Starts what runs in the background: fetching keys and following revocations. Call it inside a tokio runtime.
    pub fn start(&self) -> Background {
        Background(match &self.way {
            Way::Local(verifier) => {
                let (keys, feed) = (Arc::clone(verifier), Arc::clone(verifier));
                vec![
                    tokio::spawn(unending(move || Arc::clone(keys.keys()).run())),
                    tokio::spawn(unending(move || {
                        Arc::clone(feed.revocations()).run(Arc::clone(feed.keys()))
                    })),
                ]
            }
            Way::Introspection(_) => Vec::new(),
        })
    }

    /// Whether requests may come: keys are there, and the revocations too (or five seconds have passed).
    pub fn is_ready(&self) -> bool {
        match &self.way {
            Way::Local(verifier) => verifier.keys().has_keys() && verifier.revocations().is_ready(),
            Way::Introspection(_) => true,
        }
    }

    /// Checks a token.
    ///
    /// # Errors
    /// [`AuthError::TokenExpired`], [`AuthError::InvalidToken`] or [`AuthError::Unavailable`].
    pub async fn authenticate(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        match &self.way {
            Way::Local(verifier) => verifier.verify(token).await,
            Way::Introspection(introspector) => introspector.introspect(token).await,
        }
    }

    /// The answer that needs no waiting: a token that was verified before. Else what [`Authenticator::authenticate_missed`] goes
    /// on with, so that one request looks into the cache, and counts, once.
    pub(crate) fn authenticate_cached(
        &self,
        token: &[u8],
    ) -> Result<Result<Arc<VerifiedToken>, AuthError>, TokenHash> {
        match &self.way {
            Way::Local(verifier) => verifier.verify_cached_at(token, unix_now()),
            Way::Introspection(_) => Err(TokenHash::default()),
        }
    }

    pub(crate) async fn authenticate_missed(
        &self,
        token: &str,
        hash: TokenHash,
    ) -> Result<Arc<VerifiedToken>, AuthError> {
        match &self.way {
            Way::Local(verifier) => verifier.verify_missed_at(token, hash, unix_now()).await,
            Way::Introspection(introspector) => introspector.introspect(token).await,
        }
    }
}

/// Starts a task over when it panics: a service whose keys and revocations silently stand still would be worse.
async fn unending<F: Future<Output = ()>>(task: impl Fn() -> F) {
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        tracing::error!("a background task of the token check panicked and starts over");
        tokio::time::sleep(PAUSE_AFTER_PANIC).await;
    }
}
