//! Who the caller is, and for which organization it may speak.

use std::{
    collections::HashSet,
    ops::Deref,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use uuid::Uuid;

use crate::claims::AccessTokenClaims;

/// The caller: a person, or a program that speaks for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Not behind a pointer, which would be one more cache miss of every request.
    User(User),
    Service(Service),
}

/// Roles or permissions. Many tokens list the same few: they share one list, which stays in the processor's caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Arc<[String]>);

/// A person, in one organization.
// In this order in memory: the fields that a guard looks at, and the one that tells a user from a service, are fetched together.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub permissions: Names,
    /// Seconds since the epoch.
    pub auth_time: Option<i64>,
    pub roles: Names,
    pub user_id: Uuid,
    pub org_id: Uuid,
    pub app_id: Option<Uuid>,
    /// The session that the token belongs to (`sid`).
    pub session_id: Option<Uuid>,
    /// The client that the token was given to.
    pub client_id: String,
    pub scopes: Vec<String>,
    pub username: Option<String>,
    pub email: Option<String>,
    /// The service that acts for this user, when the token was exchanged (RFC 8693).
    pub actor: Option<String>,
}

/// A program with a client-credentials token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub client_id: String,
    pub scopes: Vec<String>,
    pub orgs: Orgs,
}

/// The organizations that a service is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orgs {
    All,
    Only(Vec<Uuid>),
}

/// The organization that a piece of work is done for: [`Principal::tenant`] makes one for a caller, [`Tenant::of_record`] for work
/// that no caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenant {
    org_id: Uuid,
}

/// Why there is no [`Tenant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// 400: a service has to say which organization it means.
    #[error("org_id is required for a service")]
    Missing,
    /// 404: the organization is not the caller's. It reads exactly like one that does not exist.
    #[error("not found")]
    NotFound,
}

/// Lists that are remembered for sharing; more than all roles of a platform can be combined to. Further ones are not shared.
const MAX_SHARED_LISTS: usize = 1024;

static SHARED_LISTS: LazyLock<Mutex<HashSet<Arc<[String]>>>> = LazyLock::new(Mutex::default);

impl Names {
    /// These names, in the list that others with the same names have.
    pub fn of(names: Vec<String>) -> Self {
        let mut shared = SHARED_LISTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = shared.get(names.as_slice()) {
            return Self(Arc::clone(list));
        }
        let list: Arc<[String]> = names.into();
        if shared.len() < MAX_SHARED_LISTS {
            shared.insert(Arc::clone(&list));
        }
        Self(list)
    }
}

impl Deref for Names {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Tenant {
    /// The organization that a row of the service's own store names. For callbacks, webhooks and jobs only, which have no principal;
    /// never with an id that came with the request.
    pub fn of_record(org_id: Uuid) -> Self {
        Self { org_id }
    }

    /// The organization's id.
    pub fn org_id(&self) -> Uuid {
        self.org_id
    }
}

impl Orgs {
    fn from_claim(orgs: &[String]) -> Self {
        if orgs.iter().any(|org| org == "*") {
            return Self::All;
        }
        Self::Only(orgs.iter().filter_map(|org| Uuid::parse_str(org).ok()).collect())
    }

    /// Whether `org_id` is one of them.
    pub fn contains(&self, org_id: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Only(orgs) => orgs.contains(&org_id),
        }
    }
}

impl Principal {
    /// Makes the principal of verified claims; `None` where they fit neither a user nor a service.
    ///
    /// A `sub` that is a UUID is a user, who needs an `org_id`; anything else is a service, whose `sub` is its `client_id`.
    pub fn from_claims(claims: &AccessTokenClaims) -> Option<Self> {
        let scopes = claims.scopes().map(str::to_owned).collect();
        if let Ok(user_id) = Uuid::parse_str(&claims.sub) {
            return Some(Self::User(User {
                user_id,
                org_id: claims.org_id?,
                app_id: claims.app_id,
                session_id: claims.sid,
                client_id: claims.client_id.clone(),
                roles: Names::of(claims.roles.clone()),
                permissions: Names::of(claims.permissions.clone()),
                scopes,
                username: claims.username.clone(),
                email: claims.email.clone(),
                auth_time: claims.auth_time,
                actor: claims.act.as_ref().map(|actor| actor.sub.clone()),
            }));
        }
        (claims.sub == claims.client_id && !claims.sub.is_empty()).then(|| {
            Self::Service(Service {
                client_id: claims.client_id.clone(),
                scopes,
                orgs: Orgs::from_claim(&claims.orgs),
            })
        })
    }

    /// The organization that this principal may work for.
    ///
    /// A user's is the one of the token, and naming another is [`TenantError::NotFound`]. A service names one of those that its
    /// token lists; it may leave it out when it is bound to exactly one.
    pub fn tenant(&self, requested_org: Option<Uuid>) -> Result<Tenant, TenantError> {
        let org_id = match (self, requested_org) {
            (Self::User(user), None) => user.org_id,
            (Self::User(user), Some(org_id)) if user.org_id == org_id => org_id,
            (Self::Service(service), Some(org_id)) if service.orgs.contains(org_id) => org_id,
            (Self::Service(Service { orgs: Orgs::Only(orgs), .. }), None) if orgs.len() == 1 => {
                orgs.first().copied().ok_or(TenantError::Missing)?
            }
            (Self::Service(_), None) => return Err(TenantError::Missing),
            (_, Some(_)) => return Err(TenantError::NotFound),
        };
        Ok(Tenant { org_id })
    }

    /// The client that holds the token.
    pub fn client_id(&self) -> &str {
        match self {
            Self::User(user) => &user.client_id,
            Self::Service(service) => &service.client_id,
        }
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &[String] {
        match self {
            Self::User(user) => &user.scopes,
            Self::Service(service) => &service.scopes,
        }
    }
}
