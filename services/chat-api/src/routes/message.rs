//! Messages of a group.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, http::header, web};
use common_auth::extract::RequirePermissionOrScope;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{BodyArgument, OrgQuery, PathArgument, QueryArgument, body, contract::ProblemBody, path, query};
use crate::{
    app::AppState,
    domain::message::{Anchor, History, Message, MessagesRead, MessagesSend, SendMessage, Sent},
    error::ApiError,
};

const DEFAULT_PAGE: u8 = 50;
const MAX_PAGE: u8 = 200;

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SendMessageRequest {
    /// 1 to 4000 characters, not only white space.
    #[schema(min_length = 1, max_length = 4000)]
    pub content: String,
    /// A user's own id, or left out; of a service, the member that it posts for.
    pub sender_id: Option<Uuid>,
    /// Makes repeating the request safe: the same sender, id and message give the first message again.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    pub client_message_id: Option<String>,
    /// The message that this one replies to.
    pub thread_root: Option<Uuid>,
}

/// Where in the history to read; at most one of the three numbers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Services name the organization unless they are bound to one; a user's is the one of the token.
    pub org_id: Option<Uuid>,
    /// The messages just before this number.
    #[param(minimum = 0)]
    pub before_seq: Option<i64>,
    /// The messages just after this number.
    #[param(minimum = 0)]
    pub after_seq: Option<i64>,
    /// The message with this number and those around it.
    #[param(minimum = 0)]
    pub around_seq: Option<i64>,
    /// At most so many messages; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u8>,
}

/// A message.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageResponse {
    pub id: Uuid,
    pub group_id: Uuid,
    pub org_id: Uuid,
    /// Counts the messages of the group, without holes.
    pub seq: i64,
    /// Counts everything that happens in the group, without holes.
    pub change: i64,
    pub sender_id: Uuid,
    pub content: String,
    pub client_message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_root: Option<Uuid>,
    pub reply_count: usize,
    /// By emoji.
    pub reactions: BTreeMap<String, ReactionResponse>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<OffsetDateTime>,
}

/// How often an emoji was chosen.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReactionResponse {
    pub count: usize,
    /// Whether the caller is among those who chose it.
    pub mine: bool,
}

/// A page of messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryResponse {
    /// Ascending by `seq`.
    pub messages: Vec<MessageResponse>,
    /// Whether there are more in the direction of reading; around a message, in either.
    pub has_more: bool,
    pub last_seq: i64,
    pub last_change: i64,
}

impl From<Message> for MessageResponse {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            group_id: message.group_id,
            org_id: message.org_id,
            seq: message.seq,
            change: message.change,
            sender_id: message.sender_id,
            content: message.content,
            client_message_id: message.client_message_id,
            thread_root: message.thread_root,
            reply_count: message.reply_count,
            reactions: BTreeMap::new(),
            created_at: message.created_at,
            edited_at: message.edited_at,
            deleted_at: message.deleted_at,
        }
    }
}

impl From<History> for HistoryResponse {
    fn from(history: History) -> Self {
        Self {
            messages: history.messages.into_iter().map(MessageResponse::from).collect(),
            has_more: history.has_more,
            last_seq: history.last_seq,
            last_change: history.last_change,
        }
    }
}

impl From<SendMessageRequest> for SendMessage {
    fn from(request: SendMessageRequest) -> Self {
        Self {
            content: request.content,
            sender_id: request.sender_id,
            client_message_id: request.client_message_id,
            thread_root: request.thread_root,
        }
    }
}

impl HistoryQuery {
    fn anchor(&self) -> Result<Anchor, ApiError> {
        let invalid = |reason: &'static str| Err(ApiError::Validation(reason.into()));
        match (self.before_seq, self.after_seq, self.around_seq) {
            (Some(seq), None, None) | (None, Some(seq), None) | (None, None, Some(seq)) if seq < 0 => {
                invalid("before_seq, after_seq and around_seq must not be negative")
            }
            (None, None, None) => Ok(Anchor::Newest),
            (Some(seq), None, None) => Ok(Anchor::Before(seq)),
            (None, Some(seq), None) => Ok(Anchor::After(seq)),
            (None, None, Some(seq)) => Ok(Anchor::Around(seq)),
            _ => invalid("only one of before_seq, after_seq and around_seq may be given"),
        }
    }

