//! GitHub: a GitHub App, or an OAuth App where no `GITHUB_APP_ID` is given.
//!
//! A GitHub App's installation token is minted with the app's key and needs no refresh token, so nothing is lost with a lost answer.
//! A user token's refresh token dies with its first use, without leeway (S47): if the answer is lost between GitHub and the row, the
//! person has to reconnect. Hence the new pair is written before anybody is answered.

mod answer;
mod app_key;
mod ownership;

use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use time::OffsetDateTime;
use url::Url;

use self::{
    answer::{of_app, read_deletion, read_installation, read_minted, read_rest, read_token_answer},
    app_key::AppKey,
};
use super::{ConnectError, authorization_url, reply};
use crate::{
    clients::http::{Caller, beneath},
    domain::provider::{
        AuthorizationRequest, AuthorizationStep, BoxFuture, CodeExchange, Credential, CredentialKind,
        InstallationInfo, Narrowing, OAuthProvider, OAuthTokens, Platform, Probe, ProviderError, Revocation,
    },
};

const API_VERSION: &str = "2022-11-28";

/// Where GitHub is, and who this service is there.
#[derive(Clone, Debug)]
pub struct GithubSettings {
    pub browser_url: Url,
    pub api_url: Url,
    pub client_id: String,
    pub client_secret: SecretString,
    /// None: an OAuth App.
    pub app: Option<GithubApp>,
    pub use_pkce: bool,
    /// Asked for by an OAuth App; a GitHub App has permissions.
    pub scopes: Vec<String>,
}

/// What a GitHub App has beyond an OAuth App.
#[derive(Clone, Debug)]
pub struct GithubApp {
    pub id: String,
    pub slug: String,
    pub private_key_pem: SecretString,
}

/// GitHub.
pub struct Github {
    settings: GithubSettings,
    app_key: Option<AppKey>,
    caller: Caller,
}

impl Github {
    pub(super) fn new(settings: GithubSettings, caller: Caller) -> Result<Self, ConnectError> {
        let app_key = settings.app.as_ref().map(AppKey::new).transpose()?;
        Ok(Self { settings, app_key, caller })
    }

    /// A read in a person's name.
    async fn get_as_user(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, String)],
        token: &SecretString,
    ) -> Result<Value, ProviderError> {
        let request = self.api(Method::GET, path).query(query).bearer_auth(token.expose_secret());
        self.caller.call(operation, request, read_rest).await
    }

    /// A request as the app.
    fn as_app(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, ProviderError> {
        let key = self.app_key.as_ref().ok_or(ProviderError::Unsupported)?;
        let jwt = key.sign(OffsetDateTime::now_utc())?;
        Ok(self.api(method, path).bearer_auth(jwt.expose_secret()))
    }

    /// A request about one of this client's tokens.
    fn about_token(&self, method: Method, token: &SecretString) -> RequestBuilder {
        let settings = &self.settings;
        self.api(method, &["applications", &settings.client_id, "token"])
            .basic_auth(&settings.client_id, Some(settings.client_secret.expose_secret()))
            .json(&json!({ "access_token": token.expose_secret() }))
    }

    fn api(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.caller
            .client()
            .request(method, beneath(&self.settings.api_url, path))
            .header(reqwest::header::ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION)
    }

    async fn call_token_endpoint(
        &self,
        operation: &'static str,
        form: &[(&str, &str)],
    ) -> Result<Credential, ProviderError> {
        let settings = &self.settings;
        let now = OffsetDateTime::now_utc();
        let mut fields = vec![
            ("client_id", settings.client_id.as_str()),
            ("client_secret", settings.client_secret.expose_secret()),
        ];
        fields.extend(form);
        let request = self
            .caller
            .client()
            .post(beneath(&settings.browser_url, &["login", "oauth", "access_token"]))
            .header(reqwest::header::ACCEPT, "application/json")
            .form(&fields);
        self.caller.call(operation, request, |reply| read_token_answer(reply, now)).await
    }

    async fn exchange(&self, exchange: CodeExchange<'_>) -> Result<OAuthTokens, ProviderError> {
        let mut form = vec![("code", exchange.code.expose_secret()), ("redirect_uri", exchange.redirect_uri)];
        if let Some(verifier) = exchange.code_verifier {
            form.push(("code_verifier", verifier.expose_secret()));
        }
        let credential = self.call_token_endpoint("exchange_code", &form).await?;
        let person = ownership::find_person(self, &credential.access_token).await?;
        let metadata = json!({ "github_user_id": person.id, "github_login": person.login });
        Ok(OAuthTokens { credentials: vec![credential], metadata })
    }

    async fn refresh(&self, refresh_token: &SecretString) -> Result<OAuthTokens, ProviderError> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        let credential = self.call_token_endpoint("refresh_tokens", &form).await?;
        Ok(OAuthTokens { credentials: vec![credential], metadata: json!({}) })
    }

    async fn mint(&self, installation_id: &str, narrowing: &Narrowing) -> Result<Credential, ProviderError> {
        let path = ["app", "installations", installation_id, "access_tokens"];
        let mut request = self.as_app(Method::POST, &path)?;
        if !narrowing.is_empty() {
            let mut body = serde_json::Map::new();
            if !narrowing.repositories.is_empty() {
                body.insert("repositories".to_owned(), json!(narrowing.repositories));
            }
            if !narrowing.permissions.is_empty() {
                body.insert("permissions".to_owned(), json!(narrowing.permissions));
            }
            request = request.json(&body);
        }
        self.caller.call("mint_token", request, |reply| read_minted(&read_rest(reply).map_err(of_app)?)).await
    }

    async fn revoke(
        &self,
        installation_id: Option<&str>,
        tokens: &OAuthTokens,
    ) -> Result<Revocation, ProviderError> {
        let mut is_revoked = false;
        if let (Some(id), true) = (installation_id, self.app_key.is_some()) {
            let request = self.as_app(Method::DELETE, &["app", "installations", id])?;
            self.caller.call("uninstall", request, |reply| read_deletion(reply).map_err(of_app)).await?;
            is_revoked = true;
        }
        for credential in tokens.credentials.iter().filter(|it| it.kind == CredentialKind::User) {
            let request = self.about_token(Method::DELETE, &credential.access_token);
            let outcome = self.caller.call("revoke_tokens", request, read_deletion).await;
            // With the installation gone the person's token reaches nothing of it any more.
            if !is_revoked {
                outcome?;
            }
        }
        Ok(Revocation { provider_revoked: is_revoked || !tokens.credentials.is_empty(), help_url: None })
    }

    async fn look(
        &self,
        installation_id: Option<&str>,
        credential: Option<&Credential>,
    ) -> Result<Probe, ProviderError> {
        if let (Some(id), true) = (installation_id, self.app_key.is_some()) {
            let request = self.as_app(Method::GET, &["app", "installations", id])?;
            return self
                .caller
                .call("probe", request, |reply| read_installation(&read_rest(reply).map_err(of_app)?))
                .await;
        }
        let credential = credential.ok_or(ProviderError::NotFound)?;
        let request = self.about_token(Method::POST, &credential.access_token);
        let answer = self
            .caller
            .call("probe", request, |reply| match reply.status {
                StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => {
                    Err(ProviderError::refused("token_revoked"))
                }
                StatusCode::UNAUTHORIZED => Err(ProviderError::misconfigured("client_credentials")),
                _ => read_rest(reply),
            })
            .await?;
        Ok(Probe { external_org_name: reply::text(&answer, "/user/login"), ..Probe::default() })
    }
}

