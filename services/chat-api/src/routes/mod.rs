//! Every path of the service, grouped by who calls it.

pub mod admin;
pub mod contract;
pub mod group;
pub mod message;
pub mod read_mark;

use actix_web::{HttpResponse, Resource, web};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use self::contract::BearerToken;
use crate::error::ApiError;

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The main listener: people and services with a bearer token.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .app_data(web::JsonConfig::default().limit(MAX_BODY_BYTES))
        .service(resource("/api/chat/groups").get(group::list_groups))
        .service(resource("/api/chat/groups/{group_id}").get(group::get_group))
        .service(
            resource("/api/chat/groups/{group_id}/messages")
                .get(message::list_messages)
                .post(message::send_message),
        )
        .service(
            resource("/api/chat/groups/{group_id}/messages/{message_id}").get(message::get_message),
        )
        .service(resource("/api/chat/groups/{group_id}/read").put(read_mark::put_read_mark))
        // Anybody.
        .service(resource("/health").get(admin::health))
        .service(resource("/openapi.json").get(contract::openapi_json))
        .default_service(web::to(not_found));
}

/// The admin listener: probes and Prometheus.
pub fn configure_admin(config: &mut web::ServiceConfig) {
    config
        .service(resource("/livez").get(admin::livez))
        .service(resource("/readyz").get(admin::readyz))
        .service(resource("/metrics").get(admin::metrics))
        .default_service(web::to(not_found));
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
        admin::health,
        contract::openapi_json,
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
    argument
        .map(web::Query::into_inner)
        .map_err(|error| ApiError::Validation(error.to_string().into()))
}

fn body<T>(argument: BodyArgument<T>) -> Result<T, ApiError> {
    argument.map(web::Json::into_inner).map_err(|error| ApiError::from_body(&error))
}

fn resource(path: &str) -> Resource {
    web::resource(path).default_service(web::to(method_not_allowed))
}

async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}

async fn method_not_allowed() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed)
}
