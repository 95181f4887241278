//! GitHub's deliveries: an installation made, suspended, changed or deleted, and a person's authorization withdrawn.

use common_auth::Tenant;
use serde::Deserialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Receipt, WebhookError, count, is_current, mark, mark_uninstalled, signature};
use crate::{
    domain::{
        Integrations,
        audit::{self, Circumstances, Event},
        installation::Status,
        notice::{self, Completed},
        provider::Platform,
    },
    store::{
        self, Executor,
        credential::CredentialKey,
        installation::EXTERNAL_CONSTRAINT,
        installation_status::{ApprovalRecord, FindingRecord, ReachedRecord},
    },
};

const PLATFORM: &str = "github";
/// Where the person who gave consent stands in an installation's metadata.
const PERSON: &str = "github_user_id";

/// A delivery as it came in.
#[derive(Clone, Copy)]
pub struct GithubDelivery<'a> {
    pub event: &'a str,
    pub delivery_id: &'a str,
    pub signature: &'a str,
    pub body: &'a [u8],
}

/// What all of the events that count here have.
#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    action: String,
    installation: Option<Installation>,
    account: Option<Account>,
    requester: Option<Person>,
    sender: Option<Person>,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
    account: Option<Account>,
    #[serde(default)]
    permissions: Value,
    #[serde(default)]
    suspended_at: Option<Value>,
}

#[derive(Deserialize)]
struct Account {
    id: u64,
    login: Option<String>,
}

#[derive(Deserialize)]
struct Person {
    id: u64,
}

/// Takes a delivery.
pub async fn receive_github(
    integrations: &Integrations,
    delivery: GithubDelivery<'_>,
) -> Result<Receipt, WebhookError> {
    let outcome = receive(integrations, delivery).await;
    count(integrations, Platform::Github, outcome)
}

async fn receive(integrations: &Integrations, delivery: GithubDelivery<'_>) -> Result<Receipt, WebhookError> {
    let secret = integrations.github_webhook_secret.as_ref().ok_or(WebhookError::NotConfigured)?;
    if !signature::is_of_github(secret, delivery.signature, delivery.body) {
        return Err(WebhookError::Signature);
    }
    if !matches!(delivery.event, "installation" | "installation_target" | "github_app_authorization") {
        return Ok(Receipt::Ignored);
    }
    let payload: Payload = serde_json::from_slice(delivery.body).map_err(|_| WebhookError::Form)?;
    let mut connection = integrations.db.connection().await?;
    let transaction = connection.transaction().await?;
    if !store::webhook_delivery::insert(&transaction, PLATFORM, delivery.delivery_id).await? {
        return Ok(Receipt::Duplicate);
    }
    let is_applied = match apply(&transaction, delivery.event, &payload).await {
        // Two organizations wait for one account, or one has it by now: nobody gets it without saying so.
        Err(WebhookError::Store(error)) if error.is_constraint(EXTERNAL_CONSTRAINT) => false,
        outcome => outcome?,
    };
    if !is_applied {
        return Ok(Receipt::Ignored);
    }
    transaction.commit().await?;
    Ok(Receipt::Applied)
}

/// Whether the event changed something.
async fn apply(db: &impl Executor, event: &str, payload: &Payload) -> Result<bool, WebhookError> {
    match (event, payload.action.as_str(), &payload.installation, &payload.account) {
        ("installation", "created", Some(installation), _) => approve(db, payload, installation).await,
        ("installation", action, Some(installation), _) => change(db, action, installation).await,
        ("installation_target", "renamed", _, Some(account)) => rename(db, account).await,
        ("github_app_authorization", "revoked", _, _) => withdraw(db, payload).await,
        _ => Ok(false),
    }
}

/// An owner said yes to somebody's request: it becomes an installation if that person, proven at the time, is the one who is named as
/// the requester, and asked for one organization only.
async fn approve(
    db: &impl Executor,
    payload: &Payload,
    installation: &Installation,
) -> Result<bool, WebhookError> {
    let (Some(requester), Some(account)) = (&payload.requester, &installation.account) else {
        return Ok(false);
    };
    let asked =
        store::installation_status::find_by_metadata(db, PLATFORM, PERSON, &requester.id.to_string()).await?;
    let waiting: Vec<_> = asked.iter().filter(|row| row.status == Status::PendingApproval.as_str()).collect();
    let [row] = waiting.as_slice() else { return Ok(false) };
    let taken = store::installation_status::find_by_account(db, PLATFORM, &account.id.to_string()).await?;
    if !taken.is_empty() {
        return Ok(false);
    }
    let mut metadata = row.metadata.clone();
    let completed = notice::recall(&mut metadata, Platform::Github, &row.installed_by);
    let approval = ApprovalRecord {
        external_org_id: account.id.to_string(),
        external_org_name: account.login.clone(),
        external_install_id: installation.id.to_string(),
        permissions: installation.permissions.clone(),
        metadata,
    };
    let tenant = Tenant::of_record(row.org_id);
    if !store::installation_status::approve(db, &tenant, row.id, &approval).await? {
        return Ok(false);
    }
    if let Some(completed) = completed {
        let account = Completed {
            account_id: Some(approval.external_org_id),
            account_name: approval.external_org_name,
            ..completed
        };
        notice::record(db, &account).await?;
    }
    let event = Event::new("installation.approved", Platform::Github).installation(row.id).actor("github");
    audit::record(db, &tenant, event, &Circumstances::default()).await?;
    Ok(true)
}

