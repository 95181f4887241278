//! Groups and their members, as users and services see them.

use common_auth::{Principal, Tenant, TenantError};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Identity,
    audit::{self, Circumstances, Event},
    change::{Change, ChangeKind},
    feed,
};
use crate::store::{
    self, StoreError,
    group::{GroupMemberRecord, GroupRecord},
};

/// A group, as its organization sees it.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: Uuid,
    pub org_id: Uuid,
    pub name: String,
    pub description: String,
    pub created_by: Option<Uuid>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct GroupMember {
    pub user_id: Uuid,
    pub username: String,
    pub email: String,
    pub role: String,
    pub joined_at: OffsetDateTime,
}

/// A group's name: trimmed, 1 to 100 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName(String);

/// The text is no group name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name has 1 to 100 characters and no control characters")]
pub struct InvalidGroupName;

/// What a member may do in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GroupRole {
    #[default]
    Member,
    Admin,
}

/// Why there is no answer about groups.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// No such group, or one of another organization: the same from outside.
    #[error("no such group")]
    NotFound,
    /// The user is not a member of the group's organization, or unknown.
    #[error("the user is not a member of the organization")]
    NotInOrg,
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A page of a list in the order of ids.
pub struct Listing<T> {
    pub items: Vec<T>,
    pub next: Option<Uuid>,
}

const MAX_NAME_CHARS: usize = 100;

