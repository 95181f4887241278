//! Authorization as a value: a handler that takes one of these as an argument cannot forget the check.
//!
//! Each guard has a type, which is an actix extractor, and a function of the name that the migration plan (spec 001) uses.
//! A right is a marker type that implements [`Right`].

use std::{marker::PhantomData, ops::Deref};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

use crate::{
    error::AuthError,
    extract::{AuthContext, Extraction},
    principal::Principal,
};

/// The name of a permission, role or scope, as a type.
pub trait Right: 'static {
    const NAME: &'static str;
}

/// One right or several: a [`Right`] or a tuple of two or three.
pub trait Rights: 'static {
    /// Whether any of the names passes.
    fn any(test: impl Fn(&str) -> bool) -> bool;
    /// Whether all of the names pass.
    fn all(test: impl Fn(&str) -> bool) -> bool;
}

impl<A: Right> Rights for A {
    fn any(test: impl Fn(&str) -> bool) -> bool {
        test(A::NAME)
    }
    fn all(test: impl Fn(&str) -> bool) -> bool {
        test(A::NAME)
    }
}

impl<A: Right, B: Right> Rights for (A, B) {
    fn any(test: impl Fn(&str) -> bool) -> bool {
        test(A::NAME) || test(B::NAME)
    }
    fn all(test: impl Fn(&str) -> bool) -> bool {
        test(A::NAME) && test(B::NAME)
    }
}

impl<A: Right, B: Right, C: Right> Rights for (A, B, C) {
    fn any(test: impl Fn(&str) -> bool) -> bool {
        test(A::NAME) || test(B::NAME) || test(C::NAME)
    }
    fn all(test: impl Fn(&str) -> bool) -> bool {
        test(A::NAME) && test(B::NAME) && test(C::NAME)
    }
}

/// An [`AuthContext`] that passed a check.
pub struct Guard<C> {
    auth: AuthContext,
    check: PhantomData<C>,
}

impl<C> Deref for Guard<C> {
    type Target = AuthContext;

    fn deref(&self) -> &AuthContext {
        &self.auth
    }
}

impl<C> Guard<C> {
    /// The context without its proof.
    pub fn into_inner(self) -> AuthContext {
        self.auth
    }
}

/// What a [`Guard`] asks of the caller.
pub trait Check: 'static {
    /// Refuses callers who may not.
    ///
    /// # Errors
    /// [`AuthError::PermissionDenied`] or [`AuthError::InsufficientScope`].
    fn check(auth: &AuthContext) -> Result<(), AuthError>;
}

/// Guards as arguments of a handler, each named after its function.
pub type RequirePermission<P> = Guard<HasPermission<P>>;
pub type RequireAnyPermission<P> = Guard<HasAnyPermission<P>>;
pub type RequireAllPermissions<P> = Guard<HasAllPermissions<P>>;
pub type RequireRole<R> = Guard<HasRole<R>>;
pub type RequireAnyRole<R> = Guard<HasAnyRole<R>>;
pub type RequireScope<S> = Guard<HasScope<S>>;
pub type RequirePermissionOrScope<P> = Guard<HasPermissionOrScope<P>>;

pub struct HasPermission<P>(PhantomData<P>);
pub struct HasAnyPermission<P>(PhantomData<P>);
pub struct HasAllPermissions<P>(PhantomData<P>);
pub struct HasRole<R>(PhantomData<R>);
pub struct HasAnyRole<R>(PhantomData<R>);
pub struct HasScope<S>(PhantomData<S>);
pub struct HasPermissionOrScope<P>(PhantomData<P>);

impl<P: Right> Check for HasPermission<P> {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        require_permission(auth, P::NAME)
    }
}

impl<P: Rights> Check for HasAnyPermission<P> {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        require_any_permission::<P>(auth)
    }
}

impl<P: Rights> Check for HasAllPermissions<P> {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        require_all_permissions::<P>(auth)
    }
}

impl<R: Right> Check for HasRole<R> {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        require_role(auth, R::NAME)
    }
}

impl<R: Rights> Check for HasAnyRole<R> {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        require_any_role::<R>(auth)
    }
}

impl<S: Right> Check for HasScope<S> {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        require_scope(auth, S::NAME)
    }
}

impl<P: Right> Check for HasPermissionOrScope<P> {
    fn check(auth: &AuthContext) -> Result<(), AuthError> {
        require_permission_or_scope(auth, P::NAME)
    }
}

impl<C: Check> FromRequest for Guard<C> {
    type Error = AuthError;
    type Future = Extraction<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Extraction::start(request, |auth| {
            C::check(&auth)?;
            Ok(Self { auth, check: PhantomData })
        })
    }
}

/// The user has the permission.
///
/// # Errors
/// [`AuthError::PermissionDenied`]
pub fn require_permission(auth: &AuthContext, permission: &str) -> Result<(), AuthError> {
    auth.check(auth.has_permission(permission), || AuthError::PermissionDenied)
}

/// The user has one of the permissions.
///
/// # Errors
/// [`AuthError::PermissionDenied`]
pub fn require_any_permission<P: Rights>(auth: &AuthContext) -> Result<(), AuthError> {
    auth.check(P::any(|name| auth.has_permission(name)), || AuthError::PermissionDenied)
}

/// The user has all of the permissions.
///
/// # Errors
/// [`AuthError::PermissionDenied`]
pub fn require_all_permissions<P: Rights>(auth: &AuthContext) -> Result<(), AuthError> {
    auth.check(P::all(|name| auth.has_permission(name)), || AuthError::PermissionDenied)
}

/// The user has the role.
///
/// # Errors
/// [`AuthError::PermissionDenied`]
pub fn require_role(auth: &AuthContext, role: &str) -> Result<(), AuthError> {
    auth.check(auth.has_role(role), || AuthError::PermissionDenied)
}

/// The user has one of the roles.
///
/// # Errors
/// [`AuthError::PermissionDenied`]
pub fn require_any_role<R: Rights>(auth: &AuthContext) -> Result<(), AuthError> {
    auth.check(R::any(|name| auth.has_role(name)), || AuthError::PermissionDenied)
}

/// The caller is a service whose token has the scope.
///
/// # Errors
/// [`AuthError::InsufficientScope`]
pub fn require_scope(auth: &AuthContext, scope: &str) -> Result<(), AuthError> {
    auth.check(auth.has_scope(scope), || AuthError::InsufficientScope(scope.to_owned()))
}

/// The caller is a user with the permission, or a service with the scope of the same name.
///
/// # Errors
/// [`AuthError::PermissionDenied`] for a user, [`AuthError::InsufficientScope`] for a service.
pub fn require_permission_or_scope(auth: &AuthContext, right: &str) -> Result<(), AuthError> {
    match auth.principal() {
        Principal::User(_) => require_permission(auth, right),
        Principal::Service(_) => require_scope(auth, right),
    }
}
