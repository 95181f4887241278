//! The record of what was done by whom: never a password, token or address of a person.

use std::net::IpAddr;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{self, Executor, StoreError, audit::AuditRecord};

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

/// Something worth remembering.
#[derive(Clone, Debug)]
pub struct Event {
    name: &'static str,
    outcome: &'static str,
    actor: Option<String>,
    client_id: Option<String>,
    org_id: Option<Uuid>,
    target: Option<String>,
}

/// Longer user agents are cut.
const MAX_USER_AGENT_CHARS: usize = 256;

impl Event {
    /// An event that succeeded.
    pub fn new(name: &'static str) -> Self {
        Self { name, outcome: "ok", actor: None, client_id: None, org_id: None, target: None }
    }

    /// The same, refused.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.outcome = "refused";
        self
    }

    /// Who did it.
    #[must_use]
    pub fn actor(mut self, actor: impl std::fmt::Display) -> Self {
        self.actor = Some(format!("{actor}"));
        self
    }

    /// Through which client.
    #[must_use]
    pub fn client(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// In which organization.
    #[must_use]
    pub fn org(mut self, org_id: Uuid) -> Self {
        self.org_id = Some(org_id);
        self
    }

    /// To whom or what.
    #[must_use]
    pub fn target(mut self, target: impl std::fmt::Display) -> Self {
        self.target = Some(format!("{target}"));
        self
    }
}

/// Writes an event down.
pub async fn record(
    db: &impl Executor,
    event: Event,
    circumstances: &Circumstances,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let user_agent = circumstances.user_agent.as_ref();
    let record = AuditRecord {
        id: Uuid::now_v7(),
        at: now,
        event: event.name,
        outcome: event.outcome,
        actor: event.actor,
        client_id: event.client_id,
        org_id: event.org_id,
        target: event.target,
        ip: circumstances.ip.map(|ip| ip.to_string()),
        user_agent: user_agent.map(|agent| agent.chars().take(MAX_USER_AGENT_CHARS).collect()),
        request_id: circumstances.request_id.clone(),
    };
    store::audit::insert(db, &record).await
}
