//! Groups and their members.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Query},
};
use common_auth::{
    Principal,
    extract::{RequirePermission, Right},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    principal::CurrentPrincipal,
    request::{Guarded, JsonBody, circumstances},
};
use crate::{
    domain::{
        Identity,
        group::{self, Group, GroupMember, GroupName, GroupRole},
        role::{GroupsCreate, GroupsRead, MembersManage},
    },
    error::{ApiError, ProblemBody},
};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 500;
const MAX_DESCRIPTION_CHARS: usize = 1000;

/// A group that somebody may see.
type GroupOfCaller = Guarded<CurrentPrincipal, (Path<Uuid>, Query<OrgQuery>)>;
/// A member that somebody may add.
type NewMember = Guarded<RequirePermission<MembersManage>, (Path<Uuid>, JsonBody<AddMemberRequest>)>;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OrgQuery {
    /// For services: the organization that is meant; the group's own where it is not given.
    org_id: Option<Uuid>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupListQuery {
    /// For services: the organization. Needed unless the service is bound to exactly one.
    org_id: Option<Uuid>,
    /// The `next` of the page before.
    after: Option<Uuid>,
    /// 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct CreateGroupRequest {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct AddMemberRequest {
    user_id: Uuid,
    #[serde(default)]
    role: MemberRole,
}

/// What a member may do in a group.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MemberRole {
    #[default]
    Member,
    Admin,
}

#[derive(Serialize, ToSchema)]
pub(super) struct GroupResponse {
    id: Uuid,
    org_id: Uuid,
    name: String,
    description: String,
    created_by: Option<Uuid>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

#[derive(Serialize, ToSchema)]
pub(super) struct GroupListResponse {
    items: Vec<GroupResponse>,
    next: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct GroupMemberResponse {
    user_id: Uuid,
    username: String,
    email: String,
    role: String,
    #[serde(with = "time::serde::rfc3339")]
    joined_at: OffsetDateTime,
}

impl From<Group> for GroupResponse {
    fn from(group: Group) -> Self {
        Self {
            id: group.id,
            org_id: group.org_id,
            name: group.name,
            description: group.description,
            created_by: group.created_by,
            created_at: group.created_at,
            updated_at: group.updated_at,
        }
    }
}

impl From<GroupMember> for GroupMemberResponse {
    fn from(member: GroupMember) -> Self {
        Self {
            user_id: member.user_id,
            username: member.username,
            email: member.email,
            role: member.role,
            joined_at: member.joined_at,
        }
    }
}

impl From<MemberRole> for GroupRole {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Member => Self::Member,
            MemberRole::Admin => Self::Admin,
        }
    }
}

/// Lists the organization's groups.
#[utoipa::path(
    get, path = "/api/auth/groups", tag = "groups", security(("bearer" = []), ("session" = [])), params(GroupListQuery),
    responses(
        (status = 200, description = "A page", body = GroupListResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied, insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_groups(
    identity: Data<Identity>,
    Guarded(caller, query): Guarded<CurrentPrincipal, Query<GroupListQuery>>,
) -> Result<HttpResponse, ApiError> {
    caller.require(GroupsRead::NAME)?;
    let tenant = caller.principal.tenant(query.org_id)?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::Validation(format!("limit is from 1 to {MAX_LIMIT}")));
    }
    let listing = group::list(&identity, tenant, query.after, limit).await?;
    let items = listing.items.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(GroupListResponse { items, next: listing.next }))
}

