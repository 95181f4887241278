//! Groups: who is in them, how far their timelines reach, and how far each user has read.

mod directory;
mod heads;
mod roster;

use std::{sync::Arc, time::Duration};

use common_auth::{Principal, TenantError, extract::Right};
use time::OffsetDateTime;
use uuid::Uuid;

pub use directory::{Directory, DirectoryError, DirectoryMetrics, DirectorySettings};
pub use heads::Heads;
pub use roster::{Group, Roster};

use super::message::moment;
use crate::store::{
    GroupKey, Store, StoreError,
    group::{HeadRecord, LastMessageRecord},
    message::Tip,
};

/// Seeing groups.
pub struct GroupsRead;

impl Right for GroupsRead {
    const NAME: &'static str = "groups:read";
}

/// The use cases of groups.
pub struct Groups {
    directory: Arc<Directory>,
    store: Store,
    heads: Arc<Heads>,
    limit: Duration,
}

/// That a caller may use a group, and the key of its timeline.
#[derive(Clone, Debug)]
pub struct Access {
    pub key: GroupKey,
    pub group: Arc<Group>,
}

/// The groups that a caller sees.
#[derive(Clone, Debug)]
pub struct GroupList {
    roster: Arc<Roster>,
    /// A user sees the groups it is in, a service all of the organization.
    member: Option<Uuid>,
}

/// What goes on in a group, for one caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    pub last_seq: i64,
    pub last_change: i64,
    /// Services do not read.
    pub last_read_seq: Option<i64>,
    pub last_message: Option<LastMessage>,
}

/// The newest message of a group, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastMessage {
    pub id: Uuid,
    pub seq: i64,
    pub sender_id: Uuid,
    /// The beginning of its text.
    pub excerpt: String,
    pub created_at: OffsetDateTime,
}

/// How far a user has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadMark {
    pub last_seq: i64,
    pub last_read_seq: i64,
}

/// Why a group is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// It does not exist, or belongs to another organization.
    #[error("no such group")]
    NotFound,
    #[error("not a member of the group")]
    NotAMember,
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Activity {
    /// Messages that the caller has not read.
    #[must_use]
    pub fn unread(&self) -> Option<i64> {
        self.last_read_seq.map(|read| (self.last_seq - read).max(0))
    }
}

impl GroupList {
    /// The groups, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        match self.member {
            Some(user_id) => self.roster.groups_of(user_id),
            None => self.roster.all(),
        }
    }
}

impl Groups {
    /// Requests wait for the store no longer than `limit`.
    pub fn new(directory: Arc<Directory>, store: Store, heads: Arc<Heads>, limit: Duration) -> Self {
        Self { directory, store, heads, limit }
    }

    /// Checks that the caller may use the group: a user as a member, a service in an organization that it is bound to.
    ///
    /// # Errors
    /// Any [`GroupError`] but [`GroupError::Store`].
    pub async fn access(
        &self,
        caller: &Principal,
        org_id: Option<Uuid>,
        group_id: Uuid,
    ) -> Result<Access, GroupError> {
        let tenant = caller.tenant(org_id)?;
        let roster = self.directory.roster(tenant, caller).await?;
        let group = roster.group(group_id).ok_or(GroupError::NotFound)?;
        match caller {
            Principal::User(user) if !group.has_member(user.user_id) => Err(GroupError::NotAMember),
            _ => Ok(Access { key: GroupKey::new(tenant, group_id), group: Arc::clone(group) }),
        }
    }

    /// The groups that the caller sees, without asking the store.
    ///
    /// # Errors
    /// [`GroupError::Tenant`] or [`GroupError::Directory`].
    pub async fn list(&self, caller: &Principal, org_id: Option<Uuid>) -> Result<GroupList, GroupError> {
        let tenant = caller.tenant(org_id)?;
        let roster = self.directory.roster(tenant, caller).await?;
        let member = match caller {
            Principal::User(user) => Some(user.user_id),
            Principal::Service(_) => None,
        };
        Ok(GroupList { roster, member })
    }