    fn limit(&self) -> Result<u8, ApiError> {
        match self.limit.unwrap_or(DEFAULT_PAGE) {
            limit @ 1..=MAX_PAGE => Ok(limit),
            _ => Err(ApiError::Validation("limit must be from 1 to 200".into())),
        }
    }
}

/// Reads a page of a group's history; without a number, the newest one.
///
/// Needs `messages:read`, and of a user membership.
#[utoipa::path(
    get, path = "/api/chat/groups/{group_id}/messages", tag = "messages", security(("bearer" = ["messages:read"])),
    params(("group_id" = Uuid, Path), HistoryQuery),
    responses(
        (status = 200, description = "The page", body = HistoryResponse),
        (status = 400, description = "`validation_failed`, `invalid_request`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`authentication_required`, `invalid_token`, `token_expired`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`permission_denied`, `insufficient_scope`, `not_a_member`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`dependency_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub async fn list_messages(
    auth: RequirePermissionOrScope<MessagesRead>,
    state: web::Data<AppState>,
    path_argument: PathArgument<Uuid>,
    query_argument: QueryArgument<HistoryQuery>,
) -> Result<HttpResponse, ApiError> {
    let group_id = path(path_argument)?;
    let page = query(query_argument)?;
    let (anchor, limit) = (page.anchor()?, page.limit()?);
    let history = state.reader.list(auth.principal(), page.org_id, group_id, anchor, limit).await?;
    Ok(HttpResponse::Ok().json(HistoryResponse::from(history)))
}

/// Sends a message.
///
/// Needs `messages:send`, and of the sender membership. A service posts for a member. A 503 leaves open whether the message was
/// stored: repeat it with its `client_message_id`.
#[utoipa::path(
    post, path = "/api/chat/groups/{group_id}/messages", tag = "messages", security(("bearer" = ["messages:send"])),
    params(("group_id" = Uuid, Path), OrgQuery), request_body = SendMessageRequest,
    responses(
        (status = 201, description = "The new message", body = MessageResponse,
            headers(("location" = String, description = "Where the message is"))),
        (status = 200, description = "The message, sent before under this `client_message_id`", body = MessageResponse),
        (status = 400, description = "`validation_failed`, `invalid_request`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`authentication_required`, `invalid_token`, `token_expired`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`permission_denied`, `insufficient_scope`, `not_a_member`, `sender_mismatch`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`conflict`: another message has this `client_message_id`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`payload_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`dependency_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub async fn send_message(
    auth: RequirePermissionOrScope<MessagesSend>,
    state: web::Data<AppState>,
    path_argument: PathArgument<Uuid>,
    query_argument: QueryArgument<OrgQuery>,
    body_argument: BodyArgument<SendMessageRequest>,
) -> Result<HttpResponse, ApiError> {
    let group_id = path(path_argument)?;
    let OrgQuery { org_id } = query(query_argument)?;
    let request = body(body_argument)?;
    Ok(match state.writer.send(auth.principal(), org_id, group_id, request.into()).await? {
        Sent::Created(message) => {
            let location = format!("/api/chat/groups/{group_id}/messages/{}", message.id);
            HttpResponse::Created()
                .insert_header((header::LOCATION, location))
                .json(MessageResponse::from(message))
        }
        Sent::Repeated(message) => HttpResponse::Ok().json(MessageResponse::from(message)),
    })
}

/// Shows one message.
///
/// Needs `messages:read`, and of a user membership.
#[utoipa::path(
    get, path = "/api/chat/groups/{group_id}/messages/{message_id}", tag = "messages", security(("bearer" = ["messages:read"])),
    params(("group_id" = Uuid, Path), ("message_id" = Uuid, Path), OrgQuery),
    responses(
        (status = 200, description = "The message", body = MessageResponse),
        (status = 400, description = "`validation_failed`, `invalid_request`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`authentication_required`, `invalid_token`, `token_expired`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`permission_denied`, `insufficient_scope`, `not_a_member`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`dependency_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub async fn get_message(
    auth: RequirePermissionOrScope<MessagesRead>,
    state: web::Data<AppState>,
    path_argument: PathArgument<(Uuid, Uuid)>,
    query_argument: QueryArgument<OrgQuery>,
) -> Result<HttpResponse, ApiError> {
    let (group_id, message_id) = path(path_argument)?;
    let OrgQuery { org_id } = query(query_argument)?;
    let message = state.reader.find(auth.principal(), org_id, group_id, message_id).await?;
    Ok(HttpResponse::Ok().json(MessageResponse::from(message)))
}
