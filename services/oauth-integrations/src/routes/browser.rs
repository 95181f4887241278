//! What ties a flow to one browser: its cookies, and that requests come from our own pages.

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time::Duration as CookieDuration},
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    config::Config,
    domain::{opaque, ticket::SESSION_LIFE},
    error::ApiError,
};

/// How long a browser is remembered: longer than a person takes at a provider.
const FLOW_LIFE: CookieDuration = CookieDuration::hours(1);

/// The cookies of this service.
pub struct Cookies {
    is_secure: bool,
    own_origin: String,
}

/// A cookie's value is never that of another purpose.
#[derive(Clone, Copy)]
enum Purpose {
    /// Which browser began a consent.
    Flow,
    /// The session of the page of data sources.
    Page,
}

impl Cookies {
    /// `__Host-` cookies, which are tied to one host and TLS, unless the service is on loopback without TLS.
    pub fn new(config: &Config) -> Self {
        let own_origin = config.public_origin();
        let is_secure = Url::parse(&own_origin).is_ok_and(|url| url.scheme() == "https");
        Self { is_secure, own_origin }
    }

    /// The value that the browser is known by.
    pub(super) fn flow(&self, request: &HttpRequest) -> Option<SecretString> {
        self.read(request, Purpose::Flow)
    }

    /// The same, or a new one for a browser that has none.
    pub(super) fn flow_or_new(&self, request: &HttpRequest) -> SecretString {
        self.flow(request).unwrap_or_else(opaque::generate)
    }

    pub(super) fn flow_cookie(&self, value: &SecretString) -> Cookie<'static> {
        self.make(Purpose::Flow, value, FLOW_LIFE)
    }

    /// The session of the page.
    pub(super) fn page(&self, request: &HttpRequest) -> Option<SecretString> {
        self.read(request, Purpose::Page)
    }

    pub(super) fn page_cookie(&self, value: &SecretString) -> Cookie<'static> {
        self.make(Purpose::Page, value, CookieDuration::try_from(SESSION_LIFE).unwrap_or_default())
    }

    /// Refuses what another site's page had a browser send. `Origin` is `null` even for our own pages, which send no referrer; what
    /// says more is `Sec-Fetch-Site`. A browser without either still has to know the form's secret.
    pub(super) fn check_origin(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        let is_own = match (header("sec-fetch-site"), header("origin")) {
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => origin == self.own_origin || origin == "null",
            (None, None) => true,
        };
        if is_own { Ok(()) } else { Err(ApiError::ForbiddenOrigin) }
    }

    fn read(&self, request: &HttpRequest, purpose: Purpose) -> Option<SecretString> {
        request.cookie(self.name(purpose)).and_then(|cookie| opaque::parse(cookie.value()))
    }

    fn make(&self, purpose: Purpose, value: &SecretString, life: CookieDuration) -> Cookie<'static> {
        Cookie::build(self.name(purpose), value.expose_secret().to_owned())
            .path("/")
            .http_only(true)
            .secure(self.is_secure)
            .same_site(SameSite::Lax)
            .max_age(life)
            .finish()
    }

    fn name(&self, purpose: Purpose) -> &'static str {
        match (purpose, self.is_secure) {
            (Purpose::Flow, true) => "__Host-integrations_flow",
            (Purpose::Flow, false) => "integrations_flow",
            (Purpose::Page, true) => "__Host-integrations_page",
            (Purpose::Page, false) => "integrations_page",
        }
    }
}
