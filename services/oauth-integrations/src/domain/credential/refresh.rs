//! The renewal of one credential, between processes: lease, call, compare-and-set. No connection is held across the call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common_auth::Tenant;
use uuid::Uuid;

use super::{
    seal,
    settle::{fail, final_word, refuse, save},
};
use crate::{
    domain::{
        Integrations,
        encryption::CipherError,
        provider::{Credential, CredentialKind, Narrowing, OAuthProvider, Platform, ProviderError},
    },
    store::{
        self, StoreError,
        credential::{CredentialKey, LeaseRecord},
    },
};

/// Longer than a call to a provider may take, with room for the write; after a holder's death others wait this long.
const LEASE: Duration = Duration::from_secs(15);
/// How long a renewal in another process is waited for, and how often its row is looked at.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(40);
/// Which credential to renew, and when that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) tenant: Tenant,
    pub(super) installation_id: Uuid,
    pub(super) platform: Platform,
    pub(super) kind: CredentialKind,
    /// Unless its token lasts longer than this; without it if a renewal is owed whenever the token ends.
    pub(super) due_within: Option<Duration>,
}

/// How a renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The row holds a newer credential, or one that is not due, or says why there is none: look again.
    Settled,
    /// Nothing changed. Not to be tried before so long.
    Later { retry_after: Option<Duration> },
}

/// Renews a credential ahead of need; joins a renewal that is under way.
pub async fn renew(
    integrations: &Arc<Integrations>,
    tenant: Tenant,
    installation_id: Uuid,
    platform: Platform,
    kind: CredentialKind,
    due_within: Option<Duration>,
) -> Renewal {
    let target = Target { tenant, installation_id, platform, kind, due_within };
    integrations.flights.join(integrations, target).await
}

/// Renews the credential in this process, or waits for the one that does.
pub(super) async fn run(integrations: &Integrations, target: &Target) -> Renewal {
    let Some(provider) = integrations.providers.get(target.platform) else {
        return Renewal::Later { retry_after: None };
    };
    let outcome = match lead_or_follow(integrations, target).await {
        Ok(Position::Leads(turn)) => lead(integrations, provider, target, &turn).await,
        Ok(Position::Follows(renewal)) => Ok((renewal, "waited")),
        Err(error) => Err(error),
    };
    let (renewal, word) = outcome.unwrap_or_else(|error| {
        tracing::warn!(%error, platform = %target.platform, "a token could not be renewed");
        (Renewal::Later { retry_after: None }, "store_failed")
    });
    integrations.metrics.count_refresh(target.platform, word);
    renewal
}

/// Whether this process renews.
enum Position {
    Leads(Turn),
    Follows(Renewal),
}

/// The lease on a credential.
pub(super) struct Turn {
    pub(super) holder: Uuid,
    pub(super) lease: LeaseRecord,
}

impl Target {
    pub(super) fn key(&self) -> CredentialKey<'static> {
        CredentialKey { installation_id: self.installation_id, kind: self.kind.as_str() }
    }
}

async fn lead_or_follow(integrations: &Integrations, target: &Target) -> Result<Position, StoreError> {
    let due_within = target.due_within.map(|within| within.as_secs_f64());
    let holder = Uuid::now_v7();
    let begun = Instant::now();
    loop {
        let connection = integrations.db.connection().await?;
        let lease = store::credential::acquire_lease(
            &connection,
            &target.tenant,
            target.key(),
            due_within,
            holder,
            LEASE.as_secs_f64(),
        );
        if let Some(lease) = lease.await? {
            return Ok(Position::Leads(Turn { holder, lease }));
        }
        let standing =
            store::credential::find_standing(&connection, &target.tenant, target.key(), due_within).await?;
        drop(connection);
        let is_leased = match standing {
            Some(standing) if standing.is_due && !standing.is_refused => {
                if let Some(pause) = standing.pause_seconds.filter(|_| !standing.is_leased) {
                    let retry_after = Duration::try_from_secs_f64(pause).ok();
                    return Ok(Position::Follows(Renewal::Later { retry_after }));
                }
                standing.is_leased
            }
            _ => return Ok(Position::Follows(Renewal::Settled)),
        };
        if begun.elapsed() > PATIENCE {
            return Ok(Position::Follows(Renewal::Later { retry_after: None }));
        }
        if is_leased {
            tokio::time::sleep(POLL.mul_f64(0.5 + rand::random::<f64>())).await;
        }
    }
}

/// Calls the provider and writes down what it said.
async fn lead(
    integrations: &Integrations,
    provider: &dyn OAuthProvider,
    target: &Target,
    turn: &Turn,
) -> Result<(Renewal, &'static str), StoreError> {
    match call(integrations, provider, target, &turn.lease).await {
        Ok(credential) => save(integrations, provider, target, turn, credential).await,
        Err(CallError::Provider(error)) => match final_word(&error) {
            Some((status, reason)) => {
                refuse(integrations, provider, target, turn, (status, reason), &error).await
            }
            None => fail(integrations, target, turn, &error).await,
        },
        Err(CallError::NoRefreshToken) => {
            let error = ProviderError::refused("no_refresh_token");
            refuse(integrations, provider, target, turn, ("needs_reconnect", "no_refresh_token"), &error)
                .await
        }
        Err(CallError::Cipher(error)) => {
            tracing::error!(%error, installation_id = %target.installation_id, "a stored token cannot be decrypted");
            fail(
                integrations,
                target,
                turn,
                &ProviderError::unavailable("a stored token cannot be decrypted"),
            )
            .await
        }
    }
}

enum CallError {
    Provider(ProviderError),
    Cipher(CipherError),
    NoRefreshToken,
}

async fn call(
    integrations: &Integrations,
    provider: &dyn OAuthProvider,
    target: &Target,
    lease: &LeaseRecord,
) -> Result<Credential, CallError> {
    if target.kind == CredentialKind::Installation {
        let number = lease.external_install_id.as_deref().ok_or(CallError::NoRefreshToken)?;
        let everything = Narrowing::default();
        return provider.mint_token(number, &everything).await.map_err(CallError::Provider);
    }
    let sealed = lease.refresh_token_encrypted.as_deref().ok_or(CallError::NoRefreshToken)?;
    let (cipher, kind) = (&integrations.cipher, target.kind.as_str());
    let old = seal::open_refresh_token(cipher, &target.tenant, target.installation_id, kind, sealed)
        .map_err(CallError::Cipher)?;
    let tokens = provider.refresh_tokens(target.kind, &old).await.map_err(CallError::Provider)?;
    let renewed = tokens.credentials.into_iter().next();
    let mut credential =
        renewed.ok_or(CallError::Provider(ProviderError::unavailable("the answer has no token")))?;
    // An answer without a refresh token leaves the one that was used in force.
    credential.refresh_token = credential.refresh_token.or(Some(old));
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_outlives_a_call() {
        assert!(LEASE > Duration::from_secs(8 + 5));
    }
}
