//! How far a user has read.

use actix_web::{HttpResponse, web};
use common_auth::extract::RequirePermission;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use common_auth::AuthError;

use super::{BodyArgument, PathArgument, body, contract::ProblemBody, path};
use crate::{app::AppState, domain::message::MessagesRead, error::ApiError};

/// How far the caller has read.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PutReadMarkRequest {
    /// The `seq` of the last message read.
    #[schema(minimum = 0)]
    pub seq: i64,
}

/// Where the mark stands now.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadMarkResponse {
    pub group_id: Uuid,
    pub last_seq: i64,
    pub last_read_seq: i64,
    pub unread: i64,
}

/// Marks a group as read up to a message. The mark never goes back, and not beyond the last message.
///
/// Needs `messages:read` and membership. Users only.
#[utoipa::path(
    put, path = "/api/chat/groups/{group_id}/read", tag = "groups", security(("bearer" = ["messages:read"])),
    params(("group_id" = Uuid, Path)), request_body = PutReadMarkRequest,
    responses(
        (status = 200, description = "Where the mark stands now", body = ReadMarkResponse),
        (status = 400, description = "`validation_failed`, `invalid_request`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`authentication_required`, `invalid_token`, `token_expired`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`permission_denied`, `not_a_member`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`payload_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`dependency_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub async fn put_read_mark(
    auth: RequirePermission<MessagesRead>,
    state: web::Data<AppState>,
    path_argument: PathArgument<Uuid>,
    body_argument: BodyArgument<PutReadMarkRequest>,
) -> Result<HttpResponse, ApiError> {
    let group_id = path(path_argument)?;
    let PutReadMarkRequest { seq } = body(body_argument)?;
    if seq < 0 {
        return Err(ApiError::Validation("seq must not be negative".into()));
    }
    let reader = auth.user().ok_or(AuthError::PermissionDenied)?.user_id;
    let mark = state.groups.mark_read(auth.principal(), reader, group_id, seq).await?;
    Ok(HttpResponse::Ok().json(ReadMarkResponse {
        group_id,
        last_seq: mark.last_seq,
        last_read_seq: mark.last_read_seq,
        unread: (mark.last_seq - mark.last_read_seq).max(0),
    }))
}
