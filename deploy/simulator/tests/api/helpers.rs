//! A simulator, a client without redirects, and answers that are easy to look at.

use std::collections::HashMap;

use reqwest::{Client, RequestBuilder, redirect::Policy};
use serde_json::Value;
use simulator::{Provider, Settings, Simulator};
use url::Url;

/// A simulator and somebody who talks to it.
pub(crate) struct World {
    pub(crate) sim: Simulator,
    pub(crate) http: Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    /// `null` where the body is no JSON.
    pub(crate) body: Value,
}

pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

impl World {
    pub(crate) fn start() -> Self {
        let sim = Simulator::start(Settings::default()).unwrap();
        let http = Client::builder().redirect(Policy::none()).no_proxy().user_agent("tests").build().unwrap();
        Self { sim, http }
    }

    pub(crate) fn callback(&self, platform: &str) -> String {
        format!("{}/oauth/callback/{platform}", self.sim.settings().callback_base)
    }

    pub(crate) async fn get(&self, base: &str, path: &str, query: &[(&str, &str)]) -> Answer {
        self.http.get(format!("{base}{path}")).query(query).answer().await
    }

    /// Goes to a page whose consent is preset, and gives the parameters of the way back.
    pub(crate) async fn consent(
        &self,
        provider: Provider,
        path: &str,
        query: &[(&str, &str)],
        answer: &[(&str, &str)],
    ) -> HashMap<String, String> {
        let fields = simulator::Fields::from_form(
            &url::form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish(),
        );
        self.sim.preset_consent(provider, fields);
        let base = match provider {
            Provider::Github => self.sim.github_url(),
            Provider::Atlassian => self.sim.atlassian_url(),
            Provider::Slack => self.sim.slack_url(),
        };
        self.get(base, path, query).await.location()
    }
}

impl Answer {
    /// The parameters of the address that the browser is sent to.
    #[track_caller]
    pub(crate) fn location(&self) -> HashMap<String, String> {
        assert_eq!(self.status, 302, "{}", self.text);
        let url = Url::parse(self.headers["location"].to_str().unwrap()).unwrap();
        let mut parameters: HashMap<String, String> = url.query_pairs().into_owned().collect();
        parameters.insert("path".to_owned(), url.path().to_owned());
        parameters
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn text_at(&self, pointer: &str) -> String {
        let text = self.body.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no text at {pointer}: {}", self.text)).to_owned()
    }

    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.text_at("/error")
    }
}

pub(crate) trait Ask {
    async fn answer(self) -> Answer;
}

impl Ask for RequestBuilder {
    async fn answer(self) -> Answer {
        let response = self.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, body }
    }
}
