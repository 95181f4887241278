//! The providers against the simulator, call by call.

mod atlassian;
mod github;
mod slack;

use std::collections::HashMap;

use common_auth::http_client;
use prometheus::Registry;
use secrecy::SecretString;
use simulator::{Provider, Settings, Simulator};

use super::*;
use crate::domain::provider::{AuthorizationStep, CodeExchange, OAuthTokens, ProviderError};

const STATE: &str = "a-state-that-nobody-guesses";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A provider at its simulator.
struct World {
    sim: Simulator,
    providers: Providers,
    platform: Platform,
}

impl World {
    fn start(
        platform: Platform,
        settings: impl FnOnce(
            &Simulator,
        )
            -> (Option<GithubSettings>, Option<AtlassianSettings>, Option<SlackSettings>),
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sim = Simulator::start(Settings::default()).unwrap();
        let (github, jira, slack) = settings(&sim);
        let metrics = ProviderMetrics::register(&Registry::new()).unwrap();
        let providers = connect(github, jira, slack, &metrics).unwrap();
        Self { sim, providers, platform }
    }

    fn provider(&self) -> &dyn OAuthProvider {
        self.providers.get(self.platform).unwrap()
    }

    fn redirect_uri(&self) -> String {
        format!("{}/oauth/callback/{}", self.sim.settings().callback_base, self.platform)
    }

    /// Sends a person to a page of the provider; the parameters that they come back with.
    async fn consent(&self, step: AuthorizationStep, answer: &[(&str, &str)]) -> HashMap<String, String> {
        let (provider, redirect_uri) = (self.provider(), self.redirect_uri());
        let request = AuthorizationRequest {
            step,
            state: STATE,
            redirect_uri: &redirect_uri,
            code_challenge: provider.uses_pkce(step).then_some(CHALLENGE),
        };
        let at = match self.platform {
            Platform::Github => Provider::Github,
            Platform::Jira => Provider::Atlassian,
            Platform::Slack => Provider::Slack,
        };
        let answer = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish();
        self.sim.preset_consent(at, simulator::Fields::from_form(&answer));
        let limit = std::time::Duration::from_secs(5);
        let response = http_client(limit, limit)
            .unwrap()
            .get(provider.get_authorization_url(&request))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 302);
        let back = Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
        let parameters: HashMap<_, _> = back.query_pairs().into_owned().collect();
        assert_eq!(parameters.get("state").map(String::as_str), Some(STATE));
        parameters
    }

    async fn exchange(&self, step: AuthorizationStep, code: &str) -> Result<OAuthTokens, ProviderError> {
        let (code, verifier) = (SecretString::from(code), SecretString::from(VERIFIER));
        let redirect_uri = self.redirect_uri();
        let code_verifier = self.provider().uses_pkce(step).then_some(&verifier);
        let exchange = CodeExchange { code: &code, redirect_uri: &redirect_uri, code_verifier };
        self.provider().exchange_code(exchange).await
    }

    /// Through the consent page and back with tokens.
    async fn authorize(&self, answer: &[(&str, &str)]) -> OAuthTokens {
        let back = self.consent(AuthorizationStep::Authorize, answer).await;
        self.exchange(AuthorizationStep::Authorize, &back["code"]).await.unwrap()
    }
}

#[test]
fn the_authorization_url_carries_everything_once() {
    let request = AuthorizationRequest {
        step: AuthorizationStep::Authorize,
        state: "s&1",
        redirect_uri: "https://a.example/oauth/callback/jira",
        code_challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
    };
    let page = Url::parse("https://auth.example/authorize").unwrap();
    let url = authorization_url(page, "client", &request, &[("scope", "a b".to_owned())]);
    let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.sort();
    assert_eq!(
        pairs,
        [
            "client_id=client",
            "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method=S256",
            "redirect_uri=https://a.example/oauth/callback/jira",
            "response_type=code",
            "scope=a b",
            "state=s&1",
        ]
    );
}
