//! What every provider can do, whatever its wire looks like: the trait of spec 002, and what goes in and comes out.

mod error;
mod metrics;
mod platform;

use std::{collections::BTreeMap, sync::Arc};

pub use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use url::Url;

pub use self::{
    error::ProviderError,
    metrics::ProviderMetrics,
    platform::{CredentialKind, Platform, UnknownKind, UnknownPlatform},
};

/// Where the person is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationStep {
    /// A GitHub App's page of installations.
    Install,
    /// The consent page of OAuth 2.0.
    Authorize,
}

/// What the URL is made from.
#[derive(Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    pub step: AuthorizationStep,
    pub state: &'a str,
    pub redirect_uri: &'a str,
    /// S256 (RFC 7636, section 4.2).
    pub code_challenge: Option<&'a str>,
}

/// A code, and what proves that it came back to whom it was asked by.
#[derive(Clone, Copy)]
pub struct CodeExchange<'a> {
    pub code: &'a SecretString,
    pub redirect_uri: &'a str,
    pub code_verifier: Option<&'a SecretString>,
}

/// One token pair.
#[derive(Clone, Debug)]
pub struct Credential {
    pub kind: CredentialKind,
    pub access_token: SecretString,
    /// None at a refresh: the one that was used goes on.
    pub refresh_token: Option<SecretString>,
    /// None where it does not expire.
    pub token_expires_at: Option<OffsetDateTime>,
    /// When the refresh token ends unless it is used.
    pub refresh_expires_at: Option<OffsetDateTime>,
    /// When the grant ends however often it is used. None at a refresh: as it was.
    pub absolute_expires_at: Option<OffsetDateTime>,
    pub scopes: Vec<String>,
}

/// What an exchange or a refresh brought: Slack gives up to two at once.
#[derive(Clone, Debug)]
pub struct OAuthTokens {
    pub credentials: Vec<Credential>,
    /// What the provider said beside the tokens; nothing secret.
    pub metadata: Value,
}

/// The account, site or workspace that was connected.
#[derive(Clone, Debug, PartialEq)]
pub struct InstallationInfo {
    pub external_org_id: String,
    pub external_org_name: Option<String>,
    pub external_install_id: Option<String>,
    pub scopes: Vec<String>,
    pub permissions: Value,
    pub metadata: Value,
    /// Every external id that the same grant reaches: an installation with any of them is the same connection.
    pub aliases: Vec<String>,
}

/// How much of an installation's rights a minted token gets; all of them where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Names of repositories, without their owner.
    pub repositories: Vec<String>,
    /// Such as `contents` → `read`.
    pub permissions: BTreeMap<String, String>,
}

/// How a connection is, by the provider's word; what it does not say is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    pub external_org_name: Option<String>,
    pub permissions: Option<Value>,
    pub scopes: Option<Vec<String>>,
}

/// What became of the connection at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub provider_revoked: bool,
    /// Where a person can end it, when the provider lets no program do so.
    pub help_url: Option<String>,
}

/// A provider. The five operations of spec 002 by their names, and what handing out tokens needs beyond them.
pub trait OAuthProvider: Send + Sync {
    fn platform(&self) -> Platform;

    /// Where a new connection begins.
    fn first_step(&self) -> AuthorizationStep {
        AuthorizationStep::Authorize
    }

    /// Whether a code challenge is sent at this step.
    fn uses_pkce(&self, step: AuthorizationStep) -> bool;

    /// What a connection is asked for; empty where the provider's own registration says it.
    fn requested_scopes(&self) -> Vec<String>;

    /// What `iss` at the callback has to be, if it comes at all (RFC 9207).
    fn issuer(&self) -> Option<&str> {
        None
    }

    /// Whether tokens are minted with this service's key instead of being refreshed.
    fn mints(&self) -> bool {
        false
    }

    /// Where the person is sent.
    fn get_authorization_url(&self, request: &AuthorizationRequest<'_>) -> Url;

    /// Trades the code of the callback.
    fn exchange_code<'a>(
        &'a self,
        exchange: CodeExchange<'a>,
    ) -> BoxFuture<'a, Result<OAuthTokens, ProviderError>>;

    /// Trades a refresh token. Where the answer has no new one, the old one goes on.
    fn refresh_tokens<'a>(
        &'a self,
        kind: CredentialKind,
        refresh_token: &'a SecretString,
    ) -> BoxFuture<'a, Result<OAuthTokens, ProviderError>>;

    /// What the tokens were granted for. `claimed` is an installation id that came through a browser and proves nothing: the
    /// answer says it only if these tokens prove that its person owns it. Without a claim: all that they own.
    fn get_installation_info<'a>(
        &'a self,
        tokens: &'a OAuthTokens,
        claimed: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<InstallationInfo>, ProviderError>>;

    /// Ends the connection at the provider, as far as it lets a program do so.
    fn revoke_tokens<'a>(
        &'a self,
        external_install_id: Option<&'a str>,
        tokens: &'a OAuthTokens,
    ) -> BoxFuture<'a, Result<Revocation, ProviderError>>;

    /// A token of the installation itself, made with this service's key.
    fn mint_token<'a>(
        &'a self,
        _external_install_id: &'a str,
        _narrowing: &'a Narrowing,
    ) -> BoxFuture<'a, Result<Credential, ProviderError>> {
        Box::pin(async { Err(ProviderError::Unsupported) })
    }

    /// Whether the connection still stands, asked of the provider.
    fn probe<'a>(
        &'a self,
        external_install_id: Option<&'a str>,
        credential: Option<&'a Credential>,
    ) -> BoxFuture<'a, Result<Probe, ProviderError>>;
}

/// The providers that this service has credentials for.
#[derive(Clone, Default)]
pub struct Providers(Arc<BTreeMap<Platform, Arc<dyn OAuthProvider>>>);

impl Narrowing {
    /// Whether nothing is taken away.
    pub fn is_empty(&self) -> bool {
        self.repositories.is_empty() && self.permissions.is_empty()
    }
}

impl Providers {
    /// These providers, each under its own platform.
    pub fn new(providers: Vec<Arc<dyn OAuthProvider>>) -> Self {
        Self(Arc::new(providers.into_iter().map(|provider| (provider.platform(), provider)).collect()))
    }

    /// The provider, if it is offered.
    pub fn get(&self, platform: Platform) -> Option<&dyn OAuthProvider> {
        self.0.get(&platform).map(AsRef::as_ref)
    }

    /// The platforms that are offered.
    pub fn offered(&self) -> impl Iterator<Item = Platform> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_shows_no_token() {
        let credential = Credential {
            kind: CredentialKind::User,
            access_token: "ghu_canary".into(),
            refresh_token: Some("ghr_canary".into()),
            token_expires_at: None,
            refresh_expires_at: None,
            absolute_expires_at: None,
            scopes: Vec::new(),
        };
        assert!(!format!("{credential:?}").contains("canary"));
    }
}
