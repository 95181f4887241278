//! What a caller needs to be allowed, as extractors.

use common_auth::{
    AuthError, Principal,
    extract::{AuthContext, Check, Guard, RequirePermission, Right, require_scope},
};

use crate::domain::ticket::MANAGE;

/// Connecting and disconnecting.
pub(super) struct IntegrationsManage;

impl Right for IntegrationsManage {
    const NAME: &'static str = MANAGE;
}

/// A user who may connect and disconnect.
pub(super) type Manager = RequirePermission<IntegrationsManage>;

/// A user of the organization, or a service that may read what is connected.
pub(super) type Reader = Guard<MayRead>;

pub(super) struct MayRead;

impl Check for MayRead {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        match auth.principal() {
            Principal::User(_) => Ok(()),
            Principal::Service(_) => require_scope(auth, "integrations:read"),
        }
    }
}
