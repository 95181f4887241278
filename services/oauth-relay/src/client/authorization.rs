//! The URL that starts an authorization, with a state and a PKCE verifier made for it alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::Url;

/// Random bytes in a state and in a code verifier.
const RANDOM_BYTES: usize = 32;

/// Builds an [`Authorization`].
#[derive(Clone, Debug)]
#[must_use = "there is no URL until it is built"]
pub struct AuthorizationUrl {
    endpoint: String,
    parameters: Vec<(String, String)>,
    has_pkce: bool,
}

/// An authorization that can begin: open the URL and wait for the state.
#[derive(Clone, Debug, Serialize)]
pub struct Authorization {
    pub url: Url,
    pub state: String,
    /// For the token request (RFC 7636).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_verifier: Option<String>,
}

impl AuthorizationUrl {
    /// For this client, at this authorization endpoint.
    pub fn new(endpoint: impl Into<String>, client_id: &str) -> Self {
        let new = Self { endpoint: endpoint.into(), parameters: Vec::new(), has_pkce: false };
        new.parameter("response_type", "code").parameter("client_id", client_id)
    }

    /// The relay's callback, as it is registered at the provider.
    pub fn redirect_uri(self, redirect_uri: &str) -> Self {
        self.parameter("redirect_uri", redirect_uri)
    }

    /// Scopes, separated as the provider wants it.
    pub fn scope(self, scope: &str) -> Self {
        self.parameter("scope", scope)
    }

    /// With a code challenge (RFC 7636, S256).
    pub fn pkce(mut self) -> Self {
        self.has_pkce = true;
        self
    }

    /// Any other parameter.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the state, the verifier and the URL.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn build(self) -> Result<Authorization, url::ParseError> {
        let mut url = Url::parse(&self.endpoint)?;
        let state = random_text();
        let code_verifier = self.has_pkce.then(random_text);
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.parameters).append_pair("state", &state);
            if let Some(verifier) = &code_verifier {
                query.append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
                query.append_pair("code_challenge_method", "S256");
            }
        }
        Ok(Authorization { url, state, code_verifier })
    }
}

fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; RANDOM_BYTES]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(url: &Url, name: &str) -> Option<String> {
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    #[test]
    fn the_url_has_what_the_provider_needs() {
        let authorization = AuthorizationUrl::new("https://as.example/authorize?tenant=a", "me")
            .redirect_uri("https://relay.example/oauth/callback")
            .scope("openid profile")
            .pkce()
            .build()
            .unwrap();
        let url = &authorization.url;
        assert_eq!(parameter(url, "tenant").as_deref(), Some("a"));
        assert_eq!(parameter(url, "response_type").as_deref(), Some("code"));
        assert_eq!(parameter(url, "scope").as_deref(), Some("openid profile"));
        assert_eq!(parameter(url, "state"), Some(authorization.state));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(authorization.code_verifier.unwrap()));
        assert_eq!(parameter(url, "code_challenge"), Some(challenge));
    }

    #[test]
    fn every_authorization_has_a_state_of_its_own() {
        let state = || AuthorizationUrl::new("https://as.example/", "me").build().unwrap().state;
        assert_ne!(state(), state());
        assert_eq!(state().len(), 43);
    }
}
