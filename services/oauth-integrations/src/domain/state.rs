//! A consent that is under way: begun here, carried by the provider as `state`, used up by the callback.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::Tenant;
use oauth2::{PkceCodeChallenge, PkceCodeVerifier};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use uuid::Uuid;

use super::{
    Integrations,
    encryption::{AadContext, CipherError, Subject},
    opaque,
    provider::{AuthorizationRequest, AuthorizationStep, OAuthProvider, Platform},
    return_to::ReturnTo,
    ticket::{Holder, read_origin, write_origin},
};
use crate::store::{self, StoreError, oauth_state::StateRecord};

/// How long a person may take at the provider.
pub const STATE_LIFE: Duration = Duration::from_mins(10);

/// The column that verifiers are encrypted for.
const VERIFIER_COLUMN: &str = "code_verifier";

/// What is to be connected, by whom, and what comes after.
#[derive(Clone, Debug)]
pub struct Wish {
    pub holder: Holder,
    pub platform: Platform,
    /// The installation to connect anew.
    pub installation_id: Option<Uuid>,
    pub return_to: Option<ReturnTo>,
    /// What the runtime wants to hear again when it is done.
    pub chat_session_id: Option<String>,
    pub correlation_id: Option<String>,
}

/// Where in the provider's pages a consent is.
#[derive(Clone, Debug)]
pub struct Position {
    pub step: AuthorizationStep,
    /// The number that GitHub's install page came back with: not proven yet.
    pub claimed_install_id: Option<String>,
    /// The person asked an owner for the installation, and only who it was is still to be learnt.
    pub is_request: bool,
}

/// A consent that came back.
#[derive(Debug)]
pub struct Consent {
    pub wish: Wish,
    pub position: Position,
    /// The cookie of the browser that began, as a digest.
    pub browser_digest: String,
    pub code_verifier: Option<SecretString>,
    pub redirect_uri: String,
}

