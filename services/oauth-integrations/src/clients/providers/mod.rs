//! The providers behind the trait of spec 002, one file each, and what their wires have in common.

pub mod atlassian;
pub mod github;
mod reply;
pub mod slack;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use oauth2::{AuthUrl, ClientId, CsrfToken, basic::BasicClient};
use url::Url;

use self::{
    atlassian::{Atlassian, AtlassianSettings},
    github::{Github, GithubSettings},
    slack::{Slack, SlackSettings},
};
use super::http::{self, Caller};
use crate::domain::provider::{AuthorizationRequest, OAuthProvider, Platform, ProviderMetrics, Providers};

/// Why the providers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("there is no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The text says nothing of the key itself.
    #[error("the private key of the GitHub App is no RSA key in PEM")]
    PrivateKey,
}

/// The providers that have settings. Nothing is called yet.
pub fn connect(
    github: Option<GithubSettings>,
    jira: Option<AtlassianSettings>,
    slack: Option<SlackSettings>,
    metrics: &ProviderMetrics,
) -> Result<Providers, ConnectError> {
    let client = http::client()?;
    let caller = |platform| Caller::new(client.clone(), platform, metrics.clone());
    let mut providers: Vec<Arc<dyn OAuthProvider>> = Vec::new();
    if let Some(settings) = github {
        providers.push(Arc::new(Github::new(settings, caller(Platform::Github))?));
    }
    if let Some(settings) = jira {
        providers.push(Arc::new(Atlassian::new(settings, caller(Platform::Jira))));
    }
    if let Some(settings) = slack {
        providers.push(Arc::new(Slack::new(settings, caller(Platform::Slack))));
    }
    Ok(Providers::new(providers))
}

/// The authorization URL of RFC 6749, section 4.1.1, with what the provider wants beside.
fn authorization_url(
    page: Url,
    client_id: &str,
    request: &AuthorizationRequest<'_>,
    extra: &[(&'static str, String)],
) -> Url {
    let client = BasicClient::new(ClientId::new(client_id.to_owned())).set_auth_uri(AuthUrl::from_url(page));
    let state = request.state.to_owned();
    let mut url = client.authorize_url(|| CsrfToken::new(state));
    // As text: the token call repeats it byte for byte.
    url = url.add_extra_param("redirect_uri", request.redirect_uri);
    if let Some(challenge) = request.code_challenge {
        url =
            url.add_extra_param("code_challenge", challenge).add_extra_param("code_challenge_method", "S256");
    }
    for (name, value) in extra {
        url = url.add_extra_param(*name, value);
    }
    url.url().0
}
