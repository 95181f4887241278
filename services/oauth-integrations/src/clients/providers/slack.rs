//! Slack, OAuth v2: up to two chains of tokens in one installation, the bot's and the user's.
//!
//! With rotation a used refresh token still counts for a short while (S47): an answer lost between Slack and the row is had again with
//! the old token if that is soon. Without rotation tokens do not expire, and there is nothing to refresh.

mod answer;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use time::OffsetDateTime;
use url::Url;

use self::answer::{read_exchange, read_installation, read_ok, read_refresh};
use super::{authorization_url, reply::text};
use crate::{
    clients::http::{Caller, beneath},
    domain::provider::{
        AuthorizationRequest, AuthorizationStep, BoxFuture, CodeExchange, Credential, CredentialKind,
        InstallationInfo, OAuthProvider, OAuthTokens, Platform, Probe, ProviderError, Revocation,
    },
};

/// Where Slack is, and who this service is there.
#[derive(Clone, Debug)]
pub struct SlackSettings {
    pub browser_url: Url,
    pub api_url: Url,
    pub client_id: String,
    pub client_secret: SecretString,
    pub use_pkce: bool,
    pub bot_scopes: Vec<String>,
    pub user_scopes: Vec<String>,
}

/// Slack.
pub struct Slack {
    settings: SlackSettings,
    caller: Caller,
}

impl Slack {
    pub(super) fn new(settings: SlackSettings, caller: Caller) -> Self {
        Self { settings, caller }
    }

    fn method(&self, name: &str) -> RequestBuilder {
        self.caller.client().post(beneath(&self.settings.api_url, &["api", name]))
    }

    fn access(&self, form: &[(&str, &str)]) -> RequestBuilder {
        let settings = &self.settings;
        self.method("oauth.v2.access")
            .basic_auth(&settings.client_id, Some(settings.client_secret.expose_secret()))
            .form(form)
    }

    async fn exchange(&self, exchange: CodeExchange<'_>) -> Result<OAuthTokens, ProviderError> {
        let now = OffsetDateTime::now_utc();
        let mut form = vec![("code", exchange.code.expose_secret()), ("redirect_uri", exchange.redirect_uri)];
        if let Some(verifier) = exchange.code_verifier {
            form.push(("code_verifier", verifier.expose_secret()));
        }
        self.caller
            .call("exchange_code", self.access(&form), |reply| read_exchange(&read_ok(reply)?, now))
            .await
    }

    async fn refresh(
        &self,
        kind: CredentialKind,
        refresh_token: &SecretString,
    ) -> Result<OAuthTokens, ProviderError> {
        let now = OffsetDateTime::now_utc();
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        let request = self.access(&form);
        self.caller.call("refresh_tokens", request, |reply| read_refresh(kind, &read_ok(reply)?, now)).await
    }

    async fn call_with_token(
        &self,
        operation: &'static str,
        method: &str,
        token: &SecretString,
        form: &[(&str, &str)],
    ) -> Result<Value, ProviderError> {
        let request = self.method(method).bearer_auth(token.expose_secret()).form(form);
        self.caller.call(operation, request, read_ok).await
    }

    /// Uninstalls the app; where there is no bot, or Slack does not let it, ends what tokens there are.
    async fn revoke(&self, tokens: &OAuthTokens) -> Result<Revocation, ProviderError> {
        let mut is_revoked = false;
        let mut bots_first: Vec<&Credential> = tokens.credentials.iter().collect();
        bots_first.sort_by_key(|credential| credential.kind != CredentialKind::Bot);
        for credential in bots_first {
            let Some(token) = self.usable_token(credential).await? else { continue };
            let settings = &self.settings;
            let form = [
                ("client_id", settings.client_id.as_str()),
                ("client_secret", settings.client_secret.expose_secret()),
            ];
            if credential.kind == CredentialKind::Bot
                && self.call_with_token("uninstall", "apps.uninstall", &token, &form).await.is_ok()
            {
                return Ok(Revocation { provider_revoked: true, help_url: None });
            }
            match self.call_with_token("revoke_tokens", "auth.revoke", &token, &[]).await {
                // What is refused does not count any more.
                Ok(_) | Err(ProviderError::Refused { .. }) => is_revoked = true,
                Err(error) => return Err(error),
            }
        }
        Ok(Revocation { provider_revoked: is_revoked, help_url: None })
    }

    /// A token that still counts: a rotated one may have run out, and the chain is about to end anyway.
    async fn usable_token(&self, credential: &Credential) -> Result<Option<SecretString>, ProviderError> {
        if credential.token_expires_at.is_none_or(|end| end > OffsetDateTime::now_utc()) {
            return Ok(Some(credential.access_token.clone()));
        }
        let Some(refresh_token) = &credential.refresh_token else { return Ok(None) };
        match self.refresh(credential.kind, refresh_token).await {
            Ok(tokens) => Ok(tokens.credentials.into_iter().next().map(|fresh| fresh.access_token)),
            Err(ProviderError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn look(&self, credential: Option<&Credential>) -> Result<Probe, ProviderError> {
        let credential = credential.ok_or(ProviderError::NotFound)?;
        let answer = self.call_with_token("probe", "auth.test", &credential.access_token, &[]).await?;
        Ok(Probe { external_org_name: text(&answer, "/team"), ..Probe::default() })
    }
}

impl OAuthProvider for Slack {
    fn platform(&self) -> Platform {
        Platform::Slack
    }

    fn uses_pkce(&self, _: AuthorizationStep) -> bool {
        self.settings.use_pkce
    }

    fn requested_scopes(&self) -> Vec<String> {
        let settings = &self.settings;
        settings.bot_scopes.iter().chain(&settings.user_scopes).cloned().collect()
    }

    fn get_authorization_url(&self, request: &AuthorizationRequest<'_>) -> Url {
        let settings = &self.settings;
        let page = beneath(&settings.browser_url, &["oauth", "v2", "authorize"]);
        let mut extra = vec![("scope", settings.bot_scopes.join(","))];
        if !settings.user_scopes.is_empty() {
            extra.push(("user_scope", settings.user_scopes.join(",")));
        }
        authorization_url(page, &settings.client_id, request, &extra)
    }

    fn exchange_code<'a>(
        &'a self,
        exchange: CodeExchange<'a>,
    ) -> BoxFuture<'a, Result<OAuthTokens, ProviderError>> {
        Box::pin(self.exchange(exchange))
    }

    fn refresh_tokens<'a>(
        &'a self,
        kind: CredentialKind,
        refresh_token: &'a SecretString,
    ) -> BoxFuture<'a, Result<OAuthTokens, ProviderError>> {
        Box::pin(self.refresh(kind, refresh_token))
    }

    fn get_installation_info<'a>(
        &'a self,
        tokens: &'a OAuthTokens,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<InstallationInfo>, ProviderError>> {
        // The token endpoint itself said whose tokens they are.
        Box::pin(async { Ok(vec![read_installation(tokens)?]) })
    }

    fn revoke_tokens<'a>(
        &'a self,
        _: Option<&'a str>,
        tokens: &'a OAuthTokens,
    ) -> BoxFuture<'a, Result<Revocation, ProviderError>> {
        Box::pin(self.revoke(tokens))
    }

    fn probe<'a>(
        &'a self,
        _: Option<&'a str>,
        credential: Option<&'a Credential>,
    ) -> BoxFuture<'a, Result<Probe, ProviderError>> {
        Box::pin(self.look(credential))
    }
}
