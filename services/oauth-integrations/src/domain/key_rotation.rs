//! Encrypts everything stored with the key in use, so that an old one can be taken out of `TOKEN_ENCRYPTION_KEYS`.

use super::{
    Integrations,
    encryption::{AadContext, CipherError, Subject},
};
use crate::store::{self, StoreError, credential_key::SealedRecord};

/// Rows looked at by one statement.
const BATCH: i64 = 100;

/// Why not everything could be encrypted anew. What was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    #[error("a token of installation {0}: {1}")]
    Cipher(uuid::Uuid, CipherError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Encrypts each token that is under another key with the one in use; how many rows were. A row that is written at the same moment
/// is left to its writer, who has the key in use too.
pub async fn rewrap(integrations: &Integrations) -> Result<u64, RewrapError> {
    let cipher = &integrations.cipher;
    let (mut after, mut rewrapped) = (None, 0);
    loop {
        let connection = integrations.db.connection().await?;
        let rows =
            store::credential_key::list_under_others(&connection, cipher.primary_id(), after.as_ref(), BATCH)
                .await?;
        let Some(last) = rows.last() else { return Ok(rewrapped) };
        after = Some((last.installation_id, last.kind.clone()));
        for row in rows {
            let sealed = reseal(integrations, &row)?;
            let is_written =
                store::credential_key::replace(&connection, &row, cipher.primary_id(), &sealed).await?;
            rewrapped += u64::from(is_written);
        }
    }
}

fn reseal(
    integrations: &Integrations,
    row: &SealedRecord,
) -> Result<(Option<String>, Option<String>), RewrapError> {
    let again = |name: &str, sealed: &Option<String>| {
        let Some(text) = sealed else { return Ok::<_, RewrapError>(None) };
        let column = format!("{}.{name}", row.kind);
        let context = AadContext {
            subject: Subject::Installation(row.installation_id),
            org_id: row.org_id,
            column: &column,
        };
        let rewrapped = integrations.cipher.rewrap(&context, text);
        let rewrapped = rewrapped.map_err(|error| RewrapError::Cipher(row.installation_id, error))?;
        Ok(Some(rewrapped.map_or_else(|| text.clone(), |sealed| sealed.text)))
    };
    Ok((
        again("access_token_encrypted", &row.access_token_encrypted)?,
        again("refresh_token_encrypted", &row.refresh_token_encrypted)?,
    ))
}
