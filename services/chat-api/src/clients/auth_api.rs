//! auth-api: the directory of groups and members, and the feed of changes to it.

use std::{sync::Arc, time::Duration};

use common_auth::ServiceTokenManager;
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use uuid::Uuid;

use crate::telemetry;

/// Changes asked for at once.
const CHANGES_LIMIT: usize = 500;

/// Calls auth-api with this service's own token, which needs the scope `groups:read`.
pub struct AuthApi {
    client: reqwest::Client,
    /// For the feed of changes.
    patient: reqwest::Client,
    base: Url,
    tokens: Arc<ServiceTokenManager>,
    /// The longest that one answer may take.
    limit: Duration,
}

/// A group with its members.
#[derive(Clone, Debug, Deserialize)]
pub struct DirectoryGroup {
    pub id: Uuid,
    pub org_id: Uuid,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub created_by: Option<Uuid>,
    pub created_at: String,
    pub updated_at: String,
    #[serde(default)]
    pub members: Vec<DirectoryMember>,
}

/// A member of a group.
#[derive(Clone, Debug, Deserialize)]
pub struct DirectoryMember {
    pub user_id: Uuid,
    pub role: String,
}

/// Every group of an organization.
#[derive(Clone, Debug)]
pub struct DirectoryListing {
    pub groups: Vec<DirectoryGroup>,
    /// Changes up to this cursor are in for certain; later ones may be.
    pub cursor: u64,
}

/// A page of the feed of changes.
#[derive(Clone, Debug, Deserialize)]
pub struct ChangesPage {
    pub items: Vec<Change>,
    #[serde(deserialize_with = "decimal")]
    pub next: u64,
}

/// A change, by the ids of what changed.
#[derive(Clone, Debug, Deserialize)]
pub struct Change {
    #[serde(deserialize_with = "decimal")]
    pub cursor: u64,
    #[serde(rename = "type")]
    pub kind: ChangeType,
    #[serde(default)]
    pub org_id: Option<Uuid>,
    #[serde(default)]
    pub group_id: Option<Uuid>,
    #[serde(default)]
    pub user_id: Option<Uuid>,
    #[serde(default)]
    pub role: Option<String>,
}

/// What changed. Types that a newer auth-api adds are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ChangeType {
    #[serde(rename = "group.created")]
    GroupCreated,
    #[serde(rename = "group.updated")]
    GroupUpdated,
    #[serde(rename = "group.deleted")]
    GroupDeleted,
    #[serde(rename = "member.added")]
    MemberAdded,
    #[serde(rename = "member.removed")]
    MemberRemoved,
    #[serde(rename = "member.role_changed")]
    MemberRoleChanged,
    #[serde(rename = "org_member.removed")]
    OrgMemberRemoved,
    #[serde(rename = "user.disabled")]
    UserDisabled,
    #[serde(other)]
    Other,
}

/// Why auth-api gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AuthApiError {
    #[error("no answer from auth-api: {0}")]
    Unavailable(String),
    /// The feed has no changes that old any more.
    #[error("the cursor is too old")]
    CursorTooOld,
}

#[derive(Deserialize)]
struct DirectoryPage {
    items: Vec<DirectoryGroup>,
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
}

impl AuthApi {
    /// Calls the auth-api at `base`, by `patient` where it polls; each answer may take `limit`.
    pub fn new(
        client: reqwest::Client,
        patient: reqwest::Client,
        base: Url,
        tokens: Arc<ServiceTokenManager>,
        limit: Duration,
    ) -> Self {
        Self { client, patient, base, tokens, limit }
    }

    /// Every group of an organization, with its members. None for an organization that does not exist.
    pub async fn list_groups(&self, org_id: Uuid) -> Result<DirectoryListing, AuthApiError> {
        let mut listing = DirectoryListing { groups: Vec::new(), cursor: 0 };
        let mut query = vec![("org_id", org_id.to_string())];
        loop {
            let page: Option<DirectoryPage> = self.get("/api/auth/directory", &query).await?;
            let Some(page) = page else { return Ok(listing) };
            if let Some(cursor) = page.cursor
                && query.len() == 1
            {
                listing.cursor = cursor.parse().map_err(|_| unusable("the cursor is no number"))?;
            }
            listing.groups.extend(page.items);
            let Some(next) = page.next else { return Ok(listing) };
            query.truncate(1);
            query.push(("page", next));
        }
    }

