//! Everything that the simulator remembers, behind one lock, and what its handlers share.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Bytes, Data},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    atlassian::Atlassian,
    clock::Clock,
    fault::Faults,
    fields::Fields,
    github::GitHub,
    journal::{Journal, Provider, lock},
    settings::{Client, Settings},
    slack::Slack,
    webhook::Webhook,
};

/// The three providers' states.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub github: GitHub,
    pub atlassian: Atlassian,
    pub slack: Slack,
}

/// What every handler has at hand.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) urls: Urls,
    pub(crate) webhooks: UnboundedSender<Webhook>,
    world: Mutex<World>,
    consents: Mutex<VecDeque<(Provider, Fields)>>,
    webhook_base: Mutex<Option<String>>,
}

/// The base of each origin.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    pub(crate) github: String,
    pub(crate) atlassian: String,
    pub(crate) slack: String,
    pub(crate) control: String,
}

/// The shared state as an argument of a handler.
pub(crate) type State = Data<Shared>;

impl World {
    /// Alice in Example Corp, Bob beside her, a site and a workspace.
    pub fn demo(settings: &Settings) -> Self {
        Self {
            github: GitHub::demo(&settings.callback_base, &settings.github_oauth_app_callback),
            atlassian: Atlassian::demo(&settings.callback_base),
            slack: Slack::demo(&settings.callback_base),
        }
    }
}

impl Shared {
    pub(crate) fn new(settings: Settings, urls: Urls, webhooks: UnboundedSender<Webhook>) -> Self {
        let world = Mutex::new(World::demo(&settings));
        let webhook_base = Mutex::new(settings.webhook_base.clone());
        let shared = Self {
            settings,
            clock: Clock::default(),
            journal: Journal::default(),
            faults: Faults::default(),
            urls,
            webhooks,
            world,
            consents: Mutex::default(),
            webhook_base,
        };
        let settings = &shared.settings;
        let clients =
            [&settings.github_app.client, &settings.github_oauth_app, &settings.atlassian, &settings.slack];
        for secret in clients.map(|client| &client.secret) {
            shared.journal.secret(secret);
        }
        shared.journal.secret(&settings.github_app.webhook_secret);
        shared.journal.secret(&settings.slack_signing_secret);
        shared
    }

    /// The state; never held across an `await`.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Back to the demo world. Calls, faults, consents and the clock are as at the start; the canaries stay.
    pub(crate) fn reset(&self) {
        *self.world() = World::demo(&self.settings);
        self.journal.clear();
        self.faults.clear();
        self.clock.reset();
        self.reset_consents();
    }

    /// Answers the provider's next consent page in advance.
    pub(crate) fn preset_consent(&self, provider: Provider, answer: Fields) {
        lock(&self.consents).push_back((provider, answer));
    }

    pub(crate) fn reset_consents(&self) {
        lock(&self.consents).clear();
    }

    pub(crate) fn take_consent(&self, provider: Provider) -> Option<Fields> {
        let mut consents = lock(&self.consents);
        let index = consents.iter().position(|(known, _)| *known == provider)?;
        consents.remove(index).map(|(_, answer)| answer)
    }

    /// Where webhooks go by themselves.
    pub(crate) fn webhook_base(&self) -> Option<String> {
        lock(&self.webhook_base).clone()
    }

    pub(crate) fn set_webhook_base(&self, base: Option<String>) {
        *lock(&self.webhook_base) = base;
    }

    /// Sends a webhook, where webhooks go by themselves.
    pub(crate) fn announce(&self, webhook: Webhook) {
        if self.webhook_base().is_some() {
            // Nobody receives any more when the simulator ends.
            let _ = self.webhooks.send(webhook);
        }
    }
}

/// The query of a request.
pub(crate) fn query(request: &HttpRequest) -> Fields {
    Fields::from_form(request.query_string())
}

/// The body of a request as parameters.
pub(crate) fn body(request: &HttpRequest, body: &Bytes) -> Fields {
    Fields::from_body(header_text(request, header::CONTENT_TYPE.as_str()), body)
}

/// A header, empty where there is none.
pub(crate) fn header_text<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The token of `Authorization: Bearer` (or, at GitHub, `token`).
pub(crate) fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = header_text(request, "authorization").split_once(' ')?;
    let is_known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    is_known.then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The client of `Authorization: Basic`.
pub(crate) fn basic(request: &HttpRequest) -> Option<Client> {
    let (scheme, credentials) = header_text(request, "authorization").split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = credentials.split_once(':')?;
    Some(Client { id: id.to_owned(), secret: secret.to_owned() })
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &Value) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)).json(body)
}
