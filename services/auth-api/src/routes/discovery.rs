//! What this issuer can do (`OpenID` Connect Discovery 1.0 and RFC 8414), from memory.

use actix_web::{HttpRequest, HttpResponse, web::Data};

use super::jwks::serve;
use crate::domain::jwks::Document;

/// The issuer's metadata.
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "discovery",
    responses(
        (status = 200, description = "The metadata", content_type = "application/json"),
        (status = 304, description = "Not changed"),
    )
)]
pub(super) async fn get_metadata(metadata: Data<Document>, request: HttpRequest) -> HttpResponse {
    serve(&request, &metadata)
}
