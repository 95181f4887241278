//! The token endpoint's grants (RFC 6749): client credentials and refresh token.

use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use secrecy::SecretString;
use time::OffsetDateTime;

use super::{
    Identity,
    audit::Circumstances,
    client::ClientCredentials,
    client_authentication::{ClientError, authenticate},
    failure::Limited,
    jwks::KeyError,
    network::Network,
    refresh::{self, RefreshError, Refreshed},
    token::{self, AccessToken},
};
use crate::store::StoreError;

/// The grants that the endpoint knows, and the name that each has in requests.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";
pub const REFRESH_TOKEN: &str = "refresh_token";

/// A client that was revoked a moment ago waits for its next token no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// None: everything that is registered.
    pub scope: Option<String>,
    pub audience: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("client authentication failed")]
    InvalidClient,
    #[error("the client may not use this grant")]
    UnauthorizedClient,
    #[error("the scope is unknown or more than the client may have")]
    InvalidScope,
    /// RFC 8707, section 2.
    #[error("the requested resource is not one of the client's")]
    InvalidTarget,
    /// Unknown, expired, revoked, used before or somebody else's: it looks the same from outside.
    #[error("the refresh token is not valid")]
    InvalidGrant,
    #[error(transparent)]
    Limited(#[from] Limited),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Counters of grants; no row is written for any.
pub struct GrantMetrics {
    grants: IntCounterVec,
    /// The common outcome, resolved once.
    client_credentials: IntCounter,
}

impl GrantMetrics {
    /// Makes the counters and registers them.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new(
            "oauth2_grants_total",
            "Answers of the token endpoint and of login, by grant and result.",
        );
        let grants = IntCounterVec::new(options, &["grant_type", "result"])?;
        registry.register(Box::new(grants.clone()))?;
        let client_credentials = grants.with_label_values(&[CLIENT_CREDENTIALS, "granted"]);
        Ok(Self { grants, client_credentials })
    }

    /// Counts an answer.
    pub fn count<T, E>(&self, grant_type: &str, outcome: &Result<T, E>) {
        match outcome {
            Ok(_) if grant_type == CLIENT_CREDENTIALS => self.client_credentials.inc(),
            Ok(_) => self.grants.with_label_values(&[grant_type, "granted"]).inc(),
            Err(_) => self.grants.with_label_values(&[grant_type, "refused"]).inc(),
        }
    }
}

impl From<ClientError> for GrantError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused => Self::InvalidClient,
            ClientError::Limited(limited) => Self::Limited(limited),
            ClientError::Store(error) => Self::Store(error),
        }
    }
}

impl From<RefreshError> for GrantError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Invalid => Self::InvalidGrant,
            RefreshError::InvalidScope => Self::InvalidScope,
            RefreshError::InvalidTarget => Self::InvalidTarget,
            RefreshError::Key(error) => Self::Key(error),
            RefreshError::Store(error) => Self::Store(error),
        }
    }
}

/// RFC 6749, section 4.4: a token for the client itself. A known client costs no database access.
pub async fn client_credentials(
    identity: &Identity,
    credentials: &ClientCredentials,
    network: Network,
    wishes: &Wishes,
    now: OffsetDateTime,
) -> Result<AccessToken, GrantError> {
    let client = authenticate(identity, credentials, network, now).await?;
    if client.is_public || !client.may_use(CLIENT_CREDENTIALS) {
        return Err(GrantError::UnauthorizedClient);
    }
    let scope = granted_scope(&client.scopes, wishes.scope.as_deref()).ok_or(GrantError::InvalidScope)?;
    let audiences =
        granted_audiences(&client.audiences, wishes.audience.as_deref()).ok_or(GrantError::InvalidTarget)?;
    let now = wait_until(client.not_before, now).await;
    let token = token::sign_for_client(identity, &client, &scope, audiences, now)?;
    client.touch(now);
    Ok(token)
}

/// RFC 6749, section 6.
pub async fn refresh_token(
    identity: &Identity,
    credentials: &ClientCredentials,
    token: &SecretString,
    wishes: &Wishes,
    circumstances: &Circumstances,
    now: OffsetDateTime,
) -> Result<Refreshed, GrantError> {
    let client = authenticate(identity, credentials, Network::of(circumstances.ip), now).await?;
    if !client.may_use(REFRESH_TOKEN) {
        return Err(GrantError::UnauthorizedClient);
    }
    Ok(refresh::refresh(identity, token, &client.client_id, wishes, circumstances).await?)
}

/// The scope to grant: what was asked for, each once and in that order, or everything. None where it is too much.
pub(super) fn granted_scope(allowed: &[String], wish: Option<&str>) -> Option<String> {
    let Some(wish) = wish else { return Some(allowed.join(" ")) };
    let mut granted: Vec<&str> = Vec::new();
    for scope in wish.split(' ').filter(|scope| !scope.is_empty()) {
        if !allowed.iter().any(|known| known == scope) {
            return None;
        }
        if !granted.contains(&scope) {
            granted.push(scope);
        }
    }
    if granted.is_empty() { None } else { Some(granted.join(" ")) }
}

/// The audiences to grant: those asked for, or all. None where one is not registered.
pub(super) fn granted_audiences(allowed: &[String], wish: Option<&str>) -> Option<Vec<String>> {
    granted_scope(allowed, wish)
        .map(|names| names.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// A client that was revoked gets no token within the same second.
async fn wait_until(not_before: Option<OffsetDateTime>, now: OffsetDateTime) -> OffsetDateTime {
    let Some(not_before) = not_before.filter(|not_before| now < *not_before) else { return now };
    let pause = Duration::try_from(not_before - now).unwrap_or_default().min(LONGEST_WAIT);
    tokio::time::sleep(pause).await;
    not_before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Vec<String> {
        ["groups:read", "revocations:read"].map(str::to_owned).to_vec()
    }

    #[test]
    fn nothing_asked_is_everything() {
        assert_eq!(granted_scope(&allowed(), None).unwrap(), "groups:read revocations:read");
        assert_eq!(granted_audiences(&allowed(), None).unwrap(), allowed());
        assert_eq!(granted_audiences(&[], None).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_part_is_granted_once_each() {
        assert_eq!(granted_scope(&allowed(), Some("groups:read  groups:read")).unwrap(), "groups:read");
    }

    #[test]
    fn more_than_allowed_is_refused_whole() {
        assert_eq!(granted_scope(&allowed(), Some("groups:read admin")), None);
        assert_eq!(granted_scope(&allowed(), Some(" ")), None);
    }
}
