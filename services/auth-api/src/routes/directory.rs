//! The directory: an organization's groups with all of their members, for services that keep it in memory.

use actix_web::{
    HttpResponse,
    web::{Data, Query},
};
use common_auth::extract::RequireScope;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{group::GroupResponse, request::Guarded};
use crate::{
    domain::{Identity, directory, role::GroupsRead},
    error::{ApiError, ProblemBody},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DirectoryQuery {
    /// Needed unless the service is bound to exactly one.
    org_id: Option<Uuid>,
    /// The `next` of the page before.
    page: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DirectoryGroupResponse {
    #[serde(flatten)]
    group: GroupResponse,
    members: Vec<DirectoryMemberResponse>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DirectoryMemberResponse {
    user_id: Uuid,
    role: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DirectoryResponse {
    items: Vec<DirectoryGroupResponse>,
    next: Option<String>,
    /// On the first page: where to follow the changes from, so that none is missed while the pages are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A page of the directory.
#[utoipa::path(
    get, path = "/api/auth/directory", tag = "groups", security(("bearer" = [])), params(DirectoryQuery),
    responses(
        (status = 200, description = "A page", body = DirectoryResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_directory(
    identity: Data<Identity>,
    Guarded(auth, query): Guarded<RequireScope<GroupsRead>, Query<DirectoryQuery>>,
) -> Result<HttpResponse, ApiError> {
    let tenant = auth.principal().tenant(query.org_id)?;
    let page = directory::page(&identity, tenant, query.page).await?;
    let items = page.groups.into_iter().map(|(group, members)| DirectoryGroupResponse {
        group: group.into(),
        members: members
            .into_iter()
            .map(|(user_id, role)| DirectoryMemberResponse { user_id, role })
            .collect(),
    });
    Ok(HttpResponse::Ok().json(DirectoryResponse {
        items: items.collect(),
        next: page.next.map(|id| id.to_string()),
        cursor: page.cursor.map(|cursor| cursor.to_string()),
    }))
}
