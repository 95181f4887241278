//! Atlassian, for Jira and Confluence (OAuth 2.0, 3LO).
//!
//! A used refresh token still counts for ten minutes, and gives the same family (S47): an answer lost between Atlassian and the row is
//! had again with the old token. PKCE is sent as defence in depth, and never in place of the client secret. There is no revocation
//! endpoint: a person ends the grant under Connected apps.

mod answer;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use url::Url;

use self::answer::{Site, names, read_api, read_sites, read_token_answer};
use super::{authorization_url, reply::text};
use crate::{
    clients::http::{Caller, beneath, unreadable},
    domain::provider::{
        AuthorizationRequest, AuthorizationStep, BoxFuture, CodeExchange, Credential, CredentialKind,
        InstallationInfo, OAuthProvider, OAuthTokens, Platform, Probe, ProviderError, Revocation,
    },
};

/// A grant ends after so long, whatever is done.
const GRANT_LIFE: Duration = Duration::days(365);
/// Where a person ends a grant.
const CONNECTED_APPS: &str = "https://id.atlassian.com/manage-profile/apps";

/// Where Atlassian is, and who this service is there.
#[derive(Clone, Debug)]
pub struct AtlassianSettings {
    /// Pages and token endpoint.
    pub browser_url: Url,
    pub api_url: Url,
    pub client_id: String,
    pub client_secret: SecretString,
    pub use_pkce: bool,
    pub scopes: Vec<String>,
}

/// Atlassian.
pub struct Atlassian {
    settings: AtlassianSettings,
    caller: Caller,
}

impl Atlassian {
    pub(super) fn new(settings: AtlassianSettings, caller: Caller) -> Self {
        Self { settings, caller }
    }

    async fn call_token_endpoint(
        &self,
        operation: &'static str,
        mut body: Value,
    ) -> Result<Credential, ProviderError> {
        let settings = &self.settings;
        let now = OffsetDateTime::now_utc();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("client_id".to_owned(), json!(settings.client_id));
            fields.insert("client_secret".to_owned(), json!(settings.client_secret.expose_secret()));
        }
        let url = beneath(&settings.browser_url, &["oauth", "token"]);
        let request = self.caller.client().post(url).json(&body);
        self.caller.call(operation, request, |reply| read_token_answer(reply, now)).await
    }

    async fn exchange(&self, exchange: CodeExchange<'_>) -> Result<OAuthTokens, ProviderError> {
        let mut body = json!({
            "grant_type": "authorization_code",
            "code": exchange.code.expose_secret(),
            "redirect_uri": exchange.redirect_uri,
        });
        if let (Some(verifier), Some(fields)) = (exchange.code_verifier, body.as_object_mut()) {
            fields.insert("code_verifier".to_owned(), json!(verifier.expose_secret()));
        }
        let mut credential = self.call_token_endpoint("exchange_code", body).await?;
        credential.absolute_expires_at = OffsetDateTime::now_utc().checked_add(GRANT_LIFE);
        Ok(OAuthTokens { credentials: vec![credential], metadata: json!({}) })
    }

    async fn refresh(&self, refresh_token: &SecretString) -> Result<OAuthTokens, ProviderError> {
        let body = json!({ "grant_type": "refresh_token", "refresh_token": refresh_token.expose_secret() });
        let credential = self.call_token_endpoint("refresh_tokens", body).await?;
        Ok(OAuthTokens { credentials: vec![credential], metadata: json!({}) })
    }

    async fn sites(&self, token: &SecretString) -> Result<Vec<Site>, ProviderError> {
        let url = beneath(&self.settings.api_url, &["oauth", "token", "accessible-resources"]);
        let request = self.get(url, token);
        let answer = self.caller.call("accessible_resources", request, read_api).await?;
        read_sites(&answer)
    }

    /// Whose grant it is; needs the scope `read:me`, so it may stay unknown.
    async fn account_id(&self, token: &SecretString) -> Option<String> {
        let request = self.get(beneath(&self.settings.api_url, &["me"]), token);
        let answer = self.caller.call("me", request, read_api).await.ok()?;
        text(&answer, "/account_id")
    }

    fn get(&self, url: Url, token: &SecretString) -> reqwest::RequestBuilder {
        self.caller
            .client()
            .get(url)
            .header(reqwest::header::ACCEPT, "application/json")
            .bearer_auth(token.expose_secret())
    }

    async fn installation(&self, tokens: &OAuthTokens) -> Result<Vec<InstallationInfo>, ProviderError> {
        let credential = tokens.credentials.first().ok_or_else(unreadable)?;
        let sites = self.sites(&credential.access_token).await?;
        let first = sites.first().ok_or(ProviderError::NothingGranted)?;
        let account_id = if credential.scopes.iter().any(|scope| scope == "read:me") {
            self.account_id(&credential.access_token).await
        } else {
            None
        };
        let listed: Vec<_> = sites.iter().map(Site::to_json).collect();
        Ok(vec![InstallationInfo {
            external_org_id: first.id.clone(),
            external_org_name: Some(names(&sites)),
            external_install_id: None,
            scopes: credential.scopes.clone(),
            permissions: json!({}),
            metadata: json!({ "sites": listed, "account_id": account_id }),
            aliases: sites.iter().map(|site| site.id.clone()).collect(),
        }])
    }

    async fn look(&self, credential: Option<&Credential>) -> Result<Probe, ProviderError> {
        let credential = credential.ok_or(ProviderError::NotFound)?;
        let sites = self.sites(&credential.access_token).await?;
        if sites.is_empty() {
            return Err(ProviderError::refused("no_sites"));
        }
        Ok(Probe { external_org_name: Some(names(&sites)), ..Probe::default() })
    }
}