impl OAuthProvider for Github {
    fn platform(&self) -> Platform {
        Platform::Github
    }

    fn first_step(&self) -> AuthorizationStep {
        if self.mints() { AuthorizationStep::Install } else { AuthorizationStep::Authorize }
    }

    fn uses_pkce(&self, step: AuthorizationStep) -> bool {
        // The page of installations takes a state and nothing else.
        self.settings.use_pkce && step == AuthorizationStep::Authorize
    }

    fn requested_scopes(&self) -> Vec<String> {
        if self.mints() { Vec::new() } else { self.settings.scopes.clone() }
    }

    fn mints(&self) -> bool {
        self.app_key.is_some()
    }

    fn get_authorization_url(&self, request: &AuthorizationRequest<'_>) -> Url {
        let settings = &self.settings;
        if let (Some(app), AuthorizationStep::Install) = (&settings.app, request.step) {
            // GitHub Enterprise Server has its API beneath a path, and the apps under another name.
            let apps = if settings.api_url.path().len() > 1 { "github-apps" } else { "apps" };
            let mut url = beneath(&settings.browser_url, &[apps, &app.slug, "installations", "new"]);
            url.query_pairs_mut().append_pair("state", request.state);
            return url;
        }
        let page = beneath(&settings.browser_url, &["login", "oauth", "authorize"]);
        let scopes = self.requested_scopes().join(" ");
        let scope = (!scopes.is_empty()).then_some(("scope", scopes));
        authorization_url(page, &settings.client_id, request, scope.as_slice())
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
        claimed: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<InstallationInfo>, ProviderError>> {
        Box::pin(ownership::connected(self, tokens, claimed))
    }

    fn revoke_tokens<'a>(
        &'a self,
        external_install_id: Option<&'a str>,
        tokens: &'a OAuthTokens,
    ) -> BoxFuture<'a, Result<Revocation, ProviderError>> {
        Box::pin(self.revoke(external_install_id, tokens))
    }

    fn mint_token<'a>(
        &'a self,
        external_install_id: &'a str,
        narrowing: &'a Narrowing,
    ) -> BoxFuture<'a, Result<Credential, ProviderError>> {
        Box::pin(self.mint(external_install_id, narrowing))
    }

    fn probe<'a>(
        &'a self,
        external_install_id: Option<&'a str>,
        credential: Option<&'a Credential>,
    ) -> BoxFuture<'a, Result<Probe, ProviderError>> {
        Box::pin(self.look(external_install_id, credential))
    }
}
