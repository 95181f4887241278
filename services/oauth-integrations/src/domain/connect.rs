//! Binds an external account to an organization: once in the world, and only by who owns it.

use common_auth::Tenant;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    audit::{self, Circumstances, Event},
    callback::{CallbackError, Ending},
    credential,
    encryption::TokenCipher,
    installation::Status,
    provider::{Credential, CredentialKind, InstallationInfo, OAuthTokens, Platform},
    result::Outcome,
    state::Consent,
};
use crate::store::{self, Executor, StoreError, installation::GrantRecord};

/// Connects the account that the tokens were granted for.
pub(super) async fn connect(
    db: &impl Executor,
    cipher: &TokenCipher,
    consent: &Consent,
    tokens: &OAuthTokens,
    mut infos: Vec<InstallationInfo>,
    circumstances: &Circumstances,
) -> Result<Ending, CallbackError> {
    let tenant = consent.tenant();
    // Single-use refresh tokens belong to one installation, so consent for several at once is for none.
    let info = match (infos.pop(), infos.is_empty()) {
        (None, _) => return Ok(Ending::of(Outcome::NothingGranted)),
        (Some(info), true) => info,
        (Some(_), false) => return Ok(Ending::of(Outcome::SeveralAccounts)),
    };
    let (id, is_new) = match bind(db, &tenant, consent, &info).await? {
        Binding::Bound { id, is_new } => (id, is_new),
        // The new tokens are forgotten and not revoked: at some providers that would end the other connection of the account too.
        Binding::Refused(outcome) => {
            if consent.wish.platform == Platform::Slack {
                hand_over(db, cipher, &info, tokens, circumstances).await?;
            }
            return Ok(Ending::of(outcome));
        }
    };
    credential::wipe(db, &tenant, id).await?;
    credential::save(db, cipher, &tenant, id, &tokens.credentials).await?;
    let name = if is_new { "installation.connected" } else { "installation.reconnected" };
    let event = Event::new(name, consent.wish.platform).actor(consent.wish.holder.user_id).installation(id);
    audit::record(db, &tenant, event, circumstances).await?;
    Ok(Ending {
        account_id: Some(info.external_org_id),
        account_name: info.external_org_name,
        ..Ending::of(Outcome::Connected)
    })
}

/// Remembers that somebody asked an owner at GitHub; the webhook connects it when the owner says yes.
pub(super) async fn remember_request(
    db: &impl Executor,
    consent: &Consent,
    metadata: Value,
    circumstances: &Circumstances,
) -> Result<Ending, CallbackError> {
    let tenant = consent.tenant();
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
    let pending =
        store::installation::find_pending(db, &tenant, platform.as_str(), &grant.installed_by).await?;
    let id = if let Some(pending) = pending {
        store::installation::update_grant(db, &tenant, pending.id, &grant).await?;
        pending.id
    } else {
        let id = Uuid::now_v7();
        store::installation::insert(db, &tenant, id, platform.as_str(), &grant).await?;
        id
    };
    let event =
        Event::new("installation.requested", platform).actor(consent.wish.holder.user_id).installation(id);
    audit::record(db, &tenant, event, circumstances).await?;
    Ok(Ending::of(Outcome::PendingApproval))
}

/// Slack has one chain of tokens for each bot and each user of a workspace, whoever asks: the next ones end the last refresh tokens.
/// So they go to the installation that has the workspace, if it is in order, and nothing is lost by the attempt.
async fn hand_over(
    db: &impl Executor,
    cipher: &TokenCipher,
    info: &InstallationInfo,
    tokens: &OAuthTokens,
    circumstances: &Circumstances,
) -> Result<(), CallbackError> {
    let platform = Platform::Slack;
    let holders =
        store::installation_status::find_by_account(db, platform.as_str(), &info.external_org_id).await?;
    for row in holders.iter().filter(|row| row.status == Status::Active.as_str()) {
        let is_same = |member: &str| {
            let id = info.metadata.get(member).and_then(Value::as_str);
            id.is_some() && id == row.metadata.get(member).and_then(Value::as_str)
        };
        let tenant = Tenant::of_record(row.org_id);
        let stored = store::credential::list(db, &tenant, row.id).await?;
        let is_in_use = |kind: CredentialKind| {
            stored.iter().any(|it| it.kind == kind.as_str() && it.refused_reason.is_none())
        };
        let is_of_chain = |credential: &&Credential| match credential.kind {
            kind @ CredentialKind::Bot => is_in_use(kind) && is_same("bot_user_id"),
            kind @ CredentialKind::User => is_in_use(kind) && is_same("authed_user_id"),
            CredentialKind::Installation => false,
        };
        let credentials: Vec<_> = tokens.credentials.iter().filter(is_of_chain).cloned().collect();
        credential::save(db, cipher, &tenant, row.id, &credentials).await?;
        let event = Event::new("installation.tokens_replaced", platform).installation(row.id).actor(platform);
        // Whose attempt it was is nobody's business there.
        let unnamed =
            Circumstances { request_id: circumstances.request_id.clone(), ..Circumstances::default() };
        audit::record(db, &tenant, event.because("connected_elsewhere"), &unnamed).await?;
    }
    Ok(())
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
