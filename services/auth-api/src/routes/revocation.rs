//! The revocation endpoint (RFC 7009), and the feed by which verifiers hear of revocations.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Data, Query},
};
use common_auth::{extract::RequireScope, revocation::RevocationKind};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    change::{FeedParameters, FeedQuery},
    request::{Form, Guarded, circumstances, client_credentials, network},
};
use crate::{
    domain::{
        Identity, client_authentication::authenticate, introspection, revocation, role::RevocationsRead,
    },
    error::{ApiError, OAuthError, OAuthErrorBody, ProblemBody},
};

/// What the endpoint takes, as a form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the form, which is read name by name")]
pub(super) struct RevocationRequest {
    token: String,
    token_type_hint: Option<String>,
    /// With HTTP Basic not needed.
    client_id: Option<String>,
    #[schema(format = Password)]
    client_secret: Option<String>,
}

/// An entry of the feed, as documented; [`common_auth::revocation::RevocationEntry`] is what is sent.
#[derive(Serialize, ToSchema)]
pub(super) struct RevocationResponse {
    /// A decimal number; commit order.
    cursor: String,
    at: String,
    /// `jti`, `family`, `subject`, `client`, `key`, or the notice `keys_changed`.
    kind: String,
    value: String,
    org_id: Option<Uuid>,
    /// Exclusive.
    issued_before: String,
    expires_at: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RevocationPageResponse {
    #[schema(value_type = Vec<RevocationResponse>)]
    items: Vec<common_auth::revocation::RevocationEntry>,
    next: String,
}

/// Takes a token back. A refresh token goes with everything that was issued for it; what is no token needs nothing done.
#[utoipa::path(
    post, path = "/oauth/revoke", tag = "oauth", security(("client_basic" = []), ()),
    request_body(content = RevocationRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token does not count any more"),
        (status = 400, description = "invalid_request, unauthorized_client: the token was issued to another client", body = OAuthErrorBody),
        (status = 401, description = "invalid_client", body = OAuthErrorBody),
        (status = 413, description = "invalid_request", body = OAuthErrorBody),
        (status = 429, description = "rate_limited", body = OAuthErrorBody),
        (status = 503, description = "temporarily_unavailable", body = OAuthErrorBody),
    )
)]
pub(super) async fn revoke_token(
    identity: Data<Identity>,
    request: HttpRequest,
    form: Result<Form, OAuthError>,
) -> Result<HttpResponse, OAuthError> {
    // Who asks is settled first: a stranger is not told what is wrong with the body.
    let nothing = Form::default();
    let credentials = client_credentials(&request, form.as_ref().unwrap_or(&nothing))?;
    let credentials = credentials.ok_or(OAuthError::InvalidClient)?;
    let client = authenticate(&identity, &credentials, network(&request), identity.clock.now()).await?;
    let form = form?;
    let token = form.secret("token").ok_or(OAuthError::InvalidRequest("token is missing"))?;
    introspection::revoke(&identity, &client, &token, &circumstances(&request)).await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).finish())
}

/// Revocations in force, in commit order; waits for news where there are none.
#[utoipa::path(
    get, path = "/oauth/revocations", tag = "feeds", security(("bearer" = [])), params(FeedParameters),
    responses(
        (status = 200, description = "A page", body = RevocationPageResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "cursor_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_revocations(
    identity: Data<Identity>,
    Guarded(_auth, query): Guarded<RequireScope<RevocationsRead>, Query<FeedQuery>>,
) -> Result<HttpResponse, ApiError> {
    let page = revocation::page(&identity, query.parse()?).await?;
    let items = page.items.into_iter().filter_map(revocation::entry);
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(RevocationPageResponse {
        items: items.filter(|entry| entry.kind != RevocationKind::Unknown).collect(),
        next: page.next.to_string(),
    }))
}
