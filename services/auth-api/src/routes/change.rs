//! The feed of changes to groups and members.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, Query},
};
use common_auth::{Orgs, extract::RequireScope};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::request::Guarded;
use crate::{
    domain::{
        Identity, change,
        feed::{self, LONGEST_WAIT, MAX_LIMIT},
        role::GroupsRead,
    },
    error::{ApiError, ProblemBody},
};

/// What a reader of a feed asks for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents the query, whose numbers are parsed one by one")]
pub(super) struct FeedParameters {
    /// The `next` of the page before. Without it: revocations from the oldest in force; of changes none, and the newest cursor.
    after: Option<String>,
    /// Entries, 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// Seconds to wait for news, 0 to 30.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u16>,
}

#[derive(Deserialize)]
pub(super) struct FeedQuery {
    after: Option<String>,
    limit: Option<i64>,
    wait: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ChangeResponse {
    /// A decimal number; commit order.
    cursor: String,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// `group.created|updated|deleted`, `member.added|removed|role_changed`, `org_member.added|removed|role_changed`,
    /// `user.disabled`.
    #[serde(rename = "type")]
    kind: String,
    org_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ChangePageResponse {
    items: Vec<ChangeResponse>,
    next: String,
}

impl FeedQuery {
    /// The query, its numbers checked.
    pub(super) fn parse(&self) -> Result<feed::Query, ApiError> {
        let invalid = |text: String| ApiError::Validation(text);
        let after =
            self.after.as_deref().map(|cursor| cursor.parse::<i64>().ok().filter(|cursor| *cursor >= 0));
        let after = match after {
            Some(None) => return Err(invalid("after is no cursor".to_owned())),
            Some(cursor) => cursor,
            None => None,
        };
        let limit = self.limit.unwrap_or(MAX_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(invalid(format!("limit is from 1 to {MAX_LIMIT}")));
        }
        let wait = Duration::from_secs(self.wait.unwrap_or(0));
        if wait > LONGEST_WAIT {
            return Err(invalid(format!("wait is from 0 to {} seconds", LONGEST_WAIT.as_secs())));
        }
        Ok(feed::Query { after, limit, wait })
    }
}

/// Changes in commit order, of the organizations that the service is bound to; waits for news where there are none.
#[utoipa::path(
    get, path = "/api/auth/changes", tag = "feeds", security(("bearer" = [])), params(FeedParameters),
    responses(
        (status = 200, description = "A page", body = ChangePageResponse),
        (status = 400, description = "validation_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "insufficient_scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "cursor_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_changes(
    identity: Data<Identity>,
    Guarded(auth, query): Guarded<RequireScope<GroupsRead>, Query<FeedQuery>>,
) -> Result<HttpResponse, ApiError> {
    let orgs = match auth.service().map(|service| &service.orgs) {
        Some(Orgs::All) => None,
        Some(Orgs::Only(orgs)) => Some(orgs.as_slice()),
        None => Some([].as_slice()),
    };
    let page = change::page(&identity, query.parse()?, orgs).await?;
    let items = page.items.into_iter().map(|change| ChangeResponse {
        cursor: change.cursor.to_string(),
        at: change.at,
        kind: change.kind,
        org_id: change.org_id,
        group_id: change.group_id,
        user_id: change.user_id,
        role: change.role,
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ChangePageResponse { items: items.collect(), next: page.next.to_string() }))
}
