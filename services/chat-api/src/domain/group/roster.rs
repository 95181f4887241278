//! The groups of one organization and who is in them, as an immutable picture that changes are applied to.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use uuid::Uuid;

use crate::clients::auth_api::{Change, ChangeType, DirectoryGroup};

/// A group as auth-api describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: Uuid,
    pub org_id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub created_by: Option<Uuid>,
    /// RFC 3339, as auth-api wrote it.
    pub created_at: String,
    pub updated_at: String,
    members: HashMap<Uuid, String>,
}

/// Every group of one organization. Empty for one that does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    groups: HashMap<Uuid, Arc<Group>>,
    /// Ids are time-ordered, so that a sorted set lists the oldest group first.
    ids: BTreeSet<Uuid>,
    by_member: HashMap<Uuid, Arc<BTreeSet<Uuid>>>,
    /// The last change that is part of the picture.
    as_of: u64,
}

impl Group {
    /// Whether the user is in the group.
    #[must_use]
    pub fn has_member(&self, user_id: Uuid) -> bool {
        self.members.contains_key(&user_id)
    }

    /// The user's role in the group.
    #[must_use]
    pub fn role_of(&self, user_id: Uuid) -> Option<&str> {
        self.members.get(&user_id).map(String::as_str)
    }
}

impl From<DirectoryGroup> for Group {
    fn from(group: DirectoryGroup) -> Self {
        Self {
            id: group.id,
            org_id: group.org_id,
            name: group.name,
            description: group.description,
            created_by: group.created_by,
            created_at: group.created_at,
            updated_at: group.updated_at,
            members: group.members.into_iter().map(|member| (member.user_id, member.role)).collect(),
        }
    }
}

impl Roster {
    /// The picture as it was read at the change `as_of` or later.
    #[must_use]
    pub fn new(groups: impl IntoIterator<Item = Group>, as_of: u64) -> Self {
        let mut roster = Self { as_of, ..Self::default() };
        groups.into_iter().for_each(|group| roster.put(group));
        roster
    }

    /// The group with this id.
    #[must_use]
    pub fn group(&self, id: Uuid) -> Option<&Arc<Group>> {
        self.groups.get(&id)
    }

    /// Every group.
    pub fn all(&self) -> Groups<'_> {
        Groups { roster: self, ids: Some(self.ids.iter()) }
    }

    /// The groups that a user is in.
    pub fn groups_of(&self, user_id: Uuid) -> Groups<'_> {
        Groups { roster: self, ids: self.by_member.get(&user_id).map(|ids| ids.iter()) }
    }

    /// The last change that is part of the picture.
    #[must_use]
    pub fn as_of(&self) -> u64 {
        self.as_of
    }

    /// Says that every change up to this one is in.
    pub fn set_as_of(&mut self, cursor: u64) {
        self.as_of = self.as_of.max(cursor);
    }

    /// Adds a group, or puts it in place of its older form.
    pub fn put(&mut self, group: Group) {
        self.remove(group.id);
        self.ids.insert(group.id);
        for user_id in group.members.keys() {
            Arc::make_mut(self.by_member.entry(*user_id).or_default()).insert(group.id);
        }
        self.groups.insert(group.id, Arc::new(group));
    }

    /// Takes a group out.
    pub fn remove(&mut self, id: Uuid) {
        let Some(group) = self.groups.remove(&id) else { return };
        self.ids.remove(&id);
        for user_id in group.members.keys() {
            self.forget(*user_id, id);
        }
    }

    /// Applies a change that says all there is to say; the others name a group that has to be read anew.
    pub fn apply(&mut self, change: &Change) {
        match (change.kind, change.group_id, change.user_id) {
            (ChangeType::GroupDeleted, Some(group_id), _) => self.remove(group_id),
            (ChangeType::MemberAdded | ChangeType::MemberRoleChanged, Some(group_id), Some(user_id)) => {
                self.add_member(group_id, user_id, change.role.clone().unwrap_or_default());
            }
            (ChangeType::MemberRemoved, Some(group_id), Some(user_id)) => {
                self.remove_member(group_id, user_id);
            }
            (ChangeType::OrgMemberRemoved | ChangeType::UserDisabled, _, Some(user_id)) => {
                let ids: Vec<Uuid> = self.groups_of(user_id).map(|group| group.id).collect();
                for group_id in ids {
                    self.remove_member(group_id, user_id);
                }
            }
            _ => {}
        }
    }

    fn add_member(&mut self, group_id: Uuid, user_id: Uuid, role: String) {
        let Some(group) = self.groups.get_mut(&group_id) else { return };
        Arc::make_mut(group).members.insert(user_id, role);
        Arc::make_mut(self.by_member.entry(user_id).or_default()).insert(group_id);
    }

    fn remove_member(&mut self, group_id: Uuid, user_id: Uuid) {
        if let Some(group) = self.groups.get_mut(&group_id) {
            Arc::make_mut(group).members.remove(&user_id);
        }
        self.forget(user_id, group_id);
    }

    fn forget(&mut self, user_id: Uuid, group_id: Uuid) {
        if let Some(ids) = self.by_member.get_mut(&user_id) {
            Arc::make_mut(ids).remove(&group_id);
            if ids.is_empty() {
                self.by_member.remove(&user_id);
            }
        }
    }
}