    /// One group with its members; none when it is gone.
    pub async fn find_group(
        &self,
        org_id: Uuid,
        group_id: Uuid,
    ) -> Result<Option<DirectoryGroup>, AuthApiError> {
        let query = [("org_id", org_id.to_string())];
        let path = format!("/api/auth/groups/{group_id}");
        let Some(mut group) = self.get::<DirectoryGroup>(&path, &query).await? else {
            return Ok(None);
        };
        let Some(members) = self.get(&format!("{path}/members"), &query).await? else {
            return Ok(None);
        };
        group.members = members;
        Ok(Some(group))
    }

    /// The changes after a cursor; where there are none, waits for one up to `wait`. Without a cursor: none, and where the feed
    /// stands. The answer may take `margin` longer than the wait.
    pub async fn list_changes(
        &self,
        after: Option<u64>,
        wait: Duration,
        margin: Duration,
    ) -> Result<ChangesPage, AuthApiError> {
        let mut query = vec![("limit", CHANGES_LIMIT.to_string()), ("wait", wait.as_secs().to_string())];
        if let Some(after) = after {
            query.push(("after", after.to_string()));
        }
        self.get_by(&self.patient, "/api/auth/changes", &query, wait + margin)
            .await?
            .ok_or_else(|| unusable("there is no feed of changes"))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Option<T>, AuthApiError> {
        self.get_by(&self.client, path, query, self.limit).await
    }

    /// An answer, or none for a 404. A token that auth-api refuses is renewed once.
    async fn get_by<T: DeserializeOwned>(
        &self,
        client: &reqwest::Client,
        path: &str,
        query: &[(&str, String)],
        limit: Duration,
    ) -> Result<Option<T>, AuthApiError> {
        let url = beneath(&self.base, path).map_err(unusable)?;
        let mut is_retry = false;
        loop {
            let token = self.tokens.token().await.map_err(unusable)?;
            let response = client
                .get(url.clone())
                .query(query)
                .headers(telemetry::trace_headers())
                .bearer_auth(token.expose_secret())
                .timeout(limit)
                .send()
                .await
                .map_err(broken)?;
            match response.status() {
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::GONE => return Err(AuthApiError::CursorTooOld),
                StatusCode::UNAUTHORIZED if !is_retry => {
                    self.tokens.invalidate(&token).await;
                    is_retry = true;
                }
                status if status.is_success() => {
                    return response.json().await.map(Some).map_err(broken);
                }
                status => return Err(unusable(format_args!("status {}", status.as_u16()))),
            }
        }
    }
}

/// A path of auth-api, beneath whatever path its own address has.
fn beneath(base: &Url, path: &str) -> Result<Url, url::ParseError> {
    Url::parse(&format!("{}{path}", base.as_str().trim_end_matches('/')))
}

fn unusable(error: impl std::fmt::Display) -> AuthApiError {
    AuthApiError::Unavailable(error.to_string())
}

/// Of a call that broke, with what lies beneath; the address says nothing new.
fn broken(error: reqwest::Error) -> AuthApiError {
    let error = error.without_url();
    match std::error::Error::source(&error) {
        Some(cause) => unusable(format_args!("{error}: {cause}")),
        None => unusable(error),
    }
}

/// Cursors are decimal numbers in strings: JSON numbers of that size lose digits in some readers.
fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_address_is_kept() {
        for (base, expected) in [
            ("http://auth-api:8000", "http://auth-api:8000/api/auth/changes"),
            ("http://gateway/auth/", "http://gateway/auth/api/auth/changes"),
        ] {
            let base = Url::parse(base).unwrap();
            assert_eq!(beneath(&base, "/api/auth/changes").unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_change_of_an_unknown_type_is_no_error() {
        let page: ChangesPage = serde_json::from_value(serde_json::json!({
            "items": [
                { "cursor": "18446744073709551615", "at": "2026-01-01T00:00:00Z", "type": "org.renamed" },
                { "cursor": "7", "type": "member.removed", "user_id": Uuid::from_u128(1), "role": null },
            ],
            "next": "7",
        }))
        .unwrap();
        assert_eq!(page.items[0].kind, ChangeType::Other);
        assert_eq!(page.items[0].cursor, u64::MAX);
        assert_eq!(page.items[1].kind, ChangeType::MemberRemoved);
    }
}
