//! A browser as far as the flows need one: cookies, redirects one by one, forms.

use std::{collections::HashMap, sync::Mutex};

use reqwest::{Client, Method, RequestBuilder};
use url::Url;

use super::{
    answer::{Answer, Ask},
    app::{TestApp, http},
    process::CALLBACK_BASE,
};

/// Somebody's browser. Where the providers send it back to, the service under test answers.
pub struct Browser {
    http: Client,
    service: String,
    cookies: Mutex<HashMap<String, String>>,
}

impl Browser {
    /// A browser without cookies.
    pub fn new(app: &TestApp) -> Self {
        Self::at(&app.url)
    }

    /// A browser that reaches the service here.
    pub fn at(service: &str) -> Self {
        Self { http: http(), service: service.to_owned(), cookies: Mutex::default() }
    }

    /// Goes to an address of the service or of a provider.
    pub async fn get(&self, address: &str) -> Answer {
        self.keep(self.request(Method::GET, address).ask().await)
    }

    /// Starts to connect with a bearer token, as an application's back end does.
    pub async fn start(&self, path: &str, token: &str) -> Answer {
        self.keep(self.request(Method::GET, path).bearer_auth(token).ask().await)
    }

    /// Sends a form of a page.
    pub async fn post(&self, address: &str, form: &[(&str, &str)]) -> Answer {
        self.keep(
            self.request(Method::POST, address)
                .header("sec-fetch-site", "same-origin")
                .form(form)
                .ask()
                .await,
        )
    }

    /// Follows redirects until a page, the number of addresses visited being bounded.
    pub async fn follow(&self, mut answer: Answer) -> Answer {
        for _ in 0..8 {
            if !matches!(answer.status, 302 | 303) {
                return answer;
            }
            answer = self.get(answer.location()).await;
        }
        panic!("redirected for ever, at last to {}", answer.location());
    }

    /// Follows redirects until the service's callback, which is not visited: its address.
    pub async fn until_callback(&self, mut answer: Answer) -> String {
        for _ in 0..8 {
            let address = answer.location().to_owned();
            if address.starts_with(&format!("{CALLBACK_BASE}/oauth/callback/")) {
                return address;
            }
            answer = self.get(&address).await;
        }
        panic!("redirected for ever, at last to {}", answer.location());
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().expect("no panic before").get(name).cloned()
    }

    fn request(&self, method: Method, address: &str) -> RequestBuilder {
        let address = address.strip_prefix(CALLBACK_BASE).unwrap_or(address);
        if !address.starts_with('/') {
            return self.http.request(method, address);
        }
        let cookies = self.cookies.lock().expect("no panic before");
        let cookies: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.request(method, format!("{}{address}", self.service));
        if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) }
    }

    fn keep(&self, answer: Answer) -> Answer {
        for cookie in answer.cookies() {
            let (name, rest) = cookie.split_once('=').expect("a name");
            let value = rest.split(';').next().unwrap_or_default();
            self.cookies.lock().expect("no panic before").insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

/// A parameter of an address.
pub fn parameter(address: &str, name: &str) -> Option<String> {
    let url = Url::parse(address).expect("an address");
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The address with a parameter changed.
pub fn with_parameter(address: &str, name: &str, value: &str) -> String {
    let mut url = Url::parse(address).expect("an address");
    let others: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(known, _)| known != name).collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
    url.to_string()
}
