//! Clients prove who they are; where too many wrong secrets came from, the next one waits.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;

use super::{
    Identity,
    client::{Client, ClientCredentials},
    failure::{IDLE_LIFE, Kind, Limited, Subject, UNCOUNTED_WAIT, Wait},
    network::Network,
};
use crate::store::{self, StoreError};

/// Why a client is not let in.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Unknown, disabled, or with a wrong secret: it looks the same from outside.
    #[error("client authentication failed")]
    Refused,
    #[error(transparent)]
    Limited(#[from] Limited),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The client that these credentials prove. A known one costs no database access, unless it has failed lately.
pub async fn authenticate(
    identity: &Identity,
    credentials: &ClientCredentials,
    network: Network,
    now: OffsetDateTime,
) -> Result<Arc<Client>, ClientError> {
    let find_proven = identity.clients.find_proven(&identity.db, credentials, now);
    if credentials.secret.is_none() {
        // Nothing is guessed.
        return find_proven.await?.ok_or(ClientError::Refused);
    }
    let failures = &identity.failures;
    let subject = Subject::new(&credentials.client_id, network);
    let failed_before = failures.clients.get(&subject);
    let wait = failed_before.map(Wait::left).unwrap_or_default();
    // Where the client is at home its right secret is always let in: a neighbour who guesses does not shut it out.
    if !failures.is_proven(&subject) {
        failures.clients.check(wait)?;
    }
    let Some(client) = find_proven.await? else {
        failures.clients.check(wait)?;
        let counted = count(identity, subject).await;
        failures.clients.learn(subject, *counted.as_ref().unwrap_or(&UNCOUNTED_WAIT));
        return Err(counted.err().unwrap_or(ClientError::Refused));
    };
    failures.note_proven(subject);
    if failed_before.is_some() {
        failures.clients.forget(&subject);
        forget(identity, subject).await;
    }
    Ok(client)
}

/// Counts a wrong secret; how long the next one waits.
async fn count(identity: &Identity, subject: Subject) -> Result<Duration, ClientError> {
    let Ok(_place) = identity.failures.counting.try_acquire() else {
        return Err(identity.failures.clients.refuse(UNCOUNTED_WAIT).into());
    };
    let connection = identity.db.connection().await?;
    let record = store::failure::upsert(&connection, &subject.key(Kind::Client), IDLE_LIFE).await?;
    Ok(Kind::Client.wait(record))
}

/// Forgets the failures in the database too. Where that fails, the next right secret after a wrong one does it, or the hour's end.
async fn forget(identity: &Identity, subject: Subject) {
    let forgotten: Result<(), StoreError> = async {
        let connection = identity.db.connection().await?;
        store::failure::delete(&connection, &subject.key(Kind::Client)).await
    }
    .await;
    if let Err(error) = forgotten {
        tracing::warn!(%error, "failures of a client were not forgotten");
    }
}
