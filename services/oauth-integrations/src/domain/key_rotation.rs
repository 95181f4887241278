//! Encrypts everything stored with the key in use, so that an old one can be taken out of `TOKEN_ENCRYPTION_KEYS`.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Integrations, credential};
use crate::store::{self, StoreError};

/// Rows looked at by one statement.
const BATCH: i64 = 100;

/// Why not everything could be encrypted anew. What was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// Whoever takes the old key out now loses them; an organization that connects anew replaces its own.
    #[error("{rewrapped} rewrapped; {count} cannot be opened, of these installations: {installations:?}")]
    Unreadable { rewrapped: u64, count: usize, installations: BTreeSet<Uuid> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Encrypts each token that is under another key with the one in use; how many rows were. A row that is written at the same moment
/// is left to its writer, who has the key in use too. One that does not open keeps no other from it.
pub async fn rewrap(integrations: &Integrations) -> Result<u64, RewrapError> {
    let cipher = &integrations.cipher;
    let (mut after, mut rewrapped) = (None, 0);
    let (mut count, mut installations) = (0, BTreeSet::new());
    loop {
        let connection = integrations.db.connection().await?;
        let rows =
            store::credential_key::list_under_others(&connection, cipher.primary_id(), after.as_ref(), BATCH)
                .await?;
        let Some(last) = rows.last() else { break };
        after = Some((last.installation_id, last.kind.clone()));
        for row in rows {
            match credential::rewrap(cipher, &row) {
                Ok(sealed) => {
                    let is_written =
                        store::credential_key::replace(&connection, &row, cipher.primary_id(), &sealed);
                    rewrapped += u64::from(is_written.await?);
                }
                Err(error) => {
                    tracing::error!(%error, installation_id = %row.installation_id, kind = row.kind, "a token cannot be opened");
                    count += 1;
                    installations.insert(row.installation_id);
                }
            }
        }
    }
    if installations.is_empty() {
        Ok(rewrapped)
    } else {
        Err(RewrapError::Unreadable { rewrapped, count, installations })
    }
}
