//! Keeping the loaded organizations current: the feed's changes, applied in order.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use uuid::Uuid;

use super::{Directory, Roster, millis};
use crate::clients::auth_api::{AuthApiError, Change, ChangeType, DirectoryGroup};

/// So often in a row a changed group may fail to be read, before its organization is given up: the feed stands still meanwhile, and
/// with it the news of all others.
const MOST_TRIES: u32 = 5;

/// What an answer of the feed may take beyond its wait, after one that came; doubled after each that did not, up to four times this.
const MARGIN: Duration = Duration::from_secs(1);

/// Changed groups of an organization that are read at the same time.
const READS_AT_ONCE: usize = 16;

impl Directory {
    /// Reads the feed once, applies what it brought, and says whether that was anything. The first time, and after a gap, it only
    /// finds out where the feed stands.
    ///
    /// # Errors
    /// When auth-api did not answer, or a changed group could not be read; the same changes come again then. A group that cannot be
    /// read time and again costs only its own organization its place.
    pub async fn follow_feed(&self) -> Result<bool, AuthApiError> {
        let after = *self.position.borrow();
        let wait = if after.is_some() { self.settings.poll } else { Duration::ZERO };
        let margin = MARGIN * (1 << self.failed_polls.fetch_add(1, Ordering::Relaxed).min(2));
        let page = match self.auth_api.list_changes(after, wait, margin).await {
            Err(error @ AuthApiError::CursorTooOld) => {
                self.drop_all();
                return Err(error);
            }
            outcome => outcome?,
        };
        self.failed_polls.store(0, Ordering::Relaxed);
        if after.is_some() {
            self.metrics.changes.inc_by(page.items.len() as u64);
            let is_last_try = self.failed_tries.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_TRIES;
            self.apply_to_all(page.items, is_last_try).await?;
            self.failed_tries.store(0, Ordering::Relaxed);
        }
        self.answered_at.store(millis(self.started.elapsed()), Ordering::Relaxed);
        self.position.send_replace(Some(page.next));
        Ok(after != Some(page.next))
    }

    /// Hands each organization its changes, and those that name none to all. On the last try, an organization that cannot take its
    /// changes leaves the directory and is loaded anew at its next use.
    async fn apply_to_all(&self, changes: Vec<Change>, is_last_try: bool) -> Result<(), AuthApiError> {
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
            let Some(current) = org.current(&own) else { continue };
            let mut roster = Roster::clone(&current);
            match self.apply(*org_id, &mut roster, &own).await {
                Err(error) if is_last_try => {
                    tracing::error!(%error, %org_id, "an organization's changes cannot be read: it is loaded anew");
                    self.drop_org(*org_id);
                    continue;
                }
                Err(error) => outcome = Err(error),
                Ok(()) => {}
            }
            org.replace(roster);
        }
        outcome
    }

    /// Applies changes in order. What cannot be read now is left out and makes the whole an error, so that it comes again.
    pub(super) async fn apply(
        &self,
        org_id: Uuid,
        roster: &mut Roster,
        changes: &[Change],
    ) -> Result<(), AuthApiError> {
        let as_of = roster.as_of();
        let news = || changes.iter().filter(move |change| change.cursor > as_of);
        let mut groups = self.read_groups(org_id, news().filter_map(group_to_read).collect()).await;
        let mut outcome = Ok(());
        for change in news() {
            let Some(group_id) = group_to_read(change) else {
                roster.apply(change);
                continue;
            };
            match groups.remove(&group_id) {
                Some(Ok(Some(group))) => roster.put(group.into()),
                Some(Ok(None)) => roster.remove(group_id),
                Some(Err(error)) => outcome = Err(error),
                // It was read for an earlier change, and is as new as this one.
                None => {}
            }
        }
        if outcome.is_ok()
            && let Some(last) = changes.last()
        {
            roster.set_as_of(last.cursor);
        }
        outcome
    }

    /// Several at once: what comes behind them in the feed, such as that a member is out, waits for them.
    async fn read_groups(
        &self,
        org_id: Uuid,
        ids: HashSet<Uuid>,
    ) -> HashMap<Uuid, Result<Option<DirectoryGroup>, AuthApiError>> {
        stream::iter(ids)
            .map(async |id| (id, self.auth_api.find_group(org_id, id).await))
            .buffer_unordered(READS_AT_ONCE)
            .collect()
            .await
    }

    /// Forgets one organization.
    fn drop_org(&self, org_id: Uuid) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut orgs = HashMap::clone(&self.orgs.load());
        if let Some(org) = orgs.remove(&org_id) {
            org.drop_out();
        }
        self.replace(orgs);
    }

    /// Forgets every organization: changes were missed, so each is loaded anew.
    fn drop_all(&self) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.position.send_replace(None);
        let orgs = self.orgs.load_full();
        self.replace(HashMap::new());
        orgs.values().for_each(|org| org.drop_out());
        tracing::warn!("the feed of changes has a gap: every organization is loaded anew");
    }
}

/// The group that a change says too little about.
fn group_to_read(change: &Change) -> Option<Uuid> {
    let is_told = !matches!(change.kind, ChangeType::GroupCreated | ChangeType::GroupUpdated);
    change.group_id.filter(|_| !is_told)
}
