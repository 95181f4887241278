//! The OpenAPI document.

use actix_web::{HttpResponse, web};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};

use super::{
    change, directory, discovery, group, health, introspection, jwks, login, organization, revocation, token,
};

/// The contract, made from the handlers' own annotations.
pub fn build() -> utoipa::openapi::OpenApi {
    let mut contract = Contract::openapi();
    // Spec 000's tools use the short paths, everything else the ones under /api.
    for name in ["login", "refresh", "logout", "me"] {
        let path = format!("/auth/{name}");
        if let Some(mut item) = contract.paths.paths.get(&path).cloned() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.operation_id = operation.operation_id.as_ref().map(|id| format!("api_{id}"));
            }
            contract.paths.paths.insert(format!("/api{path}"), item);
        }
    }
    if let Some(mut item) = contract.paths.paths.get("/.well-known/openid-configuration").cloned() {
        if let Some(operation) = &mut item.get {
            operation.operation_id = Some("get_authorization_server_metadata".to_owned());
        }
        contract.paths.paths.insert("/.well-known/oauth-authorization-server".to_owned(), item);
    }
    contract
}

#[derive(OpenApi)]
#[openapi(
    info(title = "auth-api", description = "Identity: organizations, users, groups, clients, signing keys and access tokens"),
    paths(
        login::log_in,
        login::refresh,
        login::log_out,
        login::get_me,
        token::issue_token,
        introspection::introspect_token,
        revocation::revoke_token,
        revocation::list_revocations,
        group::list_groups,
        group::create_group,
        group::get_group,
        group::list_members,
        group::add_member,
        group::remove_member,
        organization::remove_member,
        directory::get_directory,
        change::list_changes,
        jwks::get_jwks,
        discovery::get_metadata,
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
        components
            .add_security_scheme("client_basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-auth_session"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// The contract of this service.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(super) async fn get_contract(contract: web::Data<utoipa::openapi::OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(contract.get_ref())
}
