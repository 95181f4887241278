//! How a renewal ends in the row: written, refused for good, or put off.

use std::time::{Duration, Instant};

use super::{
    refresh::{Renewal, Target, Turn},
    seal,
};
use crate::{
    domain::{
        Integrations,
        provider::{Credential, CredentialKind, OAuthProvider, Platform, ProviderError},
    },
    store::{
        self, Database, StoreError,
        credential::{Refusal, SealedCredential},
    },
};

/// A database that is away does not cost the answer of a provider at once.
const PERSIST_LIMIT: Duration = Duration::from_secs(30);
const PERSIST_PAUSE: Duration = Duration::from_millis(250);

/// Writes a renewed credential down.
pub(super) async fn save(
    integrations: &Integrations,
    provider: &dyn OAuthProvider,
    target: &Target,
    turn: &Turn,
    credential: Credential,
) -> Result<(Renewal, &'static str), StoreError> {
    let sealed = seal::seal(&integrations.cipher, &target.tenant, target.installation_id, &credential);
    let sealed = match sealed {
        Ok(sealed) => SealedCredential { kind: target.kind.as_str(), ..sealed },
        Err(error) => {
            tracing::error!(%error, "a token cannot be encrypted");
            return Ok((Renewal::Later { retry_after: None }, "cipher_failed"));
        }
    };
    let heals = !is_secondary(provider, target.kind);
    let is_saved = persist(&integrations.db, target, turn, &sealed, heals).await?;
    if is_saved {
        Ok((Renewal::Settled, "ok"))
    } else {
        tracing::info!(installation_id = %target.installation_id, "a renewal came too late: there is a newer credential, or none");
        Ok((Renewal::Settled, "superseded"))
    }
}

/// Tries until the database takes it: the provider does not say it a second time.
async fn persist(
    db: &Database,
    target: &Target,
    turn: &Turn,
    sealed: &SealedCredential,
    heals: bool,
) -> Result<bool, StoreError> {
    let begun = Instant::now();
    loop {
        let outcome = async {
            let connection = db.connection().await?;
            let version = turn.lease.credential_version;
            store::credential::save_refreshed(
                &connection,
                &target.tenant,
                target.installation_id,
                version,
                sealed,
                heals,
            )
            .await
        };
        match outcome.await {
            Err(error) if error.is_retryable() && begun.elapsed() < PERSIST_LIMIT => {
                tracing::warn!(%error, "a renewed token is not written yet");
                tokio::time::sleep(PERSIST_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Writes down that the provider will not renew it any more.
pub(super) async fn refuse(
    integrations: &Integrations,
    provider: &dyn OAuthProvider,
    target: &Target,
    turn: &Turn,
    (status, reason): (&str, &str),
    error: &ProviderError,
) -> Result<(Renewal, &'static str), StoreError> {
    let text = error.to_string();
    let refusal = Refusal {
        reason,
        status,
        error: &text,
        is_secondary: is_secondary(provider, target.kind),
        better_kinds: better_kinds(target.platform, target.kind),
    };
    let connection = integrations.db.connection().await?;
    let version = turn.lease.credential_version;
    let is_marked =
        store::credential::mark_refused(&connection, &target.tenant, target.key(), version, &refusal).await?;
    tracing::warn!(
        platform = %target.platform, installation_id = %target.installation_id, kind = %target.kind, %error, is_marked,
        "the provider refuses to renew a token"
    );
    Ok((Renewal::Settled, "refused"))
}

/// Gives the lease back, with a pause.
pub(super) async fn fail(
    integrations: &Integrations,
    target: &Target,
    turn: &Turn,
    error: &ProviderError,
) -> Result<(Renewal, &'static str), StoreError> {
    if let ProviderError::Misconfigured { .. } = error {
        tracing::error!(platform = %target.platform, %error, "the provider refuses this service's own credentials");
    }
    let asked_for = match error {
        ProviderError::Unavailable { retry_after: Some(wait), .. } => wait.as_secs_f64(),
        _ => 0.0,
    };
    let jitter = 0.5 + rand::random::<f64>() / 2.0;
    let connection = integrations.db.connection().await?;
    let text = error.to_string();
    let backoff = store::credential::Backoff { jitter, at_least_seconds: asked_for };
    let pause = store::credential::mark_failed(
        &connection,
        &target.tenant,
        target.key(),
        turn.holder,
        &text,
        backoff,
    );
    let retry_after = pause.await?.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok((Renewal::Later { retry_after }, "failed"))
}

/// What a refusal makes of the installation; none where it may pass.
pub(super) fn final_word(error: &ProviderError) -> Option<(&'static str, &'static str)> {
    match error {
        ProviderError::Refused { .. } | ProviderError::NotGranted | ProviderError::NothingGranted => {
            Some(("needs_reconnect", "refresh_refused"))
        }
        ProviderError::NotOwner => Some(("needs_reconnect", "access_revoked")),
        ProviderError::NotFound => Some(("needs_reconnect", "uninstalled")),
        ProviderError::Suspended => Some(("suspended", "suspended_at_provider")),
        ProviderError::Misconfigured { .. }
        | ProviderError::Unavailable { .. }
        | ProviderError::Unsupported => None,
    }
}

/// A person's token beside a GitHub App's own: the installation lives without it.
fn is_secondary(provider: &dyn OAuthProvider, kind: CredentialKind) -> bool {
    provider.mints() && kind != CredentialKind::Installation
}

/// The kinds that an installation rather lives by.
fn better_kinds(platform: Platform, kind: CredentialKind) -> &'static [&'static str] {
    match (platform, kind) {
        (Platform::Slack, CredentialKind::User) => &["bot"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_final_words_end_a_connection() {
        assert!(final_word(&ProviderError::unavailable("no answer in time")).is_none());
        assert!(final_word(&ProviderError::misconfigured("bad_client_secret")).is_none());
        for (error, status) in [
            (ProviderError::refused("invalid_grant"), "needs_reconnect"),
            (ProviderError::NotFound, "needs_reconnect"),
            (ProviderError::Suspended, "suspended"),
        ] {
            assert_eq!(final_word(&error).map(|(status, _)| status), Some(status));
        }
    }
}
