//! Changes to groups and members, as other services follow them.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Identity,
    feed::{self, FeedError, Page, Query, Reader},
};
use crate::store::{self, change::ChangeRecord, feed::Feed};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    GroupCreated,
    MemberAdded,
    MemberRemoved,
    MemberRoleChanged,
    OrgMemberAdded,
    OrgMemberRemoved,
    UserDisabled,
}

/// A change that is about to be published.
#[derive(Clone, Debug)]
pub struct Change {
    kind: ChangeKind,
    org_id: Uuid,
    group_id: Option<Uuid>,
    user_id: Option<Uuid>,
    role: Option<&'static str>,
}

impl ChangeKind {
    fn name(self) -> &'static str {
        match self {
            Self::GroupCreated => "group.created",
            Self::MemberAdded => "member.added",
            Self::MemberRemoved => "member.removed",
            Self::MemberRoleChanged => "member.role_changed",
            Self::OrgMemberAdded => "org_member.added",
            Self::OrgMemberRemoved => "org_member.removed",
            Self::UserDisabled => "user.disabled",
        }
    }
}

impl Change {
    /// A change to a group.
    pub fn of_group(kind: ChangeKind, org_id: Uuid, group_id: Uuid) -> Self {
        Self { kind, org_id, group_id: Some(group_id), user_id: None, role: None }
    }

    /// A change to a member of a group.
    pub fn of_member(kind: ChangeKind, org_id: Uuid, group_id: Uuid, user_id: Uuid) -> Self {
        Self { kind, org_id, group_id: Some(group_id), user_id: Some(user_id), role: None }
    }

    /// A change to a user, or to its membership in an organization.
    pub fn of_user(kind: ChangeKind, org_id: Uuid, user_id: Uuid) -> Self {
        Self { kind, org_id, group_id: None, user_id: Some(user_id), role: None }
    }

    /// The role that the member has from now on.
    #[must_use]
    pub fn with_role(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self
    }

    pub(super) fn into_record(self, now: OffsetDateTime) -> ChangeRecord {
        ChangeRecord {
            cursor: 0,
            at: now,
            kind: self.kind.name().to_owned(),
            org_id: self.org_id,
            group_id: self.group_id,
            user_id: self.user_id,
            role: self.role.map(str::to_owned),
        }
    }
}

/// The changes after a cursor; without one, none, and the cursor to go on from. `orgs` limits them to these organizations.
pub async fn page(
    identity: &Identity,
    query: Query,
    orgs: Option<&[Uuid]>,
) -> Result<Page<ChangeRecord>, FeedError> {
    let Some(after) = query.after else {
        let heads = store::feed::find_heads(&identity.db.connection().await?).await?;
        return Ok(Page { items: Vec::new(), next: heads.changes });
    };
    let mut reader = Reader::new(Feed::Changes, after, query);
    loop {
        let page = if reader.is_at_head(&identity.feeds) {
            reader.end()
        } else {
            read(identity, &mut reader, orgs).await?
        };
        if let Some(page) = page {
            return Ok(page);
        }
        reader.wait(identity).await;
    }
}

async fn read(
    identity: &Identity,
    reader: &mut Reader,
    orgs: Option<&[Uuid]>,
) -> Result<Option<Page<ChangeRecord>>, FeedError> {
    let connection = identity.db.connection().await?;
    let head = store::feed::find_heads(&connection).await?.changes;
    let items = store::change::list(&connection, reader.after, reader.limit, orgs).await?;
    feed::check_cursor(&connection, Feed::Changes, reader.after).await?;
    reader.finish(items, head, |change| change.cursor)
}
