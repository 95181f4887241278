//! The public keys (RFC 7517), from memory.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};

use crate::{
    domain::{Identity, jwks::Document},
    error::{ApiError, ProblemBody},
};

/// How long verifiers and proxies may keep what never needs a query.
const CACHE_CONTROL: &str = "public, max-age=300";

/// The keys that tokens are signed with, and the next one.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "discovery",
    responses(
        (status = 200, description = "A JWK Set", content_type = "application/json"),
        (status = 304, description = "Not changed"),
        (status = 503, description = "dependency_unavailable: no keys are loaded yet", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_jwks(
    identity: Data<Identity>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let ring = identity.keys.load();
    if ring.jwks.body.is_empty() { Err(ApiError::Unavailable) } else { Ok(serve(&request, &ring.jwks)) }
}

/// A finished document, or word that the caller has it already (RFC 9110, section 13.1.2).
pub(super) fn serve(request: &HttpRequest, document: &Document) -> HttpResponse {
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|tags| {
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == document.etag)
    });
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL))
        .insert_header((header::ETAG, document.etag.as_str()))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    if is_known {
        return response.finish();
    }
    response.content_type("application/json").body(document.body.clone())
}