async fn change(db: &impl Executor, action: &str, installation: &Installation) -> Result<bool, WebhookError> {
    // Each new installation has a new number, so an event about an old one reaches nothing.
    let rows = store::installation_status::find_by_number(db, PLATFORM, &installation.id.to_string()).await?;
    let mut is_applied = false;
    for row in &rows {
        is_applied |= change_one(db, action, installation, row).await?;
    }
    Ok(is_applied)
}

async fn change_one(
    db: &impl Executor,
    action: &str,
    installation: &Installation,
    row: &ReachedRecord,
) -> Result<bool, WebhookError> {
    let tenant = Tenant::of_record(row.org_id);
    match action {
        "deleted" => mark_uninstalled(db, Platform::Github, row).await?,
        "suspend" if suspended_at(installation).is_none_or(|at| is_current(row, at)) => {
            mark(db, Platform::Github, row, Status::Suspended, Some("suspended_at_provider")).await?;
        }
        "unsuspend" if row.status == Status::Suspended.as_str() => {
            mark(db, Platform::Github, row, Status::Active, None).await?;
            let key = CredentialKey { installation_id: row.id, kind: "installation" };
            store::credential::forget_refusal(db, &tenant, key).await?;
        }
        "new_permissions_accepted" => {
            let finding = FindingRecord {
                permissions: Some(installation.permissions.clone()).filter(Value::is_object),
                ..FindingRecord::default()
            };
            store::installation_status::apply(db, &tenant, row.id, row.connected_at, &finding).await?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

async fn rename(db: &impl Executor, account: &Account) -> Result<bool, WebhookError> {
    let rows = store::installation_status::find_by_account(db, PLATFORM, &account.id.to_string()).await?;
    for row in &rows {
        let finding = FindingRecord { external_org_name: account.login.clone(), ..FindingRecord::default() };
        let tenant = Tenant::of_record(row.org_id);
        store::installation_status::apply(db, &tenant, row.id, row.connected_at, &finding).await?;
    }
    Ok(!rows.is_empty())
}

/// A person took back what they had authorized. A GitHub App's installation lives on; an OAuth App's connection was nothing else.
async fn withdraw(db: &impl Executor, payload: &Payload) -> Result<bool, WebhookError> {
    let Some(person) = &payload.sender else { return Ok(false) };
    let rows =
        store::installation_status::find_by_metadata(db, PLATFORM, PERSON, &person.id.to_string()).await?;
    let mut is_applied = false;
    for row in rows.iter().filter(|row| row.status != Status::PendingApproval.as_str()) {
        let key = CredentialKey { installation_id: row.id, kind: "user" };
        let tenant = Tenant::of_record(row.org_id);
        store::credential::refuse(db, &tenant, key, "access_revoked").await?;
        if row.external_install_id.is_none() {
            mark(db, Platform::Github, row, Status::NeedsReconnect, Some("access_revoked")).await?;
        }
        is_applied = true;
    }
    Ok(is_applied)
}

/// When it was suspended: a text in most deliveries, a number in some.
fn suspended_at(installation: &Installation) -> Option<OffsetDateTime> {
    match installation.suspended_at.as_ref()? {
        Value::String(text) => OffsetDateTime::parse(text, &Rfc3339).ok(),
        Value::Number(number) => OffsetDateTime::from_unix_timestamp(number.as_i64()?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn payloads_of_every_kind_are_read() {
        let suspended: Payload = serde_json::from_value(json!({
            "action": "suspend", "new": {},
            "installation": { "id": 7, "account": { "id": 1, "login": "org", "type": "Organization" },
                "permissions": { "contents": "read" }, "suspended_at": "2026-11-21T12:00:00Z" },
            "sender": { "id": 9, "login": "owner" },
        }))
        .unwrap();
        let at = suspended_at(suspended.installation.as_ref().unwrap());
        assert_eq!(at, Some(datetime!(2026-11-21 12:00 UTC)));
        let revoked: Payload =
            serde_json::from_value(json!({ "action": "revoked", "sender": { "id": 9 } })).unwrap();
        assert!(revoked.installation.is_none());
        assert_eq!(revoked.sender.unwrap().id, 9);
    }
}
