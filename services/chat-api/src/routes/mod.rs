//! Every path of the service, grouped by who calls it.

pub mod contract;
pub mod group;
pub mod health;
pub mod message;
pub mod read_mark;

use actix_web::{
    HttpResponse, ResponseError, Route,
    http::header::{self, HeaderValue},
    web::{self, JsonConfig, ServiceConfig, get, post, put, resource},
};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use self::contract::BearerToken;
use crate::error::ApiError;

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The main listener: people and services with a bearer token.
pub fn configure(app: &mut ServiceConfig) {
    app.app_data(JsonConfig::default().limit(MAX_BODY_BYTES));
    app.service(
        resource("/api/chat/groups").route(get().to(group::list_groups)).default_service(only("GET")),
    );
    app.service(
        resource("/api/chat/groups/{group_id}")
            .route(get().to(group::get_group))
            .default_service(only("GET")),
    );
    app.service(
        resource("/api/chat/groups/{group_id}/messages")
            .route(get().to(message::list_messages))
            .route(post().to(message::send_message))
            .default_service(only("GET, POST")),
    );
    app.service(
        resource("/api/chat/groups/{group_id}/messages/{message_id}")
            .route(get().to(message::get_message))
            .default_service(only("GET")),
    );
    app.service(
        resource("/api/chat/groups/{group_id}/read")
            .route(put().to(read_mark::put_read_mark))
            .default_service(only("PUT")),
    );

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
    info(title = "chat-api", description = "Team chat: messages in groups, with gapless numbers and safe retries"),
    paths(
        group::list_groups,
        group::get_group,
        message::list_messages,
        message::send_message,
        message::get_message,
        read_mark::put_read_mark,
        health::get_health,
        contract::get_contract,
    ),
    modifiers(&BearerToken),
    components(schemas(contract::ProblemBody)),
)]
pub struct Contract;

/// The organization that a request is about.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OrgQuery {
    /// Services name the organization unless they are bound to one; a user's is the one of the token.
    pub org_id: Option<Uuid>,
}

/// Arguments that are looked at after the guard: authentication comes before validation.
type PathArgument<T> = Result<web::Path<T>, actix_web::Error>;
type QueryArgument<T> = Result<web::Query<T>, actix_web::Error>;
type BodyArgument<T> = Result<web::Json<T>, actix_web::Error>;

/// An id that is none is an id of nothing.
fn path<T>(argument: PathArgument<T>) -> Result<T, ApiError> {
    argument.map(web::Path::into_inner).map_err(|_| ApiError::NotFound)
}

fn query<T>(argument: QueryArgument<T>) -> Result<T, ApiError> {
    argument.map(web::Query::into_inner).map_err(|error| ApiError::Validation(error.to_string().into()))
}

fn body<T>(argument: BodyArgument<T>) -> Result<T, ApiError> {
    argument.map(web::Json::into_inner).map_err(|error| ApiError::from_body(&error))
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