/// Why a consent does not begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error("the platform is not configured")]
    NotConfigured,
    #[error("there is no such installation")]
    UnknownInstallation,
    #[error("the organization has too many consents under way")]
    TooMany,
    #[error(transparent)]
    Cipher(#[from] CipherError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Begins a consent for a browser; the provider's page to send it to.
pub async fn begin(
    integrations: &Integrations,
    wish: &Wish,
    browser: &SecretString,
) -> Result<Url, BeginError> {
    let provider = integrations.providers.get(wish.platform).ok_or(BeginError::NotConfigured)?;
    if let Some(id) = wish.installation_id {
        let connection = integrations.db.connection().await?;
        let found = store::installation::find(&connection, &wish.holder.tenant(), id).await?;
        let is_known =
            found.is_some_and(|row| row.platform == wish.platform.as_str() && row.revoked_at.is_none());
        if !is_known {
            return Err(BeginError::UnknownInstallation);
        }
    }
    let position = Position { step: provider.first_step(), claimed_install_id: None, is_request: false };
    go_to(integrations, provider, wish, position, opaque::digest(browser)).await
}

/// Goes on to another of the provider's pages with the same wish, in the same browser.
pub async fn go_on(
    integrations: &Integrations,
    consent: Consent,
    position: Position,
) -> Result<Url, BeginError> {
    let provider = integrations.providers.get(consent.wish.platform).ok_or(BeginError::NotConfigured)?;
    go_to(integrations, provider, &consent.wish, position, consent.browser_digest).await
}

/// Uses up the state that a provider sent back. None where it is unknown, was used, or has ended.
pub async fn take(integrations: &Integrations, state: &SecretString) -> Result<Option<Consent>, BeginError> {
    let digest = opaque::digest(state);
    let connection = integrations.db.connection().await?;
    let Some(record) = store::oauth_state::take(&connection, &digest).await? else { return Ok(None) };
    drop(connection);
    let sealed = record.code_verifier.as_deref();
    let code_verifier = sealed
        .map(|sealed| integrations.cipher.open(&verifier_context(record.org_id, &digest), sealed))
        .transpose()?;
    consent(record, code_verifier).map(Some)
}

async fn go_to(
    integrations: &Integrations,
    provider: &dyn OAuthProvider,
    wish: &Wish,
    position: Position,
    browser_digest: String,
) -> Result<Url, BeginError> {
    let state = opaque::generate();
    let digest = opaque::digest(&state);
    let pkce = provider.uses_pkce(position.step).then(new_pkce);
    let redirect_uri = redirect_uri(integrations, wish.platform);
    let sealed = match &pkce {
        Some((_, verifier)) => {
            let context = verifier_context(wish.holder.org_id, &digest);
            Some(integrations.cipher.seal(&context, verifier)?.text)
        }
        None => None,
    };
    let url = provider.get_authorization_url(&AuthorizationRequest {
        step: position.step,
        state: state.expose_secret(),
        redirect_uri: &redirect_uri,
        code_challenge: pkce.as_ref().map(|(challenge, _)| challenge.as_str()),
    });
    let record = StateRecord {
        platform: wish.platform.as_str().to_owned(),
        org_id: wish.holder.org_id,
        user_id: wish.holder.user_id,
        user_name: wish.holder.user_name.clone(),
        app_id: wish.holder.app_id,
        origin: write_origin(&wish.holder.origin),
        browser_digest,
        code_verifier: sealed,
        redirect_uri,
        return_to: wish.return_to.as_ref().map(|address| address.as_str().to_owned()),
        scopes: provider.requested_scopes(),
        step: step_name(position.step).to_owned(),
        claimed_install_id: position.claimed_install_id,
        is_request: position.is_request,
        installation_id: wish.installation_id,
        chat_session_id: wish.chat_session_id.clone(),
        correlation_id: wish.correlation_id.clone(),
    };
    let most = integrations.settings.max_live_states.into();
    let connection = integrations.db.connection().await?;
    if store::oauth_state::insert(&connection, &digest, &record, STATE_LIFE.as_secs_f64(), most).await? {
        Ok(url)
    } else {
        Err(BeginError::TooMany)
    }
}

/// The same text at the start and at the exchange, built from the settings and nothing that a request says.
fn redirect_uri(integrations: &Integrations, platform: Platform) -> String {
    format!("{}/oauth/callback/{platform}", integrations.settings.callback_base)
}

/// A challenge (S256) and its verifier of 32 random bytes (RFC 7636, section 4.1).
fn new_pkce() -> (String, SecretString) {
    let verifier = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    (challenge(&verifier), SecretString::from(verifier))
}

fn challenge(verifier: &str) -> String {
    let verifier = PkceCodeVerifier::new(verifier.to_owned());
    PkceCodeChallenge::from_code_verifier_sha256(&verifier).as_str().to_owned()
}

fn verifier_context(org_id: Uuid, digest: &str) -> AadContext<'_> {
    AadContext { subject: Subject::State(digest), org_id, column: VERIFIER_COLUMN }
}

fn step_name(step: AuthorizationStep) -> &'static str {
    match step {
        AuthorizationStep::Install => "install",
        AuthorizationStep::Authorize => "authorize",
    }
}

fn consent(record: StateRecord, code_verifier: Option<SecretString>) -> Result<Consent, BeginError> {
    let platform =
        record.platform.parse().map_err(|_| StoreError::Row("a state is for no known platform"))?;
    let step = match record.step.as_str() {
        "install" => AuthorizationStep::Install,
        _ => AuthorizationStep::Authorize,
    };
    let holder = Holder {
        org_id: record.org_id,
        user_id: record.user_id,
        user_name: record.user_name,
        app_id: record.app_id,
        origin: read_origin(record.origin)?,
        can_manage: true,
    };
    Ok(Consent {
        wish: Wish {
            holder,
            platform,
            installation_id: record.installation_id,
            return_to: record.return_to.map(ReturnTo::of_record),
            chat_session_id: record.chat_session_id,
            correlation_id: record.correlation_id,
        },
        position: Position {
            step,
            claimed_install_id: record.claimed_install_id,
            is_request: record.is_request,
        },
        browser_digest: record.browser_digest,
        code_verifier,
        redirect_uri: record.redirect_uri,
    })
}

impl Consent {
    /// The organization that began.
    pub fn tenant(&self) -> Tenant {
        self.wish.holder.tenant()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_the_challenge_is_the_one_of_rfc_7636_appendix_b() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn s12_a_verifier_has_43_characters_and_never_comes_twice() {
        let (one, two) = (new_pkce(), new_pkce());
        assert_eq!(one.1.expose_secret().len(), 43);
        assert_ne!(one.1.expose_secret(), two.1.expose_secret());
    }
}
