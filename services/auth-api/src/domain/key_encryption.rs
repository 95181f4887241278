//! The keys from `KEY_ENCRYPTION_KEYS`: what private keys are encrypted with, and what refresh tokens are derived from.

use std::{fmt, str::FromStr, sync::Arc};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use sha2::Sha256;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A set of 256-bit keys by id. The first encrypts; all of them decrypt, so that the set can be rotated.
#[derive(Clone)]
pub struct KeyEncryptionKeys(Arc<[NamedKey]>);

struct NamedKey {
    id: String,
    key: [u8; KEY_BYTES],
}

/// Something encrypted, and the id of the key that opens it.
pub struct Sealed {
    pub key_id: String,
    /// The nonce, then the ciphertext and its tag.
    pub bytes: Vec<u8>,
}

/// Why the text is no key set. The text itself is a secret and never part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("it is empty")]
    Empty,
    #[error("an entry is not of the form id:base64")]
    Form,
    #[error("a key is not the base64 of 32 bytes")]
    Length,
    #[error("two keys have the same id")]
    Twice,
}

/// Why something does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("KEY_ENCRYPTION_KEYS has no key with the id {0:?}")]
    UnknownKey(String),
    #[error("the ciphertext is damaged, or belongs to something else")]
    Damaged,
}

impl FromStr for KeyEncryptionKeys {
    type Err = KeySetError;

    fn from_str(text: &str) -> Result<Self, KeySetError> {
        let mut keys: Vec<NamedKey> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (id, key) = entry.split_once(':').ok_or(KeySetError::Form)?;
            if id.is_empty() {
                return Err(KeySetError::Form);
            }
            let key = STANDARD.decode(key).map_err(|_| KeySetError::Length)?;
            let key = key.try_into().map_err(|_| KeySetError::Length)?;
            if keys.iter().any(|known| known.id == id) {
                return Err(KeySetError::Twice);
            }
            keys.push(NamedKey { id: id.to_owned(), key });
        }
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(keys.into())) }
    }
}

impl KeyEncryptionKeys {
    /// The id of the key in use.
    pub fn primary_id(&self) -> &str {
        self.0.first().map_or("", |key| key.id.as_str())
    }

    /// Encrypts with the key in use. `subject` names what the plaintext belongs to; it opens for nothing else.
    pub fn seal(&self, subject: &str, plaintext: &[u8]) -> Result<Sealed, OpenError> {
        let key_id = self.primary_id().to_owned();
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plaintext, aad: &associated_data(subject, &key_id) };
        let ciphertext =
            self.cipher(&key_id)?.encrypt(&nonce.into(), payload).map_err(|_| OpenError::Damaged)?;
        Ok(Sealed { key_id, bytes: [nonce.as_slice(), &ciphertext].concat() })
    }

    /// Decrypts what [`KeyEncryptionKeys::seal`] made for the same `subject`.
    pub fn open(&self, subject: &str, sealed: &Sealed) -> Result<Vec<u8>, OpenError> {
        let (nonce, ciphertext) =
            sealed.bytes.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Damaged)?;
        let payload = Payload { msg: ciphertext, aad: &associated_data(subject, &sealed.key_id) };
        self.cipher(&sealed.key_id)?.decrypt(&(*nonce).into(), payload).map_err(|_| OpenError::Damaged)
    }

    /// A key for one purpose, derived from the key with this id (RFC 5869).
    pub fn derive(&self, key_id: &str, purpose: &str) -> Result<[u8; KEY_BYTES], OpenError> {
        let mut derived = [0; KEY_BYTES];
        let expanded = Hkdf::<Sha256>::new(None, self.key(key_id)?).expand(purpose.as_bytes(), &mut derived);
        expanded.map(|()| derived).map_err(|_| OpenError::Damaged)
    }

    fn cipher(&self, key_id: &str) -> Result<Aes256Gcm, OpenError> {
        Ok(Aes256Gcm::new(self.key(key_id)?.into()))
    }

    fn key(&self, key_id: &str) -> Result<&[u8; KEY_BYTES], OpenError> {
        let found = self.0.iter().find(|key| key.id == key_id);
        found.map(|key| &key.key).ok_or_else(|| OpenError::UnknownKey(key_id.to_owned()))
    }
}

impl fmt::Debug for KeyEncryptionKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

/// Lengths first, so that no two pairs give the same bytes.
fn associated_data(subject: &str, key_id: &str) -> Vec<u8> {
    format!("{}:{subject}{}:{key_id}", subject.len(), key_id.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> KeyEncryptionKeys {
        text.parse().unwrap()
    }

    fn key(id: &str, byte: u8) -> String {
        format!("{id}:{}", STANDARD.encode([byte; KEY_BYTES]))
    }

    #[test]
    fn what_is_sealed_opens_for_its_subject_only() {
        let keys = keys(&key("a", 1));
        let sealed = keys.seal("kid-1", b"private").unwrap();
        assert_eq!(keys.open("kid-1", &sealed).unwrap(), b"private");
        assert_eq!(keys.open("kid-2", &sealed), Err(OpenError::Damaged));
    }

    #[test]
    fn an_old_key_still_opens_after_a_rotation() {
        let sealed = keys(&key("a", 1)).seal("s", b"x").unwrap();
        let rotated = keys(&format!("{},{}", key("b", 2), key("a", 1)));
        assert_eq!(rotated.open("s", &sealed).unwrap(), b"x");
        assert_eq!(rotated.seal("s", b"x").unwrap().key_id, "b");
        assert_eq!(keys(&key("b", 2)).open("s", &sealed), Err(OpenError::UnknownKey("a".to_owned())));
    }

    #[test]
    fn damage_is_noticed() {
        let keys = keys(&key("a", 1));
        let mut sealed = keys.seal("s", b"x").unwrap();
        sealed.bytes[NONCE_BYTES] ^= 1;
        assert_eq!(keys.open("s", &sealed), Err(OpenError::Damaged));
        sealed.bytes.truncate(3);
        assert_eq!(keys.open("s", &sealed), Err(OpenError::Damaged));
    }

    #[test]
    fn purposes_have_keys_of_their_own() {
        let keys = keys(&format!("{},{}", key("a", 1), key("b", 2)));
        let derived = |id, purpose| keys.derive(id, purpose).unwrap();
        assert_ne!(derived("a", "x"), derived("a", "y"));
        assert_ne!(derived("a", "x"), derived("b", "x"));
        assert_eq!(derived("a", "x"), derived("a", "x"));
    }

    #[test]
    fn bad_sets_are_refused() {
        for (text, error) in [
            ("", KeySetError::Empty),
            ("abc", KeySetError::Form),
            (":abc", KeySetError::Form),
            ("a:YWJj", KeySetError::Length),
        ] {
            assert_eq!(text.parse::<KeyEncryptionKeys>().unwrap_err(), error);
        }
        assert_eq!(
            format!("{0},{0}", key("a", 1)).parse::<KeyEncryptionKeys>().unwrap_err(),
            KeySetError::Twice
        );
    }
}