    /// What goes on in each group of the list, in two queries whatever their number.
    ///
    /// # Errors
    /// [`GroupError::Tenant`] or [`GroupError::Store`].
    pub async fn list_activity(
        &self,
        caller: &Principal,
        org_id: Option<Uuid>,
        groups: &GroupList,
    ) -> Result<Vec<Activity>, GroupError> {
        let tenant = caller.tenant(org_id)?;
        let reader = groups.member;
        // A service sees every group of the organization, for which no list is needed.
        let own = reader.map(|_| groups.iter().map(|group| group.id).collect::<Vec<_>>());
        let (heads, marks) = within(self.limit, async {
            futures_util::future::try_join(self.store.list_heads(tenant, own.as_deref()), async {
                match reader {
                    Some(user_id) => self.store.list_read_marks(tenant, user_id).await,
                    None => Ok(Vec::new()),
                }
            })
            .await
        })
        .await?;
        let heads = self.heads.newest_of(heads);
        let marks: std::collections::HashMap<Uuid, i64> = marks
            .into_iter()
            .filter_map(|mark| Some((Uuid::parse_str(&mark.group_id).ok()?, mark.seq)))
            .collect();
        groups
            .iter()
            .map(|group| {
                let key = GroupKey::new(tenant, group.id);
                let head = heads.get(&key);
                let read = reader.map(|_| marks.get(&group.id).copied().unwrap_or_default());
                Ok(activity(head, read)?)
            })
            .collect()
    }

    /// What goes on in one group, as of now.
    ///
    /// # Errors
    /// [`GroupError::Store`]
    pub async fn activity(&self, caller: &Principal, access: &Access) -> Result<Activity, GroupError> {
        let key = &access.key;
        let (head, read) = within(self.limit, async {
            futures_util::future::try_join(self.heads.find_head(key), async {
                match caller {
                    Principal::User(user) => {
                        let mark = self.store.find_read_mark(key, user.user_id).await?;
                        Ok(Some(mark.unwrap_or_default()))
                    }
                    Principal::Service(_) => Ok(None),
                }
            })
            .await
        })
        .await?;
        Ok(activity(Some(&head), read)?)
    }

    /// Marks the group as read up to `seq`, never back and never beyond the last message.
    ///
    /// # Errors
    /// Any [`GroupError`].
    pub async fn mark_read(
        &self,
        caller: &Principal,
        user_id: Uuid,
        group_id: Uuid,
        seq: i64,
    ) -> Result<ReadMark, GroupError> {
        let key = self.access(caller, None, group_id).await?.key;
        let mark = within(self.limit, async {
            let Tip { seq: last_seq, .. } = self.heads.find_tip(&key).await?;
            let last_read_seq = self.store.update_read_mark(&key, user_id, seq.min(last_seq)).await?;
            Ok(ReadMark { last_seq, last_read_seq })
        })
        .await?;
        Ok(mark)
    }
}

fn activity(head: Option<&HeadRecord>, last_read_seq: Option<i64>) -> Result<Activity, StoreError> {
    let Some(head) = head else { return Ok(Activity { last_read_seq, ..Activity::default() }) };
    Ok(Activity {
        last_seq: head.last_seq,
        last_change: head.last_change,
        last_read_seq,
        last_message: head.last_message.clone().map(last_message).transpose()?,
    })
}

fn last_message(record: LastMessageRecord) -> Result<LastMessage, StoreError> {
    let id = |text: &str| Uuid::parse_str(text).map_err(|error| StoreError::Unreadable(error.to_string()));
    Ok(LastMessage {
        id: id(&record.id)?,
        seq: record.seq,
        sender_id: id(&record.sender_id)?,
        excerpt: record.content,
        created_at: moment(record.created_at)?,
    })
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(StoreError::TimedOut))
}
