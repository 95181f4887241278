//! Binds an external account to an organization: once in the world, and only by who owns it.

use common_auth::Tenant;
use serde_json::json;
use uuid::Uuid;

use super::{
    Integrations,
    audit::{self, Circumstances, Event},
    callback::{CallbackError, Ending},
    credential,
    installation::Status,
    notice,
    provider::{InstallationInfo, OAuthTokens},
    result::Outcome,
    state::Consent,
};
use crate::store::{
    self, Executor, StoreError,
    installation::{EXTERNAL_CONSTRAINT, GrantRecord},
};

/// Connects the account that the tokens were granted for.
pub(super) async fn connect(
    integrations: &Integrations,
    consent: &Consent,
    tokens: &OAuthTokens,
    infos: Vec<InstallationInfo>,
    circumstances: &Circumstances,
) -> Result<Ending, CallbackError> {
    let tenant = consent.tenant();
    let mut infos = infos;
    // Single-use refresh tokens belong to one installation, so consent for several at once is for none.
    let info = match (infos.pop(), infos.is_empty()) {
        (None, _) => return Ok(Ending::of(Outcome::NothingGranted)),
        (Some(info), true) => info,
        (Some(_), false) => return Ok(Ending::of(Outcome::SeveralAccounts)),
    };
    let mut connection = integrations.db.connection().await?;
    let transaction = connection.transaction().await?;
    match bind(&transaction, &tenant, consent, &info).await {
        Ok(Binding::Bound { id, is_new }) => {
            credential::wipe(&transaction, &tenant, id).await?;
            credential::save(&transaction, &integrations.cipher, &tenant, id, tokens).await?;
            let name = if is_new { "installation.connected" } else { "installation.reconnected" };
            let event =
                Event::new(name, consent.wish.platform).actor(consent.wish.holder.user_id).installation(id);
            audit::record(&transaction, &tenant, event, circumstances).await?;
            transaction.commit().await?;
            Ok(Ending {
                account_id: Some(info.external_org_id),
                account_name: info.external_org_name,
                ..Ending::of(Outcome::Connected)
            })
        }
        // The new tokens are forgotten and not revoked: at some providers that would end the other connection of the account too.
        Ok(Binding::Refused(outcome)) => Ok(Ending::of(outcome)),
        // Two organizations at the same moment: the index decides.
        Err(error) if error.is_constraint(EXTERNAL_CONSTRAINT) => Ok(Ending::of(Outcome::AlreadyConnected)),
        Err(error) => Err(error.into()),
    }
}

/// Remembers that somebody asked an owner at GitHub; the webhook connects it when the owner says yes.
pub(super) async fn remember_request(
    integrations: &Integrations,
    consent: &Consent,
    tokens: &OAuthTokens,
    circumstances: &Circumstances,
) -> Result<Ending, CallbackError> {
    let tenant = consent.tenant();
    let mut metadata = tokens.metadata.clone();
    if integrations.runtime.is_some() {
        metadata = notice::remember(metadata, &consent.wish);
    }
    let grant = GrantRecord {
        status: Status::PendingApproval.as_str(),
        external_org_id: None,
        external_org_name: None,
        external_install_id: None,
        scopes: Vec::new(),
        permissions: json!({}),
        metadata,
        installed_by: consent.wish.holder.user_id.to_string(),
    };
    let platform = consent.wish.platform;
    let mut connection = integrations.db.connection().await?;
    let transaction = connection.transaction().await?;
    let pending =
        store::installation::find_pending(&transaction, &tenant, platform.as_str(), &grant.installed_by);
    let id = if let Some(pending) = pending.await? {
        store::installation::update_grant(&transaction, &tenant, pending.id, &grant).await?;
        pending.id
    } else {
        let id = Uuid::now_v7();
        store::installation::insert(&transaction, &tenant, id, platform.as_str(), &grant).await?;
        id
    };
    let event =
        Event::new("installation.requested", platform).actor(consent.wish.holder.user_id).installation(id);
    audit::record(&transaction, &tenant, event, circumstances).await?;
    transaction.commit().await?;
    Ok(Ending::of(Outcome::PendingApproval))
}

enum Binding {
    Bound { id: Uuid, is_new: bool },
    Refused(Outcome),
}

/// Finds the row to renew or makes one. A row keeps its id through every reconnect.
async fn bind(
    db: &impl Executor,
    tenant: &Tenant,
    consent: &Consent,
    info: &InstallationInfo,
) -> Result<Binding, StoreError> {
    let platform = consent.wish.platform.as_str();
    let mut names = info.aliases.clone();
    if !names.contains(&info.external_org_id) {
        names.push(info.external_org_id.clone());
    }
    if store::installation::is_elsewhere(db, tenant, platform, &names).await? {
        return Ok(Binding::Refused(Outcome::AlreadyConnected));
    }
    let known = store::installation::find_by_external(db, tenant, platform, &names).await?;
    let mut grant = GrantRecord {
        status: Status::Active.as_str(),
        external_org_id: Some(info.external_org_id.clone()),
        external_org_name: info.external_org_name.clone(),
        external_install_id: info.external_install_id.clone(),
        scopes: info.scopes.clone(),
        permissions: info.permissions.clone(),
        metadata: info.metadata.clone(),
        installed_by: consent.wish.holder.user_id.to_string(),
    };
    let known = match (consent.wish.installation_id, known) {
        (None, known) => known,
        (Some(wished), Some(known)) if known.id == wished => Some(known),
        (Some(wished), known) => match store::installation::find(db, tenant, wished).await? {
            // An approval that was waited for, given by the same person in another way.
            Some(row) if row.external_org_id.is_none() && row.revoked_at.is_none() && known.is_none() => {
                Some(row)
            }
            Some(row) if row.revoked_at.is_none() => return Ok(Binding::Refused(Outcome::OtherAccount)),
            _ => return Ok(Binding::Refused(Outcome::Gone)),
        },
    };
    let Some(known) = known else {
        let id = Uuid::now_v7();
        store::installation::insert(db, tenant, id, platform, &grant).await?;
        return Ok(Binding::Bound { id, is_new: true });
    };
    // A grant for several sites goes on under the name that the row has.
    if let Some(name) = known.external_org_id.clone().filter(|name| *name != info.external_org_id) {
        grant.external_org_id = Some(name);
        grant.external_org_name = known.external_org_name.clone();
    }
    if store::installation::update_grant(db, tenant, known.id, &grant).await? {
        Ok(Binding::Bound { id: known.id, is_new: false })
    } else {
        Ok(Binding::Refused(Outcome::Gone))
    }
}
