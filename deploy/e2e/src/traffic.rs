//! Steady traffic against auth-api, chat-api and oauth-integrations, and an honest count of what did not succeed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    auth_api::{AuthApi, Session},
    chat_api::ChatApi,
    http::{self, Answer, Peer},
    oauth_integrations::OauthIntegrations,
    settings::{ClientCredentials, Person},
};

/// As many requests are under way at most; each worker has connections of its own, as separate programs have.
const WORKERS: u64 = 16;
/// The first failures are told in full, the others only counted.
const TOLD_FAILURES: usize = 20;

/// Whom to ask, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    pub auth_api_url: String,
    pub chat_api_url: String,
    /// None: it is left alone.
    pub oauth_integrations_url: Option<String>,
    pub person: Person,
    pub group_id: Uuid,
    /// A service with `groups:read`.
    pub client: ClientCredentials,
}

/// How much, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub requests_per_second: u64,
    pub duration: Duration,
}

/// What came of it.
#[derive(Default)]
struct Count {
    requests: AtomicU64,
    failed: AtomicU64,
    slowest_ms: AtomicU64,
    failures: Mutex<Vec<Value>>,
}

/// One worker's view.
struct Worker {
    auth: AuthApi,
    chat: ChatApi,
    integrations: Option<OauthIntegrations>,
    target: Target,
    session: Session,
    service_token: String,
}

/// Runs the load and reports `{requests, failed, slowest_ms, failures}`. The messages that were acknowledged and are not in the
/// timeline afterwards count as failed.
pub async fn run(target: &Target, load: Load) -> Result<Value> {
    let count = Arc::new(Count::default());
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let worker = Worker::new(target).await?;
        let count = Arc::clone(&count);
        workers.spawn(async move { worker.work(number, load, started, &count).await });
    }
    let mut sent = Vec::new();
    while let Some(worker) = workers.join_next().await {
        sent.extend(worker?);
    }
    let lost = lost_messages(target, &sent).await?;
    let failures = count.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(json!({
        "requests": count.requests.load(Ordering::Relaxed),
        "failed": count.failed.load(Ordering::Relaxed),
        "slowest_ms": count.slowest_ms.load(Ordering::Relaxed),
        "messages": sent.len(),
        "lost": lost,
        "failures": failures,
    }))
}

impl Worker {
    async fn new(target: &Target) -> Result<Self> {
        let client = http::client()?;
        let peer = |url: &str| Peer::new(client.clone(), url);
        let auth = AuthApi { peer: peer(&target.auth_api_url), admin: peer(&target.auth_api_url) };
        let chat = ChatApi { peer: peer(&target.chat_api_url), admin: peer(&target.chat_api_url) };
        let integrations = target.oauth_integrations_url.as_deref();
        let integrations = integrations.map(|url| OauthIntegrations { peer: peer(url), admin: peer(url) });
        let session = auth.login(&target.person).await?;
        let service_token = auth.service_token(&target.client, Some("groups:read")).await?;
        Ok(Self { auth, chat, integrations, target: target.clone(), session, service_token })
    }

    /// The ids of the messages that were acknowledged.
    async fn work(&self, number: u64, load: Load, started: Instant, count: &Count) -> Vec<String> {
        let pause = Duration::from_micros(1_000_000 * WORKERS / load.requests_per_second.max(1));
        let mut beat = tokio::time::interval(pause);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sent = Vec::new();
        let mut turn = number;
        while started.elapsed() < load.duration {
            beat.tick().await;
            turn += 1;
            let began = Instant::now();
            let (what, expected, outcome) = self.one(turn).await;
            let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            count.requests.fetch_add(1, Ordering::Relaxed);
            count.slowest_ms.fetch_max(took, Ordering::Relaxed);
            match outcome {
                Ok(answer) if answer.status == expected => {
                    sent.extend(answer.body["client_message_id"].as_str().map(str::to_owned));
                }
                Ok(answer) => count.failure(
                    what,
                    started,
                    took,
                    &format!("{} instead of {expected}: {}", answer.status, answer.text),
                ),
                Err(error) => count.failure(what, started, took, &format!("{error:#}")),
            }
        }
        sent
    }

    /// One request, its name, and the status that it has to bring.
    async fn one(&self, turn: u64) -> (&'static str, u16, Result<Answer>) {
        let (group_id, token) = (self.target.group_id, &self.session.access_token);
        match turn % 7 {
            0 => ("keys", 200, self.auth.jwks().await),
            1 => {
                let client = &self.target.client;
                ("token", 200, self.auth.client_credentials(client, Some("groups:read")).await)
            }
            2 => ("group at auth-api", 200, self.auth.group(Some(&self.service_token), group_id).await),
            3 => ("groups", 200, self.chat.groups(Some(token)).await),
            4 => ("history", 200, self.chat.history(token, group_id, "limit=20").await),
            5 => match &self.integrations {
                Some(integrations) => {
                    ("connections", 200, integrations.installations(Some(token), "github").await)
                }
                None => ("groups", 200, self.chat.groups(Some(token)).await),
            },
            _ => {
                let body = json!({ "content": "under traffic", "client_message_id": Uuid::now_v7() });
                ("message", 201, self.chat.post_message(Some(token), group_id, &body).await)
            }
        }
    }
}

impl Count {
    fn failure(&self, what: &str, started: Instant, took: u64, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < TOLD_FAILURES {
            let second = started.elapsed().as_secs();
            failures.push(json!({ "what": what, "second": second, "took_ms": took, "why": why }));
        }
    }
}

/// How many acknowledged messages the timeline does not have.
async fn lost_messages(target: &Target, sent: &[String]) -> Result<usize> {
    if sent.is_empty() {
        return Ok(0);
    }
    let worker = Worker::new(target).await?;
    let history = worker.chat.whole_history(&worker.session.access_token, target.group_id).await?;
    let stored: std::collections::HashSet<&str> =
        history.iter().filter_map(|message| message["client_message_id"].as_str()).collect();
    Ok(sent.iter().filter(|id| !stored.contains(id.as_str())).count())
}