impl OAuthProvider for Atlassian {
    fn platform(&self) -> Platform {
        Platform::Jira
    }

    fn uses_pkce(&self, _: AuthorizationStep) -> bool {
        self.settings.use_pkce
    }

    fn requested_scopes(&self) -> Vec<String> {
        self.settings.scopes.clone()
    }

    fn get_authorization_url(&self, request: &AuthorizationRequest<'_>) -> Url {
        let page = beneath(&self.settings.browser_url, &["authorize"]);
        let extra = [
            ("audience", "api.atlassian.com".to_owned()),
            ("scope", self.settings.scopes.join(" ")),
            ("prompt", "consent".to_owned()),
        ];
        authorization_url(page, &self.settings.client_id, request, &extra)
    }

    fn exchange_code<'a>(
        &'a self,
        exchange: CodeExchange<'a>,
    ) -> BoxFuture<'a, Result<OAuthTokens, ProviderError>> {
        Box::pin(self.exchange(exchange))
    }

    fn refresh_tokens<'a>(
        &'a self,
        _: CredentialKind,
        refresh_token: &'a SecretString,
    ) -> BoxFuture<'a, Result<OAuthTokens, ProviderError>> {
        Box::pin(self.refresh(refresh_token))
    }

    fn get_installation_info<'a>(
        &'a self,
        tokens: &'a OAuthTokens,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<InstallationInfo>, ProviderError>> {
        Box::pin(self.installation(tokens))
    }

    fn revoke_tokens<'a>(
        &'a self,
        _: Option<&'a str>,
        _: &'a OAuthTokens,
    ) -> BoxFuture<'a, Result<Revocation, ProviderError>> {
        let help_url = Some(CONNECTED_APPS.to_owned());
        Box::pin(async { Ok(Revocation { provider_revoked: false, help_url }) })
    }

    fn probe<'a>(
        &'a self,
        _: Option<&'a str>,
        credential: Option<&'a Credential>,
    ) -> BoxFuture<'a, Result<Probe, ProviderError>> {
        Box::pin(self.look(credential))
    }
}