/// Shows a group.
#[utoipa::path(
    get, path = "/api/auth/groups/{group_id}", tag = "groups", security(("bearer" = []), ("session" = [])),
    params(("group_id" = Uuid, Path), OrgQuery),
    responses(
        (status = 200, description = "The group", body = GroupResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied, insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_group(
    identity: Data<Identity>,
    target: GroupOfCaller,
) -> Result<HttpResponse, ApiError> {
    let Guarded(caller, (group_id, query)) = target;
    caller.require(GroupsRead::NAME)?;
    let group_id = group_id.into_inner();
    let tenant = group::tenant_of_group(&identity, &caller.principal, group_id, query.org_id).await?;
    let group = match &caller.principal {
        Principal::User(user) => group::get_group_details(&identity, tenant, group_id, user.user_id).await?,
        Principal::Service(_) => group::get_group_details_admin(&identity, tenant, group_id).await?,
    };
    Ok(HttpResponse::Ok().json(GroupResponse::from(group)))
}

/// Lists the members of a group.
#[utoipa::path(
    get, path = "/api/auth/groups/{group_id}/members", tag = "groups", security(("bearer" = []), ("session" = [])),
    params(("group_id" = Uuid, Path), OrgQuery),
    responses(
        (status = 200, description = "The members", body = Vec<GroupMemberResponse>),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied, insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_members(
    identity: Data<Identity>,
    target: GroupOfCaller,
) -> Result<HttpResponse, ApiError> {
    let Guarded(caller, (group_id, query)) = target;
    caller.require(GroupsRead::NAME)?;
    let group_id = group_id.into_inner();
    let tenant = group::tenant_of_group(&identity, &caller.principal, group_id, query.org_id).await?;
    let members = match &caller.principal {
        Principal::User(user) => group::get_group_members(&identity, tenant, group_id, user.user_id).await?,
        Principal::Service(_) => group::get_group_members_admin(&identity, tenant, group_id).await?,
    };
    let members: Vec<GroupMemberResponse> = members.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(members))
}

/// Makes a group. Its creator becomes its first member.
#[utoipa::path(
    post, path = "/api/auth/groups", tag = "groups", security(("bearer" = [])), request_body = CreateGroupRequest,
    responses(
        (status = 201, description = "The group", body = GroupResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_group(
    identity: Data<Identity>,
    request: HttpRequest,
    Guarded(auth, JsonBody(body)): Guarded<RequirePermission<GroupsCreate>, JsonBody<CreateGroupRequest>>,
) -> Result<HttpResponse, ApiError> {
    let user = auth.user().ok_or(ApiError::PermissionDenied)?;
    let tenant = auth.principal().tenant(None)?;
    let name: GroupName = body
        .name
        .parse()
        .map_err(|error: group::InvalidGroupName| ApiError::Validation(error.to_string()))?;
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if !body.description.chars().all(is_plain) {
        return Err(ApiError::Validation("description has no control characters".to_owned()));
    }
    if body.description.chars().count() > MAX_DESCRIPTION_CHARS {
        return Err(ApiError::Validation(format!(
            "description has at most {MAX_DESCRIPTION_CHARS} characters"
        )));
    }
    let created =
        group::create(&identity, tenant, user.user_id, name, body.description, &circumstances(&request))
            .await?;
    Ok(HttpResponse::Created().json(GroupResponse::from(created)))
}

/// Adds a member of the organization to a group, or sets the role of one who is in it.
#[utoipa::path(
    post, path = "/api/auth/groups/{group_id}/members", tag = "groups", security(("bearer" = [])),
    params(("group_id" = Uuid, Path)), request_body = AddMemberRequest,
    responses(
        (status = 200, description = "Was a member; the role is as asked for", body = GroupMemberResponse),
        (status = 201, description = "The new member", body = GroupMemberResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "payload_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "unsupported_media_type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn add_member(
    identity: Data<Identity>,
    request: HttpRequest,
    new_member: NewMember,
) -> Result<HttpResponse, ApiError> {
    let Guarded(auth, (group_id, JsonBody(body))) = new_member;
    let user = auth.user().ok_or(ApiError::PermissionDenied)?;
    let tenant = auth.principal().tenant(None)?;
    let member = (body.user_id, body.role.into());
    let added =
        group::add_member(&identity, tenant, user.user_id, *group_id, member, &circumstances(&request)).await;
    let (member, is_new) = added?;
    let mut response = if is_new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(GroupMemberResponse::from(member)))
}

/// Removes a member from a group.
#[utoipa::path(
    delete, path = "/api/auth/groups/{group_id}/members/{user_id}", tag = "groups", security(("bearer" = [])),
    params(("group_id" = Uuid, Path), ("user_id" = Uuid, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove_member(
    identity: Data<Identity>,
    request: HttpRequest,
    Guarded(auth, path): Guarded<RequirePermission<MembersManage>, Path<(Uuid, Uuid)>>,
) -> Result<HttpResponse, ApiError> {
    let user = auth.user().ok_or(ApiError::PermissionDenied)?;
    let tenant = auth.principal().tenant(None)?;
    let (group_id, member) = path.into_inner();
    group::remove_member(&identity, tenant, user.user_id, group_id, member, &circumstances(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
