//! Organizations and their members.

use common_auth::{Tenant, User};
use uuid::Uuid;

use super::{
    Identity,
    audit::{self, Circumstances, Event},
    change::{Change, ChangeKind},
    feed,
    revocation::Revocation,
    role::Role,
};
use crate::store::{self, StoreError};

/// Why a member is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveMemberError {
    #[error("no such member")]
    NotFound,
    /// Nobody removes somebody above.
    #[error("the member's role is above the caller's")]
    AboveCaller,
    /// An organization without an owner could not be managed by anyone.
    #[error("the last owner cannot be removed")]
    LastOwner,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Removes a member: out of all groups, no refresh any more, and the tokens for this organization are revoked.
pub async fn remove_member(
    identity: &Identity,
    tenant: Tenant,
    actor: &User,
    user_id: Uuid,
    circumstances: &Circumstances,
) -> Result<(), RemoveMemberError> {
    let org_id = tenant.org_id();
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let role = store::org_member::find_role(tenant, &transaction, user_id).await?;
    let role: Role =
        role.ok_or(RemoveMemberError::NotFound)?.parse().map_err(|_| StoreError::Row("a role is unknown"))?;
    if role == Role::Owner {
        if !actor.roles.iter().any(|own| own == Role::Owner.name()) {
            return Err(RemoveMemberError::AboveCaller);
        }
        if store::org_member::count_owners(tenant, &transaction).await? <= 1 {
            return Err(RemoveMemberError::LastOwner);
        }
    }
    let groups = store::group::list_ids_of_user(tenant, &transaction, user_id).await?;
    if !store::org_member::delete(tenant, &transaction, user_id).await? {
        return Err(RemoveMemberError::NotFound);
    }
    let now = store::clock(&transaction).await?;
    store::family::update_revoked_of_user(&transaction, user_id, Some(org_id), "removed_from_org", now)
        .await?;
    let event = Event::new("org_member_removed").actor(actor.user_id).org(org_id).target(user_id);
    audit::record(&transaction, event, circumstances, now).await?;
    let mut changes: Vec<Change> = groups
        .into_iter()
        .map(|group_id| Change::of_member(ChangeKind::MemberRemoved, org_id, group_id, user_id))
        .collect();
    changes.push(Change::of_user(ChangeKind::OrgMemberRemoved, org_id, user_id));
    Ok(feed::publish(transaction, identity, vec![Revocation::subject(user_id, Some(org_id))], changes)
        .await?)
}
