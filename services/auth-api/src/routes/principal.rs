//! The caller of the operations that take a session as well as a bearer token (spec 000's `get_current_principal`).

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web::Data};
use common_auth::{AuthContext, AuthError, Principal, User};
use secrecy::SecretString;

use super::login::SessionCookie;
use crate::{
    domain::{Identity, session},
    error::ApiError,
};

/// A user by session or token, or a service by token.
pub(super) struct CurrentPrincipal {
    pub(super) principal: Principal,
    /// The cookie proved it: a page of somebody else could have sent the request.
    pub(super) is_by_cookie: bool,
}

impl CurrentPrincipal {
    /// The caller has the right: a user by permission, a service by scope.
    pub(super) fn require(&self, right: &'static str) -> Result<(), ApiError> {
        let has = |names: &[String]| names.iter().any(|name| name == right);
        match &self.principal {
            Principal::User(user) if has(&user.permissions) => Ok(()),
            Principal::User(_) => Err(AuthError::PermissionDenied.into()),
            Principal::Service(service) if has(&service.scopes) => Ok(()),
            Principal::Service(_) => Err(AuthError::InsufficientScope(right.to_owned()).into()),
        }
    }

    /// The caller, who has to be a user.
    pub(super) fn user(&self) -> Result<&User, ApiError> {
        match &self.principal {
            Principal::User(user) => Ok(user),
            Principal::Service(_) => Err(AuthError::PermissionDenied.into()),
        }
    }
}

impl FromRequest for CurrentPrincipal {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // A bad bearer token is an error, never a reason to look for a cookie.
        if request.headers().contains_key(header::AUTHORIZATION) {
            let context = AuthContext::from_request(request, payload);
            return Box::pin(async move {
                let principal = context.await?.principal().clone();
                Ok(Self { principal, is_by_cookie: false })
            });
        }
        let cookie = request.app_data::<Data<SessionCookie>>().and_then(|cookie| cookie.read(request));
        let identity = request.app_data::<Data<Identity>>().cloned();
        Box::pin(async move {
            let (Some(cookie), Some(identity)) = (cookie, identity) else {
                return Err(AuthError::MissingCredentials.into());
            };
            let cookie = SecretString::from(cookie);
            let found = session::find_principal(&identity, &cookie, identity.clock.now()).await?;
            let principal = found.ok_or(AuthError::MissingCredentials)?;
            Ok(Self { principal, is_by_cookie: true })
        })
    }
}
