//! Logging in and out, refreshing, and who one is.

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite, time::Duration as CookieDuration},
    http::header,
    web::Data,
};
use common_auth::{AuthError, User};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    principal::CurrentPrincipal,
    request::{Guarded, JsonBody, circumstances},
};
use crate::{
    config::{Config, Origins},
    domain::{
        Identity,
        audit::Circumstances,
        grant::Wishes,
        login::{self, Login},
        refresh,
        token::{AccessToken, FIRST_PARTY, TokenUser},
    },
    error::{ApiError, ProblemBody},
};

/// The session cookie: its name and whether it is for TLS only.
pub struct SessionCookie {
    name: &'static str,
    is_secure: bool,
    own_origin: String,
    origins: Origins,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct LoginRequest {
    #[schema(value_type = String, example = "alice.admin@example.com")]
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// Needed by users of several organizations.
    org_id: Option<Uuid>,
    /// An app of the organization; its first where it is not given.
    app_id: Option<Uuid>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    #[schema(value_type = String)]
    refresh_token: SecretString,
}

/// RFC 6749, section 5.1, and who it is for.
#[derive(Serialize, ToSchema)]
pub(super) struct LoginResponse {
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    refresh_token: String,
    scope: String,
    user: UserResponse,
}

#[derive(Serialize, ToSchema)]
pub(super) struct UserResponse {
    id: Uuid,
    email: String,
    username: String,
    org_id: Uuid,
    app_id: Option<Uuid>,
    roles: Vec<String>,
    permissions: Vec<String>,
}

impl SessionCookie {
    /// `__Host-`, which ties it to one host and TLS, unless the service is on loopback without TLS.
    pub fn new(config: &Config) -> Self {
        let url = Url::parse(&config.public_url()).ok();
        let is_loopback = url.as_ref().is_some_and(|url| {
            let host = url.host_str().unwrap_or_default();
            url.scheme() == "http" && matches!(host, "localhost" | "127.0.0.1" | "[::1]")
        });
        Self {
            name: if is_loopback { "auth_session" } else { "__Host-auth_session" },
            is_secure: !is_loopback,
            own_origin: url.map(|url| url.origin().ascii_serialization()).unwrap_or_default(),
            origins: config.allowed_origins.clone(),
        }
    }

    /// The cookie of a request.
    pub fn read(&self, request: &HttpRequest) -> Option<String> {
        request.cookie(self.name).map(|cookie| cookie.value().to_owned())
    }

    fn make(&self, value: &str, life: CookieDuration) -> Cookie<'static> {
        Cookie::build(self.name, value.to_owned())
            .path("/")
            .http_only(true)
            .secure(self.is_secure)
            .same_site(SameSite::Lax)
            .max_age(life)
            .finish()
    }

    /// Refuses what another site's page had a browser send: its `Origin`, or what the browser says about it, has to be ours.
    fn check_origin(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        let is_own = match (header("origin"), header("sec-fetch-site")) {
            (Some(origin), _) => origin == self.own_origin || self.origins.allow(origin),
            (None, Some(site)) => matches!(site, "same-origin" | "none"),
            (None, None) => true,
        };
        if is_own { Ok(()) } else { Err(ApiError::ForbiddenOrigin) }
    }
}

impl LoginResponse {
    fn new(token: &AccessToken, refresh_token: &SecretString, user: TokenUser) -> Self {
        Self {
            access_token: token.token.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: token.expires_in.as_secs(),
            refresh_token: refresh_token.expose_secret().to_owned(),
            scope: token.scope.clone(),
            user: UserResponse {
                id: user.id,
                email: user.email,
                username: user.username,
                org_id: user.org_id,
                app_id: user.app_id,
                roles: user.role.roles(),
                permissions: user.role.permissions(),
            },
        }
    }
}

