//! Who calls, as an argument of the handler. What the caller has to be allowed is asked by the guards of [`crate::guard`].

use std::{
    future::{Future, Ready, ready},
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web::Data};

pub use crate::guard::{
    Check, Guard, HasAllPermissions, HasAnyPermission, HasAnyRole, HasPermission, HasPermissionOrScope,
    HasRole, HasScope, RequireAllPermissions, RequireAnyPermission, RequireAnyRole, RequirePermission,
    RequirePermissionOrScope, RequireRole, RequireScope, Right, Rights, require_all_permissions,
    require_any_permission, require_any_role, require_permission, require_permission_or_scope, require_role,
    require_scope,
};
use crate::{
    authenticator::Authenticator,
    error::AuthError,
    principal::{Principal, Service, User},
    verifier::VerifiedToken,
};

/// Who calls, proven by a valid token.
#[derive(Clone)]
pub struct AuthContext {
    token: Arc<VerifiedToken>,
}

impl AuthContext {
    /// Makes the context of a token that was verified by other means than this request's bearer header.
    pub fn new(token: Arc<VerifiedToken>) -> Self {
        Self { token }
    }

    /// The caller.
    pub fn principal(&self) -> &Principal {
        &self.token.principal
    }

    /// The verified token.
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The caller, if it is a user.
    pub fn user(&self) -> Option<&User> {
        match self.principal() {
            Principal::User(user) => Some(user),
            Principal::Service(_) => None,
        }
    }

    /// The caller, if it is a service.
    pub fn service(&self) -> Option<&Service> {
        match self.principal() {
            Principal::User(_) => None,
            Principal::Service(service) => Some(service),
        }
    }

    /// Whether a user's token lists the permission. Services have scopes, not permissions.
    pub fn has_permission(&self, permission: &str) -> bool {
        self.user().is_some_and(|user| user.permissions.iter().any(|name| name == permission))
    }

    /// Whether a user's token lists the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.user().is_some_and(|user| user.roles.iter().any(|name| name == role))
    }

    /// Whether a service's token has the scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.service().is_some_and(|service| service.scopes.iter().any(|name| name == scope))
    }

    pub(crate) fn check(&self, allowed: bool, refusal: impl FnOnce() -> AuthError) -> Result<(), AuthError> {
        let outcome = if allowed { Ok(()) } else { Err(refusal()) };
        self.token.metrics.count_permission_check(&outcome);
        outcome
    }
}

/// The caller of a request: 401 without a valid token.
///
/// # Errors
/// Any [`AuthError`] but the two of 403.
pub async fn get_auth_context(request: &HttpRequest) -> Result<AuthContext, AuthError> {
    AuthContext::extract(request).await
}

/// The caller, who has to be a user: 403 for a service.
///
/// # Errors
/// Any [`AuthError`] but [`AuthError::InsufficientScope`].
pub async fn get_current_user(request: &HttpRequest) -> Result<CurrentUser, AuthError> {
    CurrentUser::extract(request).await
}

/// The user that calls; 403 for a service.
#[derive(Clone)]
pub struct CurrentUser(AuthContext);

impl Deref for CurrentUser {
    type Target = User;

    fn deref(&self) -> &User {
        match self.0.principal() {
            Principal::User(user) => user,
            Principal::Service(_) => unreachable!("it is only made of a user's token"),
        }
    }
}

impl FromRequest for AuthContext {
    type Error = AuthError;
    type Future = Extraction<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Extraction::start(request, Ok)
    }
}

impl FromRequest for CurrentUser {
    type Error = AuthError;
    type Future = Extraction<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Extraction::start(request, |auth| {
            auth.check(auth.user().is_some(), || AuthError::PermissionDenied)?;
            Ok(Self(auth))
        })
    }
}

/// The future of an extractor: ready at once for a token that was verified before, which is nearly every one.
pub enum Extraction<T> {
    Now(Ready<Result<T, AuthError>>),
    Later(Pin<Box<dyn Future<Output = Result<T, AuthError>>>>),
}

impl<T: 'static> Extraction<T> {
    pub(crate) fn start(
        request: &HttpRequest,
        finish: impl FnOnce(AuthContext) -> Result<T, AuthError> + 'static,
    ) -> Self {
        let Some(authenticator) = request.app_data::<Data<Authenticator>>() else {
            tracing::error!("the application has no Authenticator");
            return Self::Now(ready(Err(AuthError::Unavailable)));
        };
        let credentials = match bearer_credentials(request) {
            Ok(credentials) => credentials,
            Err(error) => return Self::Now(ready(Err(error))),
        };
        // Looked up before it is looked at: what is found there was a token when it was verified, to the last byte.
        match authenticator.authenticate_cached(credentials) {
            Ok(outcome) => Self::Now(ready(outcome.and_then(|token| finish(AuthContext { token })))),
            Err(hash) => {
                let token = match b64token(credentials) {
                    Ok(token) => token.to_owned(),
                    Err(error) => return Self::Now(ready(Err(error))),
                };
                let authenticator = authenticator.clone();
                Self::Later(Box::pin(async move {
                    let token = authenticator.authenticate_missed(&token, hash).await?;
                    finish(AuthContext { token })
                }))
            }
        }
    }
}

impl<T> Future for Extraction<T> {
    type Output = Result<T, AuthError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(now) => Pin::new(now).poll(context),
            Self::Later(later) => later.as_mut().poll(context),
        }
    }
}

// The values inside are never pinned in place: `Now` is plain data and `Later` is a box.
impl<T> Unpin for Extraction<T> {}

/// The bearer token of a request (RFC 6750, section 2.1, the only way that is accepted).
///
/// # Errors
/// [`AuthError::MissingCredentials`] where there is no bearer token, [`AuthError::MalformedCredentials`] where there are several
/// `Authorization` headers or what follows `Bearer` is no b64token.
pub fn bearer_token(request: &HttpRequest) -> Result<&str, AuthError> {
    b64token(bearer_credentials(request)?)
}

/// What follows `Bearer`, whatever it is.
fn bearer_credentials(request: &HttpRequest) -> Result<&[u8], AuthError> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = headers.next() else { return Err(AuthError::MissingCredentials) };
    if headers.next().is_some() {
        return Err(AuthError::MalformedCredentials);
    }
    let mut parts = value.as_bytes().splitn(2, |byte| *byte == b' ');
    if !parts.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer")) {
        return Err(AuthError::MissingCredentials);
    }
    Ok(parts.next().unwrap_or_default())
}

/// `b64token` of RFC 6750: base64 characters of either alphabet, then `=` signs.
fn b64token(credentials: &[u8]) -> Result<&str, AuthError> {
    let is_b64 =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    let token = std::str::from_utf8(credentials).map_err(|_| AuthError::MalformedCredentials)?;
    let body = token.trim_end_matches('=');
    if body.is_empty() || !body.bytes().all(is_b64) {
        return Err(AuthError::MalformedCredentials);
    }
    Ok(token)
}
