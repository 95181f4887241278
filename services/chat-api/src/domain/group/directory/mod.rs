//! The groups and members of every organization in use, in memory: loaded on first use, kept current by one feed.

mod feed;
mod load_limit;
mod org;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use common_auth::{Principal, Tenant};
use prometheus::{Gauge, IntCounter, IntGauge, Registry};
use tokio::{runtime::Handle, sync::watch};
use uuid::Uuid;

use self::{
    load_limit::LoadLimit,
    org::{LoadGuard, Org, Pending, Phase},
};
use super::roster::{Group, Roster};
use crate::clients::auth_api::{AuthApi, AuthApiError};

/// The bounds of the directory.
#[derive(Clone, Copy, Debug)]
pub struct DirectorySettings {
    /// How long the directory is good without news from auth-api (`DIRECTORY_MAX_STALE_SECONDS`).
    pub max_stale: Duration,
    /// Organizations kept in memory; the least recently used one goes.
    pub max_orgs: usize,
    /// Organizations that one caller may have loaded per minute.
    pub loads_per_caller: u32,
    /// The longest that a request waits for an organization to be loaded.
    pub wait: Duration,
    /// How long one poll of the feed waits for news.
    pub poll: Duration,
}

/// What the directory shows of itself.
#[derive(Clone)]
pub struct DirectoryMetrics {
    age: Gauge,
    orgs: IntGauge,
    loads: IntCounter,
    changes: IntCounter,
}

/// Why an organization's groups are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// auth-api was not reached, now or for too long.
    #[error("the directory of groups is unavailable")]
    Unavailable,
    /// The caller made too many organizations be loaded.
    #[error("too many organizations were asked for")]
    TooManyLoads,
}

/// The directory.
pub struct Directory {
    auth_api: AuthApi,
    settings: DirectorySettings,
    metrics: DirectoryMetrics,
    orgs: ArcSwap<HashMap<Uuid, Arc<Org>>>,
    /// Held while [`Directory::orgs`] is replaced, never while it is read.
    replacing: Mutex<()>,
    limit: LoadLimit,
    /// Where the feed stands; none until it was asked. Nothing is loaded before, or changes could be missed.
    position: watch::Sender<Option<u64>>,
    started: Instant,
    /// Milliseconds from `started` to the last answer of the feed.
    answered_at: AtomicU64,
    /// Polls in a row without an answer.
    failed_polls: AtomicU32,
    /// Times in a row that the changes at `position` could not be applied in full.
    failed_tries: AtomicU32,
    /// Loads outlive the request, and the worker thread, that started them.
    runtime: Handle,
}

impl DirectoryMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry already has one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            age: Gauge::new("directory_feed_age_seconds", "Time since auth-api last answered about groups.")?,
            orgs: IntGauge::new("directory_organizations", "Organizations kept in memory.")?,
            loads: IntCounter::new("directory_loads_total", "Organizations loaded from auth-api.")?,
            changes: IntCounter::new("directory_changes_total", "Changes read from auth-api's feed.")?,
        };
        registry.register(Box::new(metrics.age.clone()))?;
        registry.register(Box::new(metrics.orgs.clone()))?;
        registry.register(Box::new(metrics.loads.clone()))?;
        registry.register(Box::new(metrics.changes.clone()))?;
        Ok(metrics)
    }
}

impl Directory {
    /// An empty directory, which loads organizations on the current runtime.
    #[must_use]
    pub fn new(auth_api: AuthApi, settings: DirectorySettings, metrics: DirectoryMetrics) -> Self {
        Self {
            auth_api,
            settings,
            metrics,
            orgs: ArcSwap::default(),
            replacing: Mutex::default(),
            limit: LoadLimit::new(settings.loads_per_caller),
            position: watch::Sender::new(None),
            started: Instant::now(),
            answered_at: AtomicU64::new(0),
            failed_polls: AtomicU32::new(0),
            failed_tries: AtomicU32::new(0),
            runtime: Handle::current(),
        }
    }

