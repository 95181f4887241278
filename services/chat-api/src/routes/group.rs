//! Groups, from the directory in memory.

use actix_web::{HttpResponse, http::header::ContentType, web};
use common_auth::extract::RequirePermissionOrScope;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{PathArgument, QueryArgument, path, query};
use crate::{
    app::AppState,
    domain::group::{Activity, Group, GroupsRead, LastMessage},
    error::ApiError,
};

/// What to show of groups.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GroupQuery {
    /// Services name the organization unless they are bound to one; a user's is the one of the token.
    pub org_id: Option<Uuid>,
    /// `activity` adds `last_seq`, `last_read_seq`, `unread` and `last_message`.
    #[param(inline)]
    pub include: Option<Include>,
}

/// What can be added to groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Include {
    Activity,
}

/// The groups that the caller sees.
#[derive(Serialize, ToSchema)]
pub struct GroupListResponse<'a> {
    pub items: Vec<GroupResponse<'a>>,
    /// Always null: the list is whole.
    pub next: Option<String>,
}

/// A group.
#[derive(Serialize, ToSchema)]
pub struct GroupResponse<'a> {
    pub id: Uuid,
    pub org_id: Uuid,
    pub name: &'a str,
    pub description: Option<&'a str>,
    pub created_by: Option<Uuid>,
    #[schema(format = DateTime)]
    pub created_at: &'a str,
    #[schema(format = DateTime)]
    pub updated_at: &'a str,
    /// The caller's role in the group, if the caller is a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub activity: Option<ActivityResponse>,
}

/// What goes on in a group; with `include=activity`, and absent without it.
#[derive(Serialize, ToSchema)]
pub struct ActivityResponse {
    #[schema(required = false)]
    pub last_seq: i64,
    #[schema(required = false)]
    pub last_change: i64,
    /// How far the calling user has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_read_seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<i64>,
    pub last_message: Option<LastMessageResponse>,
}

/// The newest message of a group.
#[derive(Serialize, ToSchema)]
pub struct LastMessageResponse {
    pub id: Uuid,
    pub seq: i64,
    pub sender_id: Uuid,
    /// The first 200 characters.
    pub content: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl<'a> GroupResponse<'a> {
    fn new(group: &'a Group, reader: Option<Uuid>, activity: Option<Activity>) -> Self {
        Self {
            id: group.id,
            org_id: group.org_id,
            name: &group.name,
            description: group.description.as_deref(),
            created_by: group.created_by,
            created_at: &group.created_at,
            updated_at: &group.updated_at,
            role: reader.and_then(|user_id| group.role_of(user_id)),
            activity: activity.map(ActivityResponse::from),
        }
    }
}

impl From<Activity> for ActivityResponse {
    fn from(activity: Activity) -> Self {
        Self {
            last_seq: activity.last_seq,
            last_change: activity.last_change,
            last_read_seq: activity.last_read_seq,
            unread: activity.unread(),
            last_message: activity.last_message.map(LastMessageResponse::from),
        }
    }
}

impl From<LastMessage> for LastMessageResponse {
    fn from(message: LastMessage) -> Self {
        Self {
            id: message.id,
            seq: message.seq,
            sender_id: message.sender_id,
            content: message.excerpt,
            created_at: message.created_at,
        }
    }
}

/// Lists the groups that a user is in; for a service, those of the organization.
///
/// Needs `groups:read`. Answered from memory unless activity is asked for.
#[utoipa::path(
    get, path = "/api/chat/groups", tag = "groups", params(GroupQuery), security(("bearer" = ["groups:read"])),
    responses(
        (status = 200, description = "The groups, oldest first", body = inline(GroupListResponse)),
        (status = 400, description = "`validation_failed`, `invalid_request`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`authentication_required`, `invalid_token`, `token_expired`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`permission_denied`, `insufficient_scope`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`dependency_unavailable`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub async fn list_groups(
    auth: RequirePermissionOrScope<GroupsRead>,
    state: web::Data<AppState>,
    query_argument: QueryArgument<GroupQuery>,
) -> Result<HttpResponse, ApiError> {
    let GroupQuery { org_id, include } = query(query_argument)?;
    let groups = state.groups.list(auth.principal(), org_id).await?;
    let activities = match include {
        Some(Include::Activity) => state.groups.list_activity(auth.principal(), org_id, &groups).await?,
        None => Vec::new(),
    };
    let reader = auth.user().map(|user| user.user_id);
    let mut activities = activities.into_iter();
    let items = groups.iter().map(|group| GroupResponse::new(group, reader, activities.next())).collect();
    Ok(json(&GroupListResponse { items, next: None }))
}

/// Shows one group.
///
/// Needs `groups:read`, and of a user membership.
#[utoipa::path(
    get, path = "/api/chat/groups/{group_id}", tag = "groups", security(("bearer" = ["groups:read"])),
    params(("group_id" = Uuid, Path), GroupQuery),
    responses(
        (status = 200, description = "The group", body = inline(GroupResponse)),
        (status = 400, description = "`validation_failed`, `invalid_request`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`authentication_required`, `invalid_token`, `token_expired`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`permission_denied`, `insufficient_scope`, `not_a_member`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`dependency_unavailable`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub async fn get_group(
    auth: RequirePermissionOrScope<GroupsRead>,
    state: web::Data<AppState>,
    path_argument: PathArgument<Uuid>,
    query_argument: QueryArgument<GroupQuery>,
) -> Result<HttpResponse, ApiError> {
    let group_id = path(path_argument)?;
    let GroupQuery { org_id, include } = query(query_argument)?;
    let access = state.groups.access(auth.principal(), org_id, group_id).await?;
    let activity = match include {
        Some(Include::Activity) => Some(state.groups.activity(auth.principal(), &access).await?),
        None => None,
    };
    let reader = auth.user().map(|user| user.user_id);
    Ok(json(&GroupResponse::new(&access.group, reader, activity)))
}

/// Writes the body while the groups it borrows are still there.
fn json(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(serde_json::to_vec(body).unwrap_or_default())
}
