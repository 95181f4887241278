//! The one table of roles and permissions, and the names of rights that this service asks for.

use std::str::FromStr;

use common_auth::extract::Right;

/// A member's role in an organization. Each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Guest,
    Member,
    Admin,
    Owner,
}

/// The text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such role")]
pub struct UnknownRole;

const ROLES: [Role; 4] = [Role::Guest, Role::Member, Role::Admin, Role::Owner];

impl Role {
    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// What the role adds to the one before it.
    fn adds(self) -> &'static [&'static str] {
        match self {
            Self::Guest => &["groups:read", "messages:read"],
            Self::Member => &["messages:send", "messages:edit", "messages:delete", "workflows:run"],
            Self::Admin => &[
                "groups:create",
                "groups:update",
                "groups:delete",
                "members:manage",
                "messages:moderate",
                "integrations:manage",
                "audit:read",
            ],
            Self::Owner => &["org:manage", "clients:manage"],
        }
    }

    /// The role and every role that it includes.
    pub fn roles(self) -> Vec<String> {
        ROLES.iter().filter(|role| **role <= self).map(|role| role.name().to_owned()).collect()
    }

    /// Everything that the role permits.
    pub fn permissions(self) -> Vec<String> {
        let included = ROLES.iter().filter(|role| **role <= self);
        included.flat_map(|role| role.adds()).map(|permission| (*permission).to_owned()).collect()
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        ROLES.into_iter().find(|role| role.name() == text).ok_or(UnknownRole)
    }
}

/// See groups and their members.
pub struct GroupsRead;
/// Make groups.
pub struct GroupsCreate;
/// Add and remove members of groups and of the organization.
pub struct MembersManage;
/// Follow the feed of revocations.
pub struct RevocationsRead;
/// Introspect tokens of other clients.
pub struct TokensIntrospect;

impl Right for GroupsRead {
    const NAME: &'static str = "groups:read";
}

impl Right for GroupsCreate {
    const NAME: &'static str = "groups:create";
}

impl Right for MembersManage {
    const NAME: &'static str = "members:manage";
}

impl Right for RevocationsRead {
    const NAME: &'static str = "revocations:read";
}

impl Right for TokensIntrospect {
    const NAME: &'static str = "tokens:introspect";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_includes_the_one_before_it() {
        for pair in ROLES.windows(2) {
            let (lower, upper) = (pair[0].permissions(), pair[1].permissions());
            assert!(lower.iter().all(|permission| upper.contains(permission)));
            assert!(upper.len() > lower.len());
        }
    }

    #[test]
    fn an_admin_is_a_member_and_a_guest_but_no_owner() {
        assert_eq!(Role::Admin.roles(), ["guest", "member", "admin"]);
        assert!(Role::Admin.permissions().contains(&"members:manage".to_owned()));
        assert!(!Role::Admin.permissions().contains(&"org:manage".to_owned()));
    }

    #[test]
    fn names_are_parsed_back() {
        for role in ROLES {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }
}
