//! The OpenAPI document.

use actix_web::{HttpResponse, web};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};

use super::{
    callback, health, installation,
    page::{data_sources, install, result},
    provider, ticket, token, webhook,
};

/// The contract, made from the handlers' own annotations.
pub fn build() -> utoipa::openapi::OpenApi {
    Contract::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "oauth-integrations", description = "GitHub, Jira and Slack, connected for an organization, and their tokens"),
    paths(
        install::start_install,
        install::confirm_install,
        ticket::create_install_ticket,
        ticket::create_page_ticket,
        callback::receive_callback,
        result::show_result,
        data_sources::show_data_sources,
        data_sources::check,
        data_sources::disconnect,
        installation::list_installations,
        installation::get_installation,
        installation::revoke_installation,
        installation::check_installation,
        provider::list_providers,
        token::get_token,
        webhook::receive_github,
        webhook::receive_slack,
        health::get_health,
        get_contract,
    ),
    modifiers(&SecuritySchemes)
)]
struct Contract;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, contract: &mut utoipa::openapi::OpenApi) {
        let components = contract.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-integrations_page"));
        components.add_security_scheme("page", SecurityScheme::ApiKey(cookie));
        let ticket = ApiKey::Query(ApiKeyValue::new("ticket"));
        components.add_security_scheme("ticket", SecurityScheme::ApiKey(ticket));
    }
}

/// The contract of this service.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(super) async fn get_contract(contract: web::Data<utoipa::openapi::OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(contract.get_ref())
}
