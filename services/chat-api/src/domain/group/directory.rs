//! The groups and members of every organization in use, in memory: loaded on first use, kept current by one feed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use common_auth::{Principal, Tenant};
use prometheus::{Gauge, IntCounter, IntGauge, Registry};
use tokio::{runtime::Handle, sync::watch};
use uuid::Uuid;

use super::roster::{Group, Roster};
use crate::clients::auth_api::{AuthApi, AuthApiError, Change, ChangeType};

/// An organization that could not be loaded is not tried again for this long.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The window of [`DirectorySettings::loads_per_caller`].
const LOAD_WINDOW: Duration = Duration::from_mins(1);
/// Callers whose loads are remembered; beyond it, those whose window is over are forgotten.
const MAX_LOADERS: usize = 10_000;

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
    loaders: Mutex<HashMap<String, (Instant, u32)>>,
    /// Where the feed stands; none until it was asked. Nothing is loaded before, or changes could be missed.
    position: watch::Sender<Option<u64>>,
    started: Instant,
    /// Milliseconds from `started` to the last answer of the feed.
    answered_at: AtomicU64,
    /// Loads outlive the request, and the worker thread, that started them.
    runtime: Handle,
}

/// One organization.
struct Org {
    roster: ArcSwapOption<Roster>,
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    /// Seconds from [`Directory::started`] to the last use.
    used_at: AtomicU64,
}

enum State {
    /// Changes that come meanwhile are kept for afterwards.
    Loading(Vec<Change>),
    Loaded,
    Failed(Instant),
    /// No longer in the directory; whoever waits looks it up again.
    Dropped,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Loading,
    Loaded,
    Failed,
    Dropped,
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
            loaders: Mutex::default(),
            position: watch::Sender::new(None),
            started: Instant::now(),
            answered_at: AtomicU64::new(0),
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

    /// Reads the feed once and applies what it brought. The first time, and after a gap, it only finds out where the feed stands.
    ///
    /// # Errors
    /// When auth-api did not answer, or a changed group could not be read; the same changes come again then.
    pub async fn follow_feed(&self) -> Result<(), AuthApiError> {
        let after = *self.position.borrow();
        let wait = if after.is_some() { self.settings.poll } else { Duration::ZERO };
        let page = match self.auth_api.list_changes(after, wait).await {
            Err(error @ AuthApiError::CursorTooOld) => {
                self.drop_all();
                return Err(error);
            }
            outcome => outcome?,
        };
        if after.is_some() {
            self.metrics.changes.inc_by(page.items.len() as u64);
            self.apply_to_all(page.items).await?;
        }
        self.answered_at.store(millis(self.started.elapsed()), Ordering::Relaxed);
        self.position.send_replace(Some(page.next));
        Ok(())
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
        // Written once a second: a line that every request writes would slow all of them.
        if org.used_at.load(Ordering::Relaxed) != now.as_secs() {
            org.used_at.store(now.as_secs(), Ordering::Relaxed);
        }
        org.roster.load_full()
    }

    async fn load_or_wait(
        self: &Arc<Self>,
        tenant: Tenant,
        caller: &Principal,
    ) -> Result<Arc<Roster>, DirectoryError> {
        loop {
            let org = self.find_or_start(tenant.org_id(), caller)?;
            let mut phase = org.phase.subscribe();
            let ended = phase.wait_for(|phase| *phase != Phase::Loading).await.map(|phase| *phase);
            match ended {
                Ok(Phase::Loaded) => return org.roster.load_full().ok_or(DirectoryError::Unavailable),
                Ok(Phase::Dropped) => tokio::task::yield_now().await,
                Ok(Phase::Loading | Phase::Failed) | Err(_) => return Err(DirectoryError::Unavailable),
            }
        }
    }

    /// The organization's place in the directory; where there is none, a load is started, which ends whether or not anybody waits.
    fn find_or_start(
        self: &Arc<Self>,
        org_id: Uuid,
        caller: &Principal,
    ) -> Result<Arc<Org>, DirectoryError> {
        let replacing = lock(&self.replacing);
        if let Some(org) = self.orgs.load().get(&org_id)
            && !org.may_be_tried_again()
        {
            return Ok(Arc::clone(org));
        }
        let caller = loader(caller);
        self.count_load(&caller)?;
        let org = Arc::new(Org {
            roster: ArcSwapOption::empty(),
            state: Mutex::new(State::Loading(Vec::new())),
            phase: watch::Sender::new(Phase::Loading),
            used_at: AtomicU64::new(self.started.elapsed().as_secs()),
        });
        let mut orgs = HashMap::clone(&self.orgs.load());
        orgs.insert(org_id, Arc::clone(&org));
        while orgs.len() > self.settings.max_orgs.max(1) {
            let oldest = orgs
                .iter()
                .filter(|(id, _)| **id != org_id)
                .min_by_key(|(_, org)| org.used_at.load(Ordering::Relaxed))
                .map(|(id, _)| *id);
            let Some(evicted) = oldest.and_then(|id| orgs.remove(&id)) else { break };
            evicted.end(State::Dropped, Phase::Dropped);
        }
        self.replace(orgs);
        drop(replacing);
        self.runtime.spawn(Arc::clone(self).load(org_id, Arc::clone(&org), caller));
        Ok(org)
    }