    /// The groups of the tenant's organization, loaded if this is their first use.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub async fn roster(
        self: &Arc<Self>,
        tenant: Tenant,
        caller: &Principal,
    ) -> Result<Arc<Roster>, DirectoryError> {
        let now = self.started.elapsed();
        if let Some(roster) = self.loaded(tenant.org_id(), now) {
            return if self.age(now) <= self.settings.max_stale {
                Ok(roster)
            } else {
                Err(DirectoryError::Unavailable)
            };
        }
        tokio::time::timeout(self.settings.wait, self.load_or_wait(tenant, caller))
            .await
            .unwrap_or(Err(DirectoryError::Unavailable))
    }

    /// Brings the age metric up to date.
    pub fn show_age(&self) {
        self.metrics.age.set(self.age(self.started.elapsed()).as_secs_f64());
    }

    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_millis(self.answered_at.load(Ordering::Relaxed)))
    }

    fn loaded(&self, org_id: Uuid, now: Duration) -> Option<Arc<Roster>> {
        let orgs = self.orgs.load();
        let org = orgs.get(&org_id)?;
        org.touch(now);
        org.roster()
    }

    async fn load_or_wait(
        self: &Arc<Self>,
        tenant: Tenant,
        caller: &Principal,
    ) -> Result<Arc<Roster>, DirectoryError> {
        loop {
            let org = self.find_or_start(tenant.org_id(), caller)?;
            match org.ended().await {
                Phase::Loaded => return org.roster().ok_or(DirectoryError::Unavailable),
                Phase::Dropped => tokio::task::yield_now().await,
                Phase::Loading | Phase::Failed => return Err(DirectoryError::Unavailable),
            }
        }
    }

    /// The organization's place in the directory; where there is none, a load is started, which ends whether or not anybody waits.
    fn find_or_start(self: &Arc<Self>, org_id: Uuid, caller: &Principal) -> Result<Arc<Org>, DirectoryError> {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, now) = (Instant::now(), self.started.elapsed());
        if let Some(org) = self.orgs.load().get(&org_id)
            && !org.may_be_tried_again(clock)
        {
            return Ok(Arc::clone(org));
        }
        let caller = LoadLimit::name(caller);
        if !self.limit.take(&caller, clock) {
            return Err(DirectoryError::TooManyLoads);
        }
        let org = Arc::new(Org::loading(now));
        let mut orgs = HashMap::clone(&self.orgs.load());
        while orgs.len() >= self.settings.max_orgs.max(1) {
            let oldest = orgs.iter().min_by_key(|(_, org)| org.used_at()).map(|(id, _)| *id);
            let Some(evicted) = oldest.and_then(|id| orgs.remove(&id)) else { break };
            evicted.drop_out();
        }
        orgs.insert(org_id, Arc::clone(&org));
        self.replace(orgs);
        drop(replacing);
        self.runtime.spawn(Arc::clone(self).load(org_id, Arc::clone(&org), caller));
        Ok(org)
    }

    async fn load(self: Arc<Self>, org_id: Uuid, org: Arc<Org>, caller: String) {
        self.metrics.loads.inc();
        let _ends = LoadGuard(Arc::clone(&org));
        if let Err(error) = self.try_load(org_id, &org).await {
            tracing::warn!(%error, "loading an organization's groups failed");
            self.limit.give_back(&caller);
        }
    }

    async fn try_load(&self, org_id: Uuid, org: &Org) -> Result<(), AuthApiError> {
        let mut position = self.position.subscribe();
        let feed = position.wait_for(Option::is_some);
        if tokio::time::timeout(self.settings.wait, feed).await.is_err() {
            return Err(AuthApiError::Unavailable("the feed of changes does not answer".to_owned()));
        }
        let listing = self.auth_api.list_groups(org_id).await?;
        let mut roster = Roster::new(listing.groups.into_iter().map(Group::from), listing.cursor);
        while let Pending::Changes(changes) = org.publish(&roster) {
            self.apply(org_id, &mut roster, &changes).await?;
        }
        Ok(())
    }

    fn replace(&self, orgs: HashMap<Uuid, Arc<Org>>) {
        self.metrics.orgs.set(i64::try_from(orgs.len()).unwrap_or(i64::MAX));
        self.orgs.store(Arc::new(orgs));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