/// Some groups of a roster, oldest first.
pub struct Groups<'a> {
    roster: &'a Roster,
    ids: Option<std::collections::btree_set::Iter<'a, Uuid>>,
}

impl<'a> Iterator for Groups<'a> {
    type Item = &'a Arc<Group>;

    fn next(&mut self) -> Option<Self::Item> {
        let ids = self.ids.as_mut()?;
        ids.find_map(|id| self.roster.groups.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: Uuid = Uuid::from_u128(1);
    const ALICE: Uuid = Uuid::from_u128(10);
    const BOB: Uuid = Uuid::from_u128(11);

    fn group(id: u128, members: &[Uuid]) -> Group {
        Group {
            id: Uuid::from_u128(id),
            org_id: ORG,
            name: format!("group {id}"),
            description: None,
            created_by: None,
            created_at: String::new(),
            updated_at: String::new(),
            members: members.iter().map(|user_id| (*user_id, "member".to_owned())).collect(),
        }
    }

    fn change(kind: ChangeType, group_id: Option<u128>, user_id: Option<Uuid>) -> Change {
        Change {
            cursor: 1,
            kind,
            org_id: Some(ORG),
            group_id: group_id.map(Uuid::from_u128),
            user_id,
            role: Some("member".to_owned()),
        }
    }

    fn ids(roster: &Roster, user_id: Uuid) -> Vec<u128> {
        roster.groups_of(user_id).map(|group| group.id.as_u128()).collect()
    }

    #[test]
    fn a_user_sees_the_groups_it_is_in_oldest_first() {
        let roster = Roster::new([group(3, &[ALICE]), group(2, &[ALICE, BOB]), group(4, &[])], 0);
        assert_eq!(ids(&roster, ALICE), [2, 3]);
        assert_eq!(ids(&roster, BOB), [2]);
        assert_eq!(ids(&roster, ORG), []);
        assert_eq!(roster.all().count(), 3);
    }

    #[test]
    fn membership_changes_apply_to_both_sides_and_twice_is_once() {
        let mut roster = Roster::new([group(2, &[ALICE])], 0);
        for _ in 0..2 {
            roster.apply(&change(ChangeType::MemberAdded, Some(2), Some(BOB)));
            assert!(roster.group(Uuid::from_u128(2)).unwrap().has_member(BOB));
            assert_eq!(ids(&roster, BOB), [2]);
        }
        for _ in 0..2 {
            roster.apply(&change(ChangeType::MemberRemoved, Some(2), Some(BOB)));
            assert!(!roster.group(Uuid::from_u128(2)).unwrap().has_member(BOB));
            assert_eq!(ids(&roster, BOB), []);
        }
    }

    #[test]
    fn leaving_the_organization_leaves_every_group() {
        let mut roster = Roster::new([group(2, &[ALICE, BOB]), group(3, &[BOB])], 0);
        roster.apply(&change(ChangeType::OrgMemberRemoved, None, Some(BOB)));
        assert_eq!(ids(&roster, BOB), []);
        assert_eq!(ids(&roster, ALICE), [2]);
    }

    #[test]
    fn a_deleted_group_is_gone_and_a_new_form_replaces_the_old() {
        let mut roster = Roster::new([group(2, &[ALICE, BOB])], 0);
        roster.put(group(2, &[ALICE]));
        assert_eq!(ids(&roster, BOB), []);
        roster.apply(&change(ChangeType::GroupDeleted, Some(2), None));
        assert!(roster.group(Uuid::from_u128(2)).is_none());
        assert_eq!(roster, Roster::default());
    }

    #[test]
    fn a_picture_in_use_does_not_change() {
        let roster = Roster::new([group(2, &[ALICE])], 0);
        let mut next = roster.clone();
        next.apply(&change(ChangeType::MemberRemoved, Some(2), Some(ALICE)));
        assert_eq!(ids(&roster, ALICE), [2]);
    }
}
