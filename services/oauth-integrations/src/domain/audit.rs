//! The record of who connected and disconnected what: never a token, code or state.

use common_auth::Tenant;
use uuid::Uuid;

use super::provider::Platform;
use crate::store::{self, Executor, StoreError, audit::AuditRecord};

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

/// Something worth remembering.
#[derive(Clone, Debug)]
pub struct Event {
    name: &'static str,
    outcome: &'static str,
    platform: Platform,
    actor: Option<String>,
    client_id: Option<String>,
    installation_id: Option<Uuid>,
    reason: Option<String>,
}

/// Longer user agents are cut.
const MAX_USER_AGENT_CHARS: usize = 256;

impl Event {
    /// An event that succeeded.
    pub fn new(name: &'static str, platform: Platform) -> Self {
        Self {
            name,
            outcome: "ok",
            platform,
            actor: None,
            client_id: None,
            installation_id: None,
            reason: None,
        }
    }

    /// The same, refused, and why.
    #[must_use]
    pub fn refused(mut self, reason: impl Into<String>) -> Self {
        self.outcome = "refused";
        self.reason = Some(reason.into());
        self
    }

    /// Why it was done.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
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

    /// To which installation.
    #[must_use]
    pub fn installation(mut self, id: Uuid) -> Self {
        self.installation_id = Some(id);
        self
    }
}

/// Writes an event down.
pub async fn record(
    db: &impl Executor,
    tenant: &Tenant,
    event: Event,
    circumstances: &Circumstances,
) -> Result<(), StoreError> {
    let user_agent = circumstances.user_agent.as_ref();
    let record = AuditRecord {
        event: event.name,
        outcome: event.outcome,
        actor: event.actor,
        client_id: event.client_id,
        platform: event.platform.as_str(),
        installation_id: event.installation_id,
        reason: event.reason,
        ip: circumstances.ip.clone(),
        user_agent: user_agent.map(|agent| agent.chars().take(MAX_USER_AGENT_CHARS).collect()),
        request_id: circumstances.request_id.clone(),
    };
    store::audit::insert(db, tenant, &record).await
}
