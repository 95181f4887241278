//! The directory: an organization's groups with all of their members, page by page.

use common_auth::Tenant;
use uuid::Uuid;

use super::{
    Identity,
    group::{Group, GroupError, Listing, cut},
};
use crate::store::{self, group::DirectoryMemberRecord};

/// A page of an organization's directory.
pub struct DirectoryPage {
    pub groups: Vec<(Group, Vec<(Uuid, String)>)>,
    pub next: Option<Uuid>,
    /// On the first page: where to follow the changes from.
    pub cursor: Option<i64>,
}

/// Groups in a page.
const MOST_GROUPS: i64 = 200;
/// Members in a page. Readers take a group as whole, so one with more of them than this has a page to itself.
const MOST_MEMBERS: i64 = 5000;

/// A page of the organization's groups with all of their members.
pub async fn page(
    identity: &Identity,
    tenant: Tenant,
    after: Option<Uuid>,
) -> Result<DirectoryPage, GroupError> {
    let connection = identity.db.connection().await?;
    // Read before the first group: a change that comes while the pages are read is in the feed after it.
    let cursor = match after {
        None => Some(store::feed::find_heads(&connection).await?.changes),
        Some(_) => None,
    };
    let groups = store::group::list(tenant, &connection, after, MOST_GROUPS + 1).await?;
    let Listing { mut items, mut next } = cut(groups, MOST_GROUPS, |group| group.id);
    let ids: Vec<Uuid> = items.iter().map(|group| group.id).collect();
    let mut members =
        store::group::list_directory_members(tenant, &connection, &ids, MOST_MEMBERS + 1).await?;
    if let Some(torn) = find_torn(&members) {
        let whole = ids.iter().take_while(|id| **id != torn).count();
        if whole == 0 {
            members = store::group::list_directory_members(tenant, &connection, &[torn], i64::MAX).await?;
        } else {
            members.retain(|member| member.group_id != torn);
        }
        let kept = whole.max(1);
        if kept < items.len() {
            items.truncate(kept);
            next = items.last().map(|group| group.id);
        }
    }
    let mut members = members.into_iter().peekable();
    let mut groups = Vec::with_capacity(items.len());
    // Both lists are in the order of group ids.
    for group in items {
        let mut of_group = Vec::new();
        while let Some(member) = members.next_if(|member| member.group_id == group.id) {
            of_group.push((member.user_id, member.role));
        }
        groups.push((group.into(), of_group));
    }
    Ok(DirectoryPage { groups, next, cursor })
}

/// The group at which the list of members broke off, if it did: some of its members may be missing.
fn find_torn(members: &[DirectoryMemberRecord]) -> Option<Uuid> {
    let is_torn = i64::try_from(members.len()).is_ok_and(|count| count > MOST_MEMBERS);
    members.last().filter(|_| is_torn).map(|member| member.group_id)
}
