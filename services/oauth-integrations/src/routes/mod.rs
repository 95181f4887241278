//! Every path of the service, grouped by caller.

mod address;
mod browser;
mod callback;
mod caller;
pub mod contract;
pub mod health;
mod installation;
mod limit;
mod page;
mod provider;
mod request;
mod ticket;
mod token;
mod webhook;

use actix_web::{
    HttpResponse, Route,
    web::{self, PathConfig, QueryConfig, ServiceConfig, delete, get, post, resource},
};

use self::page::{data_sources, install, result};
pub use self::{address::TrustedProxies, browser::Cookies, limit::Limits};
use crate::error::ApiError;

/// The paths of the main listener.
pub fn configure(app: &mut ServiceConfig) {
    // An id that is none is an id of nothing.
    app.app_data(PathConfig::default().error_handler(|_, _| ApiError::NotFound.into()));
    app.app_data(
        QueryConfig::default()
            .error_handler(|_, _| ApiError::Validation("a query parameter is not usable".into()).into()),
    );

    // People, and the pages that they use.
    app.service(
        resource("/oauth/install/{platform}")
            .route(get().to(install::start_install))
            .route(post().to(install::confirm_install))
            .default_service(only("GET, POST")),
    );
    app.service(
        resource("/oauth/callback/{platform}")
            .route(get().to(callback::receive_callback))
            .default_service(only("GET")),
    );
    app.service(
        resource("/oauth/results/{result}").route(get().to(result::show_result)).default_service(only("GET")),
    );
    app.service(
        resource("/oauth/data-sources")
            .route(get().to(data_sources::show_data_sources))
            .default_service(only("GET")),
    );
    app.service(
        resource("/oauth/data-sources/installations/{id}/check")
            .route(post().to(data_sources::check))
            .default_service(only("POST")),
    );
    app.service(
        resource("/oauth/data-sources/installations/{id}/disconnect")
            .route(post().to(data_sources::disconnect))
            .default_service(only("POST")),
    );

    // People and services with a bearer token.
    app.service(
        resource("/oauth/install-tickets")
            .route(post().to(ticket::create_install_ticket))
            .default_service(only("POST")),
    );
    app.service(
        resource("/oauth/page-tickets")
            .route(post().to(ticket::create_page_ticket))
            .default_service(only("POST")),
    );
    app.service(
        resource("/oauth/installations")
            .route(get().to(installation::list_installations))
            .default_service(only("GET")),
    );
    app.service(
        resource("/oauth/installations/{id}")
            .route(get().to(installation::get_installation))
            .route(delete().to(installation::revoke_installation))
            .default_service(only("GET, DELETE")),
    );
    app.service(
        resource("/oauth/installations/{id}/check")
            .route(post().to(installation::check_installation))
            .default_service(only("POST")),
    );
    app.service(
        resource("/oauth/providers").route(get().to(provider::list_providers)).default_service(only("GET")),
    );
    app.service(
        resource("/oauth/token/{platform}").route(get().to(token::get_token)).default_service(only("GET")),
    );

    // Providers.
    app.service(
        resource("/oauth/webhooks/github")
            .route(post().to(webhook::receive_github))
            .default_service(only("POST")),
    );
    app.service(
        resource("/oauth/webhooks/slack")
            .route(post().to(webhook::receive_slack))
            .default_service(only("POST")),
    );

    // Everybody.
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