impl From<GroupRecord> for Group {
    fn from(record: GroupRecord) -> Self {
        Self {
            id: record.id,
            org_id: record.org_id,
            name: record.name,
            description: record.description,
            created_by: record.created_by,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl From<GroupMemberRecord> for GroupMember {
    fn from(record: GroupMemberRecord) -> Self {
        Self {
            user_id: record.user_id,
            username: record.username,
            email: record.email,
            role: record.role,
            joined_at: record.joined_at,
        }
    }
}

impl std::str::FromStr for GroupName {
    type Err = InvalidGroupName;

    fn from_str(text: &str) -> Result<Self, InvalidGroupName> {
        let text = text.trim();
        let is_long = text.chars().count() > MAX_NAME_CHARS;
        if text.is_empty() || is_long || text.chars().any(char::is_control) {
            return Err(InvalidGroupName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl GroupRole {
    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

/// The group, for a member of its organization.
pub async fn get_group_details(
    identity: &Identity,
    tenant: Tenant,
    group_id: Uuid,
    user_id: Uuid,
) -> Result<Group, GroupError> {
    let connection = identity.db.connection().await?;
    let group = store::group::find_for_user(tenant, &connection, group_id, user_id).await?;
    group.map(Into::into).ok_or(GroupError::NotFound)
}

/// The group, for a service that may see the organization.
pub async fn get_group_details_admin(
    identity: &Identity,
    tenant: Tenant,
    group_id: Uuid,
) -> Result<Group, GroupError> {
    let connection = identity.db.connection().await?;
    let group = store::group::find(tenant, &connection, group_id).await?;
    group.map(Into::into).ok_or(GroupError::NotFound)
}

/// The members of the group, for a member of its organization.
pub async fn get_group_members(
    identity: &Identity,
    tenant: Tenant,
    group_id: Uuid,
    user_id: Uuid,
) -> Result<Vec<GroupMember>, GroupError> {
    get_group_details(identity, tenant, group_id, user_id).await?;
    list_members(identity, tenant, group_id).await
}

/// The members of the group, for a service that may see the organization.
pub async fn get_group_members_admin(
    identity: &Identity,
    tenant: Tenant,
    group_id: Uuid,
) -> Result<Vec<GroupMember>, GroupError> {
    get_group_details_admin(identity, tenant, group_id).await?;
    list_members(identity, tenant, group_id).await
}

async fn list_members(
    identity: &Identity,
    tenant: Tenant,
    group_id: Uuid,
) -> Result<Vec<GroupMember>, GroupError> {
    let members = store::group::list_members(tenant, &identity.db.connection().await?, group_id).await?;
    Ok(members.into_iter().map(Into::into).collect())
}

/// The tenant that a request about one group is for. A service that names none means the group's own, if it may.
pub async fn tenant_of_group(
    identity: &Identity,
    principal: &Principal,
    group_id: Uuid,
    requested_org: Option<Uuid>,
) -> Result<Tenant, GroupError> {
    let requested_org = match (principal, requested_org) {
        (Principal::Service(_), None) => {
            let connection = identity.db.connection().await?;
            Some(store::group::find_org(&connection, group_id).await?.ok_or(GroupError::NotFound)?)
        }
        (_, requested) => requested,
    };
    principal.tenant(requested_org).map_err(|_| GroupError::NotFound)
}

/// The organization's groups.
pub async fn list(
    identity: &Identity,
    tenant: Tenant,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Listing<Group>, GroupError> {
    let connection = identity.db.connection().await?;
    let items = store::group::list(tenant, &connection, after, limit + 1).await?;
    let items = items.into_iter().map(Group::from).collect();
    Ok(cut(items, limit, |group| group.id))
}

/// Makes a group; its creator becomes its first member.
pub async fn create(
    identity: &Identity,
    tenant: Tenant,
    creator: Uuid,
    name: GroupName,
    description: String,
    circumstances: &Circumstances,
) -> Result<Group, GroupError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let now = store::clock(&transaction).await?;
    let org_id = tenant.org_id();
    let group = GroupRecord {
        id: Uuid::now_v7(),
        org_id,
        name: name.0,
        description,
        created_by: Some(creator),
        created_at: now,
        updated_at: now,
    };
    store::group::insert(tenant, &transaction, &group).await?;
    add(tenant, &transaction, group.id, creator, GroupRole::Admin, now).await?;
    let event = Event::new("group_created").actor(creator).org(org_id).target(group.id);
    audit::record(&transaction, event, circumstances, now).await?;
    let added = Change::of_member(ChangeKind::MemberAdded, org_id, group.id, creator);
    let changes = vec![
        Change::of_group(ChangeKind::GroupCreated, org_id, group.id),
        added.with_role(GroupRole::Admin.name()),
    ];
    feed::publish(transaction, identity, Vec::new(), changes).await?;
    Ok(group.into())
}

/// Adds a member or sets its role; true where it is new.
pub async fn add_member(
    identity: &Identity,
    tenant: Tenant,
    actor: Uuid,
    group_id: Uuid,
    (user_id, role): (Uuid, GroupRole),
    circumstances: &Circumstances,
) -> Result<(GroupMember, bool), GroupError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let now = store::clock(&transaction).await?;
    let org_id = tenant.org_id();
    store::group::find(tenant, &transaction, group_id).await?.ok_or(GroupError::NotFound)?;
    let before = add(tenant, &transaction, group_id, user_id, role, now).await?;
    let member = store::group::find_member(tenant, &transaction, group_id, user_id).await?;
    let member = GroupMember::from(member.ok_or(GroupError::NotFound)?);
    let kind = match before.as_deref() {
        None => ChangeKind::MemberAdded,
        Some(before) if before == role.name() => return Ok((member, false)),
        Some(_) => ChangeKind::MemberRoleChanged,
    };
    let event = Event::new("member_set").actor(actor).org(org_id).target(format!("{group_id}/{user_id}"));
    audit::record(&transaction, event, circumstances, now).await?;
    let change = Change::of_member(kind, org_id, group_id, user_id).with_role(role.name());
    feed::publish(transaction, identity, Vec::new(), vec![change]).await?;
    Ok((member, before.is_none()))
}

/// Removes a member of a group.
pub async fn remove_member(
    identity: &Identity,
    tenant: Tenant,
    actor: Uuid,
    group_id: Uuid,
    user_id: Uuid,
    circumstances: &Circumstances,
) -> Result<(), GroupError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let now = store::clock(&transaction).await?;
    if !store::group::delete_member(tenant, &transaction, group_id, user_id).await? {
        return Err(GroupError::NotFound);
    }
    let org_id = tenant.org_id();
    let event = Event::new("member_removed").actor(actor).org(org_id).target(format!("{group_id}/{user_id}"));
    audit::record(&transaction, event, circumstances, now).await?;
    let change = Change::of_member(ChangeKind::MemberRemoved, org_id, group_id, user_id);
    Ok(feed::publish(transaction, identity, Vec::new(), vec![change]).await?)
}

pub(super) async fn add(
    tenant: Tenant,
    transaction: &store::Transaction<'_>,
    group_id: Uuid,
    user_id: Uuid,
    role: GroupRole,
    now: OffsetDateTime,
) -> Result<Option<String>, GroupError> {
    let added = store::group::upsert_member(tenant, transaction, group_id, user_id, role.name(), now).await;
    added.map_err(|error| match error {
        error if error.is_constraint("group_members_in_org") => GroupError::NotInOrg,
        error => GroupError::Store(error),
    })
}

/// One entry more than asked for was read: whether it is there says whether there is another page.
pub(super) fn cut<T>(mut items: Vec<T>, limit: i64, id: impl Fn(&T) -> Uuid) -> Listing<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(id)
    } else {
        None
    };
    Listing { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_bounded() {
        assert_eq!("  General ".parse(), Ok(GroupName("General".to_owned())));
        assert!("ü".repeat(100).parse::<GroupName>().is_ok());
        for text in ["", "  ", "a\nb", &"ü".repeat(101)] {
            assert_eq!(text.parse::<GroupName>(), Err(InvalidGroupName));
        }
    }

    #[test]
    fn a_page_knows_whether_there_is_another() {
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let page = cut(ids.clone(), 2, |id| *id);
        assert_eq!((page.items.len(), page.next), (2, Some(Uuid::from_u128(2))));
        let page = cut(ids, 3, |id| *id);
        assert_eq!((page.items.len(), page.next), (3, None));
    }
}
