//! One renewal of a credential at a time in this process, whoever waits for it; and none is cut off when they go away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::refresh::{self, Renewal, Target};
use crate::domain::{Integrations, provider::CredentialKind};

/// How long the end of the process waits for renewals: a call to a provider and the write after it.
const CLOSE_LIMIT: Duration = Duration::from_secs(12);

/// The renewals under way in this process, and other work that has to be completed once it has begun.
pub struct Flights {
    under_way: Arc<Mutex<UnderWay>>,
    tasks: TaskTracker,
    /// The runtime that lives as long as the process. That of a worker ends with the worker, and all that runs on it.
    runtime: Option<Handle>,
}

type Key = (Uuid, CredentialKind);
type UnderWay = HashMap<Key, Shared<BoxFuture<'static, Renewal>>>;

/// Takes a renewal off the list when it ends, however it ends.
struct Landing {
    under_way: Arc<Mutex<UnderWay>>,
    key: Key,
}

impl Default for Flights {
    fn default() -> Self {
        Self { under_way: Arc::default(), tasks: TaskTracker::new(), runtime: Handle::try_current().ok() }
    }
}

impl Flights {
    /// Runs work to its end, whoever stops waiting for it: the caller, or the worker that began it. Calls to providers run here too,
    /// since a connection that is kept for the next call lives on the runtime where it was made.
    pub fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.runtime {
            Some(runtime) => self.tasks.spawn_on(work, runtime),
            None => self.tasks.spawn(work),
        }
    }

    /// Joins the renewal of this credential, or starts it. It goes on when nobody waits any more: callers come and go, and a provider's
    /// answer that nobody writes down is lost for good.
    pub(super) fn join(
        &self,
        integrations: &Arc<Integrations>,
        target: Target,
    ) -> Shared<BoxFuture<'static, Renewal>> {
        let key = (target.installation_id, target.kind);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&key) {
            return flight.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let landing = Landing { under_way: Arc::clone(&self.under_way), key };
        let integrations = Arc::clone(integrations);
        self.complete(async move {
            let renewal = refresh::run(&integrations, &target).await;
            drop(landing);
            // Nobody may be waiting.
            let _ = sender.send(renewal);
        });
        let flight = receiver.map(|outcome| outcome.unwrap_or(Renewal::Later { retry_after: None }));
        let flight = flight.boxed().shared();
        under_way.insert(key, flight.clone());
        flight
    }

    /// Waits until what is under way has ended, at the end of the process.
    pub async fn close(&self) {
        self.tasks.close();
        if tokio::time::timeout(CLOSE_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "renewals were cut off");
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
