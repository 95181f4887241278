//! What providers say by themselves. Nothing in a delivery is looked at before its signature over the raw bytes has proven whose it is;
//! an event that says nothing about an installation of ours changes nothing, and neither does one older than the present consent.

mod github;
mod signature;
mod slack;

use common_auth::Tenant;
use time::OffsetDateTime;

use super::{
    Integrations,
    audit::{self, Circumstances, Event},
    credential::{self, CredentialError},
    installation::Status,
    provider::Platform,
};
use crate::store::{
    self, Executor, StoreError,
    installation_status::{FindingRecord, ReachedRecord},
};

pub use self::{
    github::{GithubDelivery, receive_github},
    slack::{SlackDelivery, receive_slack},
};

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It changed something.
    Applied,
    /// It was taken before.
    Duplicate,
    /// It is of no interest, about no installation of ours, or too old.
    Ignored,
    /// Slack wants to hear this again, to see that the address is ours.
    Challenge(String),
}

/// Why a delivery is not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No secret is configured to check it with.
    #[error("webhooks of this platform are not configured")]
    NotConfigured,
    /// Missing, wrong, or of another time.
    #[error("the signature is not valid")]
    Signature,
    #[error("the delivery is of another form")]
    Form,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl Receipt {
    /// The word for metrics and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Challenge(_) => "challenge",
        }
    }
}

/// Counts how a delivery ended.
fn count(
    integrations: &Integrations,
    platform: Platform,
    outcome: Result<Receipt, WebhookError>,
) -> Result<Receipt, WebhookError> {
    let word = match &outcome {
        Ok(receipt) => receipt.as_str(),
        Err(WebhookError::Signature) => "bad_signature",
        Err(WebhookError::Form) => "bad_form",
        Err(WebhookError::NotConfigured) => "not_configured",
        Err(WebhookError::Store(_) | WebhookError::Credential(_)) => "failed",
    };
    integrations.metrics.count_webhook(platform, word);
    tracing::info!(%platform, outcome = word, "a webhook was delivered");
    outcome
}

/// Whether an event of that moment says something about the present consent. Providers' moments have no fractions of a second.
fn is_current(row: &ReachedRecord, at: OffsetDateTime) -> bool {
    row.connected_at.is_none_or(|connected| at.unix_timestamp() >= connected.unix_timestamp())
}

/// Gives an installation another status, and writes down that the provider said so. What it says is asked again soon: events may
/// come in another order than they happened.
async fn mark(
    db: &impl Executor,
    platform: Platform,
    row: &ReachedRecord,
    status: Status,
    reason: Option<&str>,
) -> Result<(), WebhookError> {
    let tenant = Tenant::of_record(row.org_id);
    let finding =
        FindingRecord { status: Some(status.as_str()), status_reason: reason, ..FindingRecord::default() };
    store::installation_status::apply(db, &tenant, row.id, row.connected_at, &finding).await?;
    store::installation_status::forget_probe(db, &tenant, row.id).await?;
    let event = Event::new("installation.status_changed", platform).installation(row.id).actor(platform);
    audit::record(db, &tenant, event.because(reason.unwrap_or(status.as_str())), &Circumstances::default())
        .await?;
    Ok(())
}

/// The same for one that is gone at the provider: its tokens are worth nothing any more.
async fn mark_uninstalled(
    db: &impl Executor,
    platform: Platform,
    row: &ReachedRecord,
) -> Result<(), WebhookError> {
    credential::wipe(db, &Tenant::of_record(row.org_id), row.id).await?;
    mark(db, platform, row, Status::NeedsReconnect, Some("uninstalled")).await
}
