//! How a connection went, kept for the page that says so: the page's address holds no code and no state.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Integrations, opaque,
    provider::{Platform, ProviderError},
    return_to::ReturnTo,
    state::Wish,
    ticket::write_origin,
};
use crate::store::{self, Executor, StoreError, ticket::TicketRecord};

/// How long the page can be looked at.
const RESULT_LIFE: Duration = Duration::from_mins(10);
const RESULT: &str = "result";
/// What a provider says about an error is cut to so much.
const MAX_DETAIL_CHARS: usize = 200;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Connected,
    /// An owner at the provider has to say yes.
    PendingApproval,
    /// The person said no.
    Denied,
    /// The account is connected to another organization.
    AlreadyConnected,
    /// The person may see the account, and owns it not.
    NotOwner,
    /// No site, workspace or account was chosen.
    NothingGranted,
    /// The person owns several accounts and chose none.
    SeveralAccounts,
    /// A connection was to be renewed, and consent was given for another account.
    OtherAccount,
    /// The installation to be renewed was disconnected in the meantime.
    Gone,
    Suspended,
    /// The provider refused for another reason.
    Refused,
    /// This service is set up wrongly at the provider.
    Misconfigured,
    /// The provider did not answer, or not sensibly.
    Unavailable,
}

/// What the page says.
#[derive(Clone, Debug)]
pub struct ConnectResult {
    pub outcome: Outcome,
    pub platform: Platform,
    /// The account's name.
    pub account: Option<String>,
    /// The provider's own words: text from outside.
    pub detail: Option<String>,
    pub return_to: Option<ReturnTo>,
}

impl Outcome {
    /// The word in rows, notices and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::PendingApproval => "pending_approval",
            Self::Denied => "denied",
            Self::AlreadyConnected => "already_connected",
            Self::NotOwner => "not_owner",
            Self::NothingGranted => "nothing_granted",
            Self::SeveralAccounts => "several_accounts",
            Self::OtherAccount => "other_account",
            Self::Gone => "gone",
            Self::Suspended => "suspended",
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<&ProviderError> for Outcome {
    fn from(error: &ProviderError) -> Self {
        match error {
            ProviderError::NotOwner | ProviderError::NotFound => Self::NotOwner,
            ProviderError::NothingGranted => Self::NothingGranted,
            ProviderError::Suspended => Self::Suspended,
            ProviderError::Misconfigured { .. } => Self::Misconfigured,
            ProviderError::Unavailable { .. } => Self::Unavailable,
            ProviderError::Refused { .. } | ProviderError::NotGranted | ProviderError::Unsupported => {
                Self::Refused
            }
        }
    }
}

/// Keeps a result; what its page is found by.
pub async fn keep(
    db: &impl Executor,
    wish: &Wish,
    outcome: Outcome,
    account: Option<&str>,
    detail: Option<&str>,
) -> Result<SecretString, StoreError> {
    let secret = opaque::generate();
    let detail = detail.map(|text| text.chars().take(MAX_DETAIL_CHARS).collect::<String>());
    let holder = &wish.holder;
    let record = TicketRecord {
        kind: RESULT,
        org_id: holder.org_id,
        user_id: holder.user_id,
        user_name: None,
        app_id: None,
        origin: write_origin(&holder.origin),
        can_manage: false,
        platform: Some(wish.platform.as_str().to_owned()),
        installation_id: None,
        return_to: wish.return_to.as_ref().map(|address| address.as_str().to_owned()),
        chat_session_id: None,
        correlation_id: None,
        details: json!({ "outcome": outcome, "account": account, "detail": detail }),
    };
    // Each needs a state that was used up, and states are limited.
    store::ticket::insert(db, &opaque::digest(&secret), &record, RESULT_LIFE.as_secs_f64(), i64::MAX).await?;
    Ok(secret)
}

/// The result that a page is about.
pub async fn find(
    integrations: &Integrations,
    secret: &SecretString,
) -> Result<Option<ConnectResult>, StoreError> {
    #[derive(Deserialize)]
    struct Details {
        outcome: Outcome,
        account: Option<String>,
        detail: Option<String>,
    }
    let connection = integrations.db.connection().await?;
    let Some(record) = store::ticket::find(&connection, &opaque::digest(secret), RESULT).await? else {
        return Ok(None);
    };
    let unusable = StoreError::Row("a result is not usable");
    let (Some(platform), Ok(details)) = (
        record.platform.as_deref().and_then(|name| name.parse().ok()),
        serde_json::from_value::<Details>(record.details),
    ) else {
        return Err(unusable);
    };
    Ok(Some(ConnectResult {
        outcome: details.outcome,
        platform,
        account: details.account,
        detail: details.detail,
        return_to: record.return_to.map(ReturnTo::of_record),
    }))
}
