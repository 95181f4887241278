//! Every path of the service, grouped by caller.

mod change;
pub mod contract;
mod directory;
mod discovery;
mod group;
pub mod health;
mod introspection;
mod jwks;
mod login;
mod organization;
mod principal;
mod request;
mod revocation;
mod token;

use crate::error::ApiError;
use actix_web::{
    HttpRequest, HttpResponse, Route,
    web::{self, PathConfig, QueryConfig, ServiceConfig, delete, get, post, resource},
};

pub use login::SessionCookie;

/// The paths of the main listener.
pub fn configure(app: &mut ServiceConfig) {
    app.app_data(
        PathConfig::default()
            .error_handler(|_, _| ApiError::Validation("an id in the path is not a UUID".to_owned()).into()),
    );
    app.app_data(
        QueryConfig::default()
            .error_handler(|_, _| ApiError::Validation("a query parameter is not usable".to_owned()).into()),
    );

    // People, and the pages that they use.
    for prefix in ["", "/api"] {
        let path = |name: &str| format!("{prefix}/auth/{name}");
        app.service(resource(path("login")).route(post().to(login::log_in)).default_service(only("POST")));
        app.service(resource(path("refresh")).route(post().to(login::refresh)).default_service(only("POST")));
        app.service(resource(path("logout")).route(post().to(login::log_out)).default_service(only("POST")));
        app.service(resource(path("me")).route(get().to(login::get_me)).default_service(only("GET")));
    }

    // OAuth clients.
    app.service(
        resource("/oauth/token").route(post().to(token::issue_token)).default_service(oauth_only_post()),
    );
    app.service(
        resource("/oauth/introspect")
            .route(post().to(introspection::introspect_token))
            .default_service(oauth_only_post()),
    );
    app.service(
        resource("/oauth/revoke")
            .route(post().to(revocation::revoke_token))
            .default_service(oauth_only_post()),
    );

    // People and services.
    app.service(
        resource("/api/auth/groups")
            .route(get().to(group::list_groups))
            .route(post().to(group::create_group))
            .default_service(only("GET, POST")),
    );
    app.service(
        resource("/api/auth/groups/{group_id}")
            .route(get().to(group::get_group))
            .default_service(only("GET")),
    );
    app.service(
        resource("/api/auth/groups/{group_id}/members")
            .route(get().to(group::list_members))
            .route(post().to(group::add_member))
            .default_service(only("GET, POST")),
    );
    app.service(
        resource("/api/auth/groups/{group_id}/members/{user_id}")
            .route(delete().to(group::remove_member))
            .default_service(only("DELETE")),
    );
    app.service(
        resource("/api/auth/orgs/{org_id}/members/{user_id}")
            .route(delete().to(organization::remove_member))
            .default_service(only("DELETE")),
    );

    // Services.
    app.service(
        resource("/api/auth/directory")
            .route(get().to(directory::get_directory))
            .default_service(only("GET")),
    );
    app.service(
        resource("/api/auth/changes").route(get().to(change::list_changes)).default_service(only("GET")),
    );
    app.service(
        resource("/oauth/revocations")
            .route(get().to(revocation::list_revocations))
            .default_service(only("GET")),
    );

    // Everybody.
    app.service(
        resource("/.well-known/jwks.json").route(get().to(jwks::get_jwks)).default_service(only("GET")),
    );
    for name in ["openid-configuration", "oauth-authorization-server"] {
        let path = format!("/.well-known/{name}");
        app.service(resource(path).route(get().to(discovery::get_metadata)).default_service(only("GET")));
    }
    app.service(resource("/health").route(get().to(health::get_health)).default_service(only("GET")));
    app.service(
        resource("/openapi.json").route(get().to(contract::get_contract)).default_service(only("GET")),
    );
    app.default_service(web::to(|| async { Err::<HttpResponse, _>(ApiError::NotFound) }));
}

/// The paths of the admin listener.
pub fn configure_admin(app: &mut ServiceConfig) {
    app.route("/livez", get().to(health::get_livez));
    app.route("/readyz", get().to(health::get_readyz));
    app.route("/metrics", get().to(health::get_metrics));
    app.default_service(web::to(|| async { Err::<HttpResponse, _>(ApiError::NotFound) }));
}

fn only(methods: &'static str) -> Route {
    web::to(move || async move { Err::<HttpResponse, _>(ApiError::MethodNotAllowed(methods)) })
}

fn oauth_only_post() -> Route {
    web::to(|_: HttpRequest| async { Err::<HttpResponse, _>(crate::error::OAuthError::MethodNotAllowed) })
}
