//! Members of organizations.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use common_auth::extract::RequirePermission;
use uuid::Uuid;

use super::request::{Guarded, circumstances};
use crate::{
    domain::{Identity, organization, role::MembersManage},
    error::{ApiError, ProblemBody},
};

/// Removes a member from the organization: out of its groups, and the tokens for it are revoked.
#[utoipa::path(
    delete, path = "/api/auth/orgs/{org_id}/members/{user_id}", operation_id = "remove_org_member", tag = "organizations",
    security(("bearer" = [])), params(("org_id" = Uuid, Path), ("user_id" = Uuid, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "conflict: the last owner", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove_member(
    identity: Data<Identity>,
    request: HttpRequest,
    Guarded(auth, path): Guarded<RequirePermission<MembersManage>, Path<(Uuid, Uuid)>>,
) -> Result<HttpResponse, ApiError> {
    let user = auth.user().ok_or(ApiError::PermissionDenied)?;
    let (org_id, member) = path.into_inner();
    let tenant = auth.principal().tenant(Some(org_id))?;
    organization::remove_member(&identity, tenant, user, member, &circumstances(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
