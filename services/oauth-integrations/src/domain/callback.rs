//! The provider sends a browser back: whose consent it was, what it was for, and what becomes of it.

use secrecy::SecretString;
use url::Url;

use super::{
    Integrations,
    audit::{self, Circumstances, Event},
    connect, notice, opaque,
    provider::{
        AuthorizationRequest, AuthorizationStep, CodeExchange, InstallationInfo, OAuthProvider, OAuthTokens,
        Platform, ProviderError,
    },
    result::{self, Outcome},
    state::{self, BeginError, Consent, Position},
};
use crate::store::{StoreError, installation::EXTERNAL_CONSTRAINT};

/// What came back in the address, each value once and of bounded length.
#[derive(Debug, Default)]
pub struct Return {
    pub state: Option<SecretString>,
    pub code: Option<SecretString>,
    pub error: Option<String>,
    pub error_description: Option<String>,
    pub iss: Option<String>,
    /// GitHub's claims; whoever follows a link can make them up.
    pub installation_id: Option<String>,
    pub setup_action: Option<String>,
    /// The cookie of the browser that came back.
    pub browser: Option<SecretString>,
}

/// Where the browser goes next.
#[derive(Debug)]
pub enum Next {
    /// To the page of a result.
    Result(SecretString),
    /// To another page of the provider, for the rest of the proof.
    Provider(Url),
    /// To a page that says the same to everybody: the state is unknown, used, too old, or of another browser.
    LinkExpired,
    /// To a page that says the same to everybody: an owner approved or changed something at GitHub.
    Acknowledged,
}

/// Why a callback cannot be handled now.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    #[error(transparent)]
    Begin(#[from] BeginError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Credential(#[from] super::credential::CredentialError),
}

/// What came of asking the provider.
enum Word {
    /// These tokens, for these accounts.
    Granted(OAuthTokens, Vec<InstallationInfo>),
    /// An owner is to be asked; the tokens say who wants it.
    Requested(OAuthTokens),
    Ended(Ending),
}

/// What a consent led to.
pub(super) struct Ending {
    pub outcome: Outcome,
    pub account_id: Option<String>,
    pub account_name: Option<String>,
    /// The provider's own words.
    pub detail: Option<String>,
}

/// Handles a return. Nothing is asked of the provider before the state has proven that this browser began here.
pub async fn receive(
    integrations: &Integrations,
    platform: Platform,
    back: Return,
    circumstances: &Circumstances,
) -> Result<Next, CallbackError> {
    let next = handle(integrations, platform, back, circumstances).await;
    let outcome = match &next {
        // Counted by how it ended.
        Ok(Next::Result(_)) => return next,
        Ok(Next::Provider(_)) => "further_proof",
        Ok(Next::LinkExpired) => "link_expired",
        Ok(Next::Acknowledged) => "acknowledged",
        Err(_) => "error",
    };
    integrations.metrics.count_consent(platform, outcome);
    next
}

async fn handle(
    integrations: &Integrations,
    platform: Platform,
    mut back: Return,
    circumstances: &Circumstances,
) -> Result<Next, CallbackError> {
    let Some(shown) = back.state.take() else {
        // GitHub sends owners who approve or change an installation back without a state. It proves nothing and changes nothing:
        // the webhook does.
        let is_setup = platform == Platform::Github && back.setup_action.is_some() && back.error.is_none();
        return Ok(if is_setup { Next::Acknowledged } else { Next::LinkExpired });
    };
    let Some(consent) = state::take(integrations, &shown).await? else { return Ok(Next::LinkExpired) };
    let Some(provider) = integrations.providers.get(platform).filter(|_| consent.wish.platform == platform)
    else {
        return Ok(Next::LinkExpired);
    };
    let is_same_browser = back
        .browser
        .as_ref()
        .is_some_and(|browser| opaque::is_same(&opaque::digest(browser), &consent.browser_digest));
    let refusal = if !is_same_browser {
        Some("other_browser")
    } else if !is_from(provider, &consent, back.iss.as_deref()) {
        Some("other_issuer")
    } else {
        consent.wish.holder.is_revoked(integrations).then_some("logged_out")
    };
    if let Some(reason) = refusal {
        let event = Event::new("installation.connect", platform).actor(consent.wish.holder.user_id);
        let event = event.refused(reason);
        audit::record(&integrations.db.connection().await?, &consent.tenant(), event, circumstances).await?;
        return Ok(Next::LinkExpired);
    }
    if let Some(position) = next_position(&consent, &back) {
        return Ok(Next::Provider(state::go_on(integrations, consent, position).await?));
    }
    let Some(word) = ask(provider, &consent, back).await else { return Ok(Next::LinkExpired) };
    let outcome = conclude(integrations, &consent, word, circumstances).await;
    let outcome = match outcome {
        // Two organizations at the same moment: the index decides.
        Err(CallbackError::Store(error)) if error.is_constraint(EXTERNAL_CONSTRAINT) => {
            let word = Word::Ended(Ending::of(Outcome::AlreadyConnected));
            conclude(integrations, &consent, word, circumstances).await
        }
        outcome => outcome,
    };
    outcome.map(Next::Result)
}

