//! Between tokens and rows: each ciphertext opens in its own installation, organization, kind and column only.

use common_auth::Tenant;
use secrecy::SecretString;
use uuid::Uuid;

use crate::{
    domain::{
        encryption::{AadContext, CipherError, Subject, TokenCipher},
        provider::{Credential, CredentialKind},
    },
    store::{
        credential::{CredentialRecord, SealedCredential},
        credential_key::SealedRecord,
    },
};

const ACCESS_TOKEN: &str = "access_token_encrypted";
const REFRESH_TOKEN: &str = "refresh_token_encrypted";

/// Encrypts a credential for its row.
pub(super) fn seal(
    cipher: &TokenCipher,
    tenant: &Tenant,
    installation_id: Uuid,
    credential: &Credential,
) -> Result<SealedCredential, CipherError> {
    let seal = |name: &str, token: &SecretString| {
        let column = column(credential.kind.as_str(), name);
        cipher.seal(&context(tenant, installation_id, &column), token)
    };
    let access_token = seal(ACCESS_TOKEN, &credential.access_token)?;
    let refresh_token =
        credential.refresh_token.as_ref().map(|token| seal(REFRESH_TOKEN, token)).transpose()?;
    Ok(SealedCredential {
        kind: credential.kind.as_str(),
        access_token_encrypted: access_token.text,
        refresh_token_encrypted: refresh_token.map(|sealed| sealed.text),
        token_expires_at: credential.token_expires_at,
        refresh_expires_at: credential.refresh_expires_at,
        absolute_expires_at: credential.absolute_expires_at,
        scopes: credential.scopes.clone(),
        key_id: access_token.key_id,
    })
}

/// Decrypts the access token of a row.
pub(super) fn open_access_token(
    cipher: &TokenCipher,
    tenant: &Tenant,
    installation_id: Uuid,
    kind: &str,
    sealed: &str,
) -> Result<SecretString, CipherError> {
    cipher.open(&context(tenant, installation_id, &column(kind, ACCESS_TOKEN)), sealed)
}

/// Decrypts the refresh token of a row.
pub(super) fn open_refresh_token(
    cipher: &TokenCipher,
    tenant: &Tenant,
    installation_id: Uuid,
    kind: &str,
    sealed: &str,
) -> Result<SecretString, CipherError> {
    cipher.open(&context(tenant, installation_id, &column(kind, REFRESH_TOKEN)), sealed)
}

/// Decrypts a row; none where it was wiped, or is of a kind that no version of this service wrote.
pub(super) fn open_record(
    cipher: &TokenCipher,
    tenant: &Tenant,
    installation_id: Uuid,
    row: CredentialRecord,
) -> Result<Option<Credential>, CipherError> {
    let (Some(sealed), Ok(kind)) = (&row.access_token_encrypted, row.kind.parse::<CredentialKind>()) else {
        return Ok(None);
    };
    let access_token = open_access_token(cipher, tenant, installation_id, kind.as_str(), sealed)?;
    let refresh_token = row.refresh_token_encrypted.as_deref();
    let refresh_token = refresh_token
        .map(|sealed| open_refresh_token(cipher, tenant, installation_id, kind.as_str(), sealed))
        .transpose()?;
    Ok(Some(Credential {
        kind,
        access_token,
        refresh_token,
        token_expires_at: row.token_expires_at,
        refresh_expires_at: row.refresh_expires_at,
        absolute_expires_at: row.absolute_expires_at,
        scopes: row.scopes,
    }))
}

/// The ciphertexts of a row under the key in use.
pub fn rewrap(
    cipher: &TokenCipher,
    row: &SealedRecord,
) -> Result<(Option<String>, Option<String>), CipherError> {
    let tenant = Tenant::of_record(row.org_id);
    let rewrap = |name: &str, sealed: Option<&String>| {
        let Some(text) = sealed else { return Ok(None) };
        let column = column(&row.kind, name);
        let rewrapped = cipher.rewrap(&context(&tenant, row.installation_id, &column), text)?;
        Ok(Some(rewrapped.map_or_else(|| text.clone(), |sealed| sealed.text)))
    };
    Ok((
        rewrap(ACCESS_TOKEN, row.access_token_encrypted.as_ref())?,
        rewrap(REFRESH_TOKEN, row.refresh_token_encrypted.as_ref())?,
    ))
}

/// Two kinds of one installation are two rows: their ciphertexts are not to be swapped either.
fn column(kind: &str, name: &str) -> String {
    format!("{kind}.{name}")
}

fn context<'a>(tenant: &Tenant, installation_id: Uuid, column: &'a str) -> AadContext<'a> {
    AadContext { subject: Subject::Installation(installation_id), org_id: tenant.org_id(), column }
}