    async fn load(self: Arc<Self>, org_id: Uuid, org: Arc<Org>, caller: String) {
        self.metrics.loads.inc();
        if let Err(error) = self.try_load(org_id, &org).await {
            tracing::warn!(%error, "loading an organization's groups failed");
            // Not the caller's fault: it must not be refused once auth-api is back.
            if let Some((_, count)) = lock(&self.loaders).get_mut(&caller) {
                *count = count.saturating_sub(1);
            }
            org.end(State::Failed(Instant::now() + RETRY_AFTER), Phase::Failed);
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
        loop {
            let pending = match &mut *lock(&org.state) {
                State::Loading(pending) if pending.is_empty() => None,
                State::Loading(pending) => Some(std::mem::take(pending)),
                // Dropped meanwhile: whoever waits has been told.
                State::Loaded | State::Failed(_) | State::Dropped => return Ok(()),
            };
            if let Some(pending) = pending {
                self.apply(org_id, &mut roster, &pending).await?;
            } else if org.publish(&mut roster) {
                return Ok(());
            }
        }
    }

    /// Hands each organization its changes, and those that name none to all.
    async fn apply_to_all(&self, changes: Vec<Change>) -> Result<(), AuthApiError> {
        if changes.is_empty() {
            return Ok(());
        }
        // Read after the changes came: an organization that is being loaded since before them is in.
        let orgs = self.orgs.load_full();
        let mut outcome = Ok(());
        for (org_id, org) in orgs.iter() {
            let own: Vec<Change> =
                changes.iter().filter(|it| it.org_id.is_none_or(|id| id == *org_id)).cloned().collect();
            if own.is_empty() {
                continue;
            }
            match &mut *lock(&org.state) {
                State::Loading(pending) => {
                    pending.extend(own);
                    continue;
                }
                State::Loaded => {}
                State::Failed(_) | State::Dropped => continue,
            }
            let Some(current) = org.roster.load_full() else { continue };
            let mut roster = Roster::clone(&current);
            if let Err(error) = self.apply(*org_id, &mut roster, &own).await {
                outcome = Err(error);
            }
            org.roster.store(Some(Arc::new(roster)));
        }
        outcome
    }

    /// Applies changes in order. What cannot be read now is left out and makes the whole an error, so that it comes again.
    async fn apply(&self, org_id: Uuid, roster: &mut Roster, changes: &[Change]) -> Result<(), AuthApiError> {
        let mut outcome = Ok(());
        let mut read_anew = HashSet::new();
        let as_of = roster.as_of();
        for change in changes.iter().filter(|change| change.cursor > as_of) {
            let (ChangeType::GroupCreated | ChangeType::GroupUpdated, Some(group_id)) =
                (change.kind, change.group_id)
            else {
                roster.apply(change);
                continue;
            };
            if !read_anew.insert(group_id) {
                continue;
            }
            match self.auth_api.find_group(org_id, group_id).await {
                Ok(Some(group)) => roster.put(group.into()),
                Ok(None) => roster.remove(group_id),
                Err(error) => outcome = Err(error),
            }
        }
        if outcome.is_ok()
            && let Some(last) = changes.last()
        {
            roster.set_as_of(last.cursor);
        }
        outcome
    }

    /// Forgets every organization: changes were missed, so each is loaded anew.
    fn drop_all(&self) {
        let _replacing = lock(&self.replacing);
        self.position.send_replace(None);
        let orgs = self.orgs.load_full();
        self.replace(HashMap::new());
        orgs.values().for_each(|org| org.end(State::Dropped, Phase::Dropped));
        tracing::warn!("the feed of changes has a gap: every organization is loaded anew");
    }

    fn replace(&self, orgs: HashMap<Uuid, Arc<Org>>) {
        self.metrics.orgs.set(i64::try_from(orgs.len()).unwrap_or(i64::MAX));
        self.orgs.store(Arc::new(orgs));
    }

    /// Bounds how much one caller can make auth-api and this memory work.
    fn count_load(&self, caller: &str) -> Result<(), DirectoryError> {
        let now = Instant::now();
        let mut loaders = lock(&self.loaders);
        if loaders.len() >= MAX_LOADERS {
            loaders.retain(|_, (since, _)| now.duration_since(*since) < LOAD_WINDOW);
        }
        let (since, count) = loaders.entry(caller.to_owned()).or_insert((now, 0));
        if now.duration_since(*since) >= LOAD_WINDOW {
            (*since, *count) = (now, 0);
        }
        if *count >= self.settings.loads_per_caller {
            return Err(DirectoryError::TooManyLoads);
        }
        *count += 1;
        Ok(())
    }
}

impl Org {
    /// Puts the finished picture in place, unless more changes came or nobody wants it any more.
    fn publish(&self, roster: &mut Roster) -> bool {
        let mut state = lock(&self.state);
        match &*state {
            State::Loading(pending) if !pending.is_empty() => return false,
            State::Loading(_) => {}
            State::Loaded | State::Failed(_) | State::Dropped => return true,
        }
        self.roster.store(Some(Arc::new(std::mem::take(roster))));
        *state = State::Loaded;
        self.phase.send_replace(Phase::Loaded);
        true
    }

    fn end(&self, state: State, phase: Phase) {
        let mut current = lock(&self.state);
        if !matches!(*current, State::Dropped) {
            *current = state;
            self.phase.send_replace(phase);
        }
    }

    fn may_be_tried_again(&self) -> bool {
        matches!(*lock(&self.state), State::Failed(until) if Instant::now() >= until)
    }
}

/// Whose loads are counted together.
fn loader(caller: &Principal) -> String {
    match caller {
        Principal::User(user) => user.user_id.to_string(),
        Principal::Service(service) => service.client_id.clone(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