/// Whether the consent goes on at another page of the provider: GitHub's install page may come back without a code, and then says
/// nothing about who was there.
fn next_position(consent: &Consent, back: &Return) -> Option<Position> {
    let is_open =
        consent.position.step == AuthorizationStep::Install && back.code.is_none() && back.error.is_none();
    let is_request = back.setup_action.as_deref() == Some("request");
    (is_open && (is_request || back.installation_id.is_some())).then(|| Position {
        step: AuthorizationStep::Authorize,
        claimed_install_id: back.installation_id.clone().filter(|_| !is_request),
        is_request,
    })
}

/// RFC 9207: an issuer that is named has to be the provider's own.
fn is_from(provider: &dyn OAuthProvider, consent: &Consent, iss: Option<&str>) -> bool {
    let Some(iss) = iss else { return true };
    if let Some(known) = provider.issuer() {
        return iss == known;
    }
    let request = AuthorizationRequest {
        step: AuthorizationStep::Authorize,
        state: "",
        redirect_uri: &consent.redirect_uri,
        code_challenge: None,
    };
    Url::parse(iss).is_ok_and(|iss| iss.origin() == provider.get_authorization_url(&request).origin())
}

/// Trades the code, and learns what it was given for. None where the return holds neither a code nor an error.
async fn ask(provider: &dyn OAuthProvider, consent: &Consent, back: Return) -> Option<Word> {
    if let Some(error) = &back.error {
        let outcome = if error == "access_denied" { Outcome::Denied } else { Outcome::Refused };
        let detail = back.error_description.or(back.error);
        return Some(Word::Ended(Ending { detail, ..Ending::of(outcome) }));
    }
    let code = back.code?;
    let exchange = CodeExchange {
        code: &code,
        redirect_uri: &consent.redirect_uri,
        code_verifier: consent.code_verifier.as_ref(),
    };
    let tokens: OAuthTokens = match provider.exchange_code(exchange).await {
        Ok(tokens) => tokens,
        Err(error) => return Some(Word::Ended(Ending::of_error(&error))),
    };
    if consent.position.is_request || back.setup_action.as_deref() == Some("request") {
        return Some(Word::Requested(tokens));
    }
    // What the first page claimed counts: the second was only for the proof.
    let claimed = match consent.position.step {
        AuthorizationStep::Install => back.installation_id,
        AuthorizationStep::Authorize => consent.position.claimed_install_id.clone(),
    };
    Some(match provider.get_installation_info(&tokens, claimed.as_deref()).await {
        Ok(infos) => Word::Granted(tokens, infos),
        Err(error) => Word::Ended(Ending::of_error(&error)),
    })
}

/// Connects, writes down how it went, puts the notice to the runtime on its way, and keeps the result for the page: all or nothing.
async fn conclude(
    integrations: &Integrations,
    consent: &Consent,
    word: Word,
    circumstances: &Circumstances,
) -> Result<SecretString, CallbackError> {
    let wish = &consent.wish;
    let mut connection = integrations.db.connection().await?;
    let transaction = connection.transaction().await?;
    let ending = match word {
        Word::Granted(tokens, infos) => {
            connect::connect(&transaction, &integrations.cipher, consent, &tokens, infos, circumstances)
                .await?
        }
        Word::Requested(tokens) => {
            let metadata = match integrations.runtime {
                Some(_) => notice::remember(tokens.metadata, wish),
                None => tokens.metadata,
            };
            connect::remember_request(&transaction, consent, metadata, circumstances).await?
        }
        Word::Ended(ending) => ending,
    };
    let (outcome, account) = (ending.outcome, ending.account_name.as_deref());
    let is_success = outcome == Outcome::Connected;
    if !is_success && outcome != Outcome::PendingApproval {
        let event = Event::new("installation.connect", wish.platform).actor(wish.holder.user_id);
        audit::record(&transaction, &consent.tenant(), event.refused(outcome.as_str()), circumstances)
            .await?;
    }
    let secret = result::keep(&transaction, wish, outcome, account, ending.detail.as_deref()).await?;
    if integrations.runtime.is_some() && outcome != Outcome::PendingApproval {
        let completed = notice::Completed {
            platform: wish.platform,
            success: is_success,
            account_id: ending.account_id,
            account_name: ending.account_name,
            error: (!is_success).then(|| outcome.as_str().to_owned()),
            user_id: wish.holder.user_id,
            app_id: wish.holder.app_id,
            chat_session_id: wish.chat_session_id.clone(),
            correlation_id: wish.correlation_id.clone(),
        };
        notice::record(&transaction, &completed).await?;
    }
    transaction.commit().await?;
    tracing::info!(platform = %wish.platform, outcome = outcome.as_str(), "a consent came back");
    integrations.metrics.count_consent(wish.platform, outcome.as_str());
    Ok(secret)
}

impl Ending {
    /// An ending without an account.
    pub(super) fn of(outcome: Outcome) -> Self {
        Self { outcome, account_id: None, account_name: None, detail: None }
    }

    fn of_error(error: &ProviderError) -> Self {
        tracing::warn!(%error, "a consent could not be completed");
        let detail = match error {
            ProviderError::Refused { code } | ProviderError::Misconfigured { code } => Some(code.clone()),
            _ => None,
        };
        Self { detail, ..Self::of(error.into()) }
    }
}
