//! Every path of the service, grouped by who calls it, and the coordinator's socket.

pub mod callback;
pub mod contract;
pub mod health;
pub mod page;
pub mod socket;
pub mod wait;

use actix_web::{
    HttpRequest, HttpResponse, ResponseError, Route,
    http::header::{self, HeaderValue},
    web::{self, ServiceConfig, get, post, resource},
};
use utoipa::OpenApi;

use self::contract::BearerToken;
use crate::{domain::callback::is_readable, error::ApiError};

/// What the main listener offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Where providers send browsers back to, if they may.
    pub callback_path: Option<String>,
    /// Whether services may wait over HTTP.
    pub has_wait: bool,
}

/// The main listener.
pub fn configure(app: &mut ServiceConfig, offer: &Offer) {
    // Browsers, sent by providers.
    if let Some(path) = &offer.callback_path {
        app.service(
            resource(path.as_str())
                .route(get().to(callback::get_callback))
                .route(post().to(callback::post_callback))
                .default_service(only("GET, POST")),
        );
    }

    // Services with a bearer token.
    if offer.has_wait {
        app.service(
            resource("/oauth/wait").route(get().to(wait::wait_for_callback)).default_service(only("GET")),
        );
    }

    // Anybody.
    app.service(resource("/health").route(get().to(health::get_health)).default_service(only("GET")));
    app.service(
        resource("/openapi.json").route(get().to(contract::get_contract)).default_service(only("GET")),
    );
    app.default_service(web::to(not_found));
}

/// The admin listener: probes and Prometheus.
pub fn configure_admin(app: &mut ServiceConfig) {
    app.service(resource("/livez").route(get().to(health::get_livez)));
    app.service(resource("/readyz").route(get().to(health::get_readyz)));
    app.service(resource("/metrics").route(get().to(health::get_metrics)));
    app.default_service(web::to(not_found));
}

/// The contract, generated from the code.
#[derive(OpenApi)]
#[openapi(
    info(title = "oauth-relay", description = "Authorization codes for programs that cannot open a browser"),
    paths(
        callback::get_callback,
        callback::post_callback,
        wait::wait_for_callback,
        health::get_health,
        contract::get_contract,
    ),
    modifiers(&BearerToken),
    components(schemas(contract::ProblemBody)),
)]
pub struct Contract;

/// An argument that is looked at after the guard: authentication comes before validation.
type QueryArgument<T> = Result<web::Query<T>, actix_web::Error>;

/// Reads strictly: the extractor alone would replace what is no UTF-8, and somebody would wait for a state that nobody sends.
fn query<T>(request: &HttpRequest, argument: QueryArgument<T>) -> Result<T, ApiError> {
    match argument {
        Ok(query) if is_readable(request.query_string()) => Ok(query.into_inner()),
        _ => Err(ApiError::Validation("The query cannot be read".into())),
    }
}

async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}

/// The answer of a path to every other method (RFC 9110, section 15.5.6).
fn only(methods: &'static str) -> Route {
    web::to(move || async move {
        let mut response = ApiError::MethodNotAllowed.error_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        response
    })
}