impl From<&User> for UserResponse {
    fn from(user: &User) -> Self {
        Self {
            id: user.user_id,
            email: user.email.clone().unwrap_or_default(),
            username: user.username.clone().unwrap_or_default(),
            org_id: user.org_id,
            app_id: user.app_id,
            roles: user.roles.to_vec(),
            permissions: user.permissions.to_vec(),
        }
    }
}

/// Logs a user in: tokens, and a session cookie.
#[utoipa::path(
    post, path = "/auth/login", tag = "login", request_body = LoginRequest,
    responses(
        (status = 200, description = "Logged in", body = LoginResponse),
        (status = 400, description = "validation_failed, invalid_app", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "invalid_credentials", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "forbidden_origin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found: the user belongs to no such organization", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "org_required, with the organizations to choose from", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn log_in(
    identity: Data<Identity>,
    cookie: Data<SessionCookie>,
    request: HttpRequest,
    JsonBody(body): JsonBody<LoginRequest>,
) -> Result<HttpResponse, ApiError> {
    cookie.check_origin(&request)?;
    let login =
        Login { email: body.email, password: body.password, org_id: body.org_id, app_id: body.app_id };
    let outcome = login::log_in(&identity, login, &circumstances(&request)).await;
    identity.metrics.count("password", &outcome);
    let logged_in = outcome?;
    let life = CookieDuration::try_from(logged_in.session_life).unwrap_or_default();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .cookie(cookie.make(logged_in.cookie.expose_secret(), life))
        .json(LoginResponse::new(&logged_in.access_token, &logged_in.refresh_token, logged_in.user)))
}

/// Exchanges a refresh token of a login for new tokens.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "login", request_body = RefreshRequest,
    responses(
        (status = 200, description = "New tokens", body = LoginResponse),
        (status = 400, description = "validation_failed, invalid_grant", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn refresh(
    identity: Data<Identity>,
    request: HttpRequest,
    JsonBody(body): JsonBody<RefreshRequest>,
) -> Result<HttpResponse, ApiError> {
    let (wishes, circumstances): (Wishes, Circumstances) = (Wishes::default(), circumstances(&request));
    let outcome =
        refresh::refresh(&identity, &body.refresh_token, FIRST_PARTY, &wishes, &circumstances).await;
    identity.metrics.count("refresh_token", &outcome);
    let refreshed = outcome?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(LoginResponse::new(
        &refreshed.access_token,
        &refreshed.refresh_token,
        refreshed.user,
    )))
}

/// Ends the login that the token or the session belongs to.
#[utoipa::path(
    post, path = "/auth/logout", tag = "login", security(("bearer" = []), ("session" = [])),
    responses(
        (status = 204, description = "Logged out"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied, forbidden_origin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn log_out(
    identity: Data<Identity>,
    cookie: Data<SessionCookie>,
    request: HttpRequest,
    Guarded(caller, ()): Guarded<CurrentPrincipal, ()>,
) -> Result<HttpResponse, ApiError> {
    if caller.is_by_cookie {
        cookie.check_origin(&request)?;
        // A form of another site cannot send this type without being asked about first.
        if !actix_web::HttpMessage::content_type(&request).eq_ignore_ascii_case("application/json") {
            return Err(ApiError::UnsupportedMediaType);
        }
    }
    let user = caller.user()?;
    let family_id = user.session_id.ok_or(AuthError::PermissionDenied)?;
    login::log_out(&identity, family_id, user.user_id, &circumstances(&request)).await?;
    Ok(HttpResponse::NoContent().cookie(cookie.make("", CookieDuration::ZERO)).finish())
}

/// Who the token or the session stands for.
#[utoipa::path(
    get, path = "/auth/me", tag = "login", security(("bearer" = []), ("session" = [])),
    responses(
        (status = 200, description = "The user", body = UserResponse),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied: a service", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_me(
    Guarded(caller, ()): Guarded<CurrentPrincipal, ()>,
) -> Result<HttpResponse, ApiError> {
    let user = UserResponse::from(caller.user()?);
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(user))
}
