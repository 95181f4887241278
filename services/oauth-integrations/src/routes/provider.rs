//! What can be connected.

use actix_web::{HttpResponse, http::header, web::Data};
use common_auth::AuthContext;
use serde::Serialize;
use utoipa::ToSchema;

use super::page::wording;
use crate::{
    domain::{Integrations, provider::Platform},
    error::ProblemBody,
};

#[derive(Serialize, ToSchema)]
pub(super) struct ProviderListResponse {
    items: Vec<ProviderResponse>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ProviderResponse {
    #[schema(example = "github")]
    platform: &'static str,
    #[schema(example = "GitHub")]
    name: &'static str,
    /// Whether this service has credentials for it.
    configured: bool,
    /// Where connecting begins.
    #[schema(example = "/oauth/install/github")]
    install_path: String,
}

/// The platforms, and whether they can be connected here.
#[utoipa::path(
    get, path = "/oauth/providers", tag = "installations", security(("bearer" = [])),
    responses(
        (status = 200, description = "All of them", body = ProviderListResponse),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_providers(_caller: AuthContext, integrations: Data<Integrations>) -> HttpResponse {
    let items = Platform::ALL.map(|platform| ProviderResponse {
        platform: platform.as_str(),
        name: wording::name(platform),
        configured: integrations.providers.get(platform).is_some(),
        install_path: format!("/oauth/install/{platform}"),
    });
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ProviderListResponse { items: items.into() })
}
