//! Envelope encryption of tokens and verifiers: AES-256-GCM with a data key per value, wrapped by a key of `TOKEN_ENCRYPTION_KEYS`.
//!
//! Written down as `version|key id|wrapped data key|nonce|ciphertext`, the last three in base64url. The associated data of both layers
//! are the installation (or state), organization, column and key id, so that a ciphertext opens where it was written and nowhere else.

use std::{fmt, str::FromStr, sync::Arc};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

const VERSION: &str = "v1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A set of 256-bit keys by id. The first encrypts; all of them decrypt, so that the set can be rotated.
#[derive(Clone)]
pub struct TokenEncryptionKeys(Arc<[NamedKey]>);

struct NamedKey {
    id: String,
    key: [u8; KEY_BYTES],
}

/// Encrypts and decrypts tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenCipher {
    keys: TokenEncryptionKeys,
}

/// Where a value stands; it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct AadContext<'a> {
    pub subject: Subject<'a>,
    pub org_id: Uuid,
    /// The column, with the kind of credential before it where a table has several rows per installation.
    pub column: &'a str,
}

/// What a value belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    Installation(Uuid),
    /// The digest of a state.
    State(&'a str),
}

/// Something encrypted, as it is stored, and the id of the key that opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub text: String,
    pub key_id: String,
}

/// Why the text is no key set. The text itself is a secret and never part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("it is empty")]
    Empty,
    #[error(
        "an entry is not of the form id:base64, with an id of letters, digits, dots, dashes and underscores"
    )]
    Form,
    #[error("a key is not the base64 of 32 bytes")]
    Length,
    #[error("two keys have the same id")]
    Twice,
}

/// Why something does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// An operator has to put the key back, or the installation has to be connected anew.
    #[error("TOKEN_ENCRYPTION_KEYS has no key with the id {0:?}")]
    UnknownKey(String),
    #[error("a ciphertext is damaged, or stands where it was not written")]
    Damaged,
}

impl FromStr for TokenEncryptionKeys {
    type Err = KeySetError;

    fn from_str(text: &str) -> Result<Self, KeySetError> {
        let mut keys: Vec<NamedKey> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (id, key) = entry.split_once(':').ok_or(KeySetError::Form)?;
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            {
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

impl TokenEncryptionKeys {
    /// The id of the key in use.
    pub fn primary_id(&self) -> &str {
        self.0.first().map_or("", |key| key.id.as_str())
    }

    fn cipher(&self, key_id: &str) -> Result<Aes256Gcm, CipherError> {
        let found = self.0.iter().find(|key| key.id == key_id);
        let key = found.ok_or_else(|| CipherError::UnknownKey(key_id.to_owned()))?;
        Ok(Aes256Gcm::new((&key.key).into()))
    }
}

impl fmt::Debug for TokenEncryptionKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl TokenCipher {
    /// A cipher with these keys.
    pub fn new(keys: TokenEncryptionKeys) -> Self {
        Self { keys }
    }

    /// The id of the key that encrypts.
    pub fn primary_id(&self) -> &str {
        self.keys.primary_id()
    }

    /// Encrypts under a fresh data key.
    pub fn seal(&self, context: &AadContext<'_>, plain: &SecretString) -> Result<Sealed, CipherError> {
        let key_id = self.primary_id();
        let aad = context.associated_data(key_id);
        let data_key: [u8; KEY_BYTES] = rand::random();
        let wrapped = encrypt(&self.keys.cipher(key_id)?, &aad, &data_key)?;
        let sealed = encrypt(&Aes256Gcm::new((&data_key).into()), &aad, plain.expose_secret().as_bytes())?;
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or(CipherError::Damaged)?;
        let [wrapped, nonce, ciphertext] =
            [&wrapped, nonce, ciphertext].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let text = format!("{VERSION}|{key_id}|{wrapped}|{nonce}|{ciphertext}");
        Ok(Sealed { text, key_id: key_id.to_owned() })
    }

    /// Decrypts what [`TokenCipher::seal`] made for the same place.
    pub fn open(&self, context: &AadContext<'_>, sealed: &str) -> Result<SecretString, CipherError> {
        let mut parts = sealed.split('|');
        let mut part = || parts.next().ok_or(CipherError::Damaged);
        let (version, key_id) = (part()?, part()?);
        let [wrapped, nonce, ciphertext] = [part()?, part()?, part()?];
        if version != VERSION || parts.next().is_some() {
            return Err(CipherError::Damaged);
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| CipherError::Damaged);
        let aad = context.associated_data(key_id);
        let data_key = decrypt(&self.keys.cipher(key_id)?, &aad, &decode(wrapped)?)?;
        let data_key = <[u8; KEY_BYTES]>::try_from(data_key).map_err(|_| CipherError::Damaged)?;
        let sealed = [decode(nonce)?, decode(ciphertext)?].concat();
        let plain = decrypt(&Aes256Gcm::new((&data_key).into()), &aad, &sealed)?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| CipherError::Damaged)
    }

    /// The same plaintext under the key in use; `None` where it is under it already.
    pub fn rewrap(&self, context: &AadContext<'_>, sealed: &str) -> Result<Option<Sealed>, CipherError> {
        if sealed.split('|').nth(1) == Some(self.primary_id()) {
            return Ok(None);
        }
        self.seal(context, &self.open(context, sealed)?).map(Some)
    }
}

impl AadContext<'_> {
    /// Lengths first, so that no two places give the same bytes.
    fn associated_data(&self, key_id: &str) -> Vec<u8> {
        let (kind, subject) = match self.subject {
            Subject::Installation(id) => ("installation", id.to_string()),
            Subject::State(digest) => ("state", digest.to_owned()),
        };
        let org_id = self.org_id.to_string();
        let mut data = Vec::new();
        for part in [kind, &subject, &org_id, self.column, key_id] {
            data.extend_from_slice(format!("{}:{part}", part.len()).as_bytes());
        }
        data
    }
}

/// The nonce, then the ciphertext and its tag.
fn encrypt(cipher: &Aes256Gcm, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, CipherError> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let ciphertext =
        cipher.encrypt(&nonce.into(), Payload { msg: plain, aad }).map_err(|_| CipherError::Damaged)?;
    Ok([nonce.as_slice(), &ciphertext].concat())
}

fn decrypt(cipher: &Aes256Gcm, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CipherError::Damaged)?;
    cipher.decrypt(&(*nonce).into(), Payload { msg: ciphertext, aad }).map_err(|_| CipherError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORG: Uuid = Uuid::from_u128(1);
    const HERE: AadContext<'_> = AadContext {
        subject: Subject::Installation(Uuid::from_u128(7)),
        org_id: ORG,
        column: "user.access_token_encrypted",
    };

    fn key(id: &str, byte: u8) -> String {
        format!("{id}:{}", STANDARD.encode([byte; KEY_BYTES]))
    }

    fn cipher(text: &str) -> TokenCipher {
        TokenCipher::new(text.parse().unwrap())
    }

    fn seal(cipher: &TokenCipher, plain: &str) -> Sealed {
        cipher.seal(&HERE, &SecretString::from(plain)).unwrap()
    }

    #[test]
    fn s18_the_form_is_version_key_wrapped_key_nonce_ciphertext_and_never_repeats() {
        let cipher = cipher(&key("a", 1));
        let (one, two) = (seal(&cipher, "secret"), seal(&cipher, "secret"));
        assert!(one.text.starts_with("v1|a|"), "{}", one.text);
        assert_eq!(one.text.split('|').count(), 5);
        for part in 2..5 {
            assert_ne!(one.text.split('|').nth(part), two.text.split('|').nth(part));
        }
        assert_eq!(cipher.open(&HERE, &one.text).unwrap().expose_secret(), "secret");
    }

    #[test]
    fn s19_a_ciphertext_opens_in_its_row_column_and_organization_only() {
        let cipher = cipher(&key("a", 1));
        let sealed = seal(&cipher, "secret").text;
        let elsewhere = [
            AadContext { subject: Subject::Installation(Uuid::from_u128(8)), ..HERE },
            AadContext { subject: Subject::State("00000000-0000-0000-0000-000000000007"), ..HERE },
            AadContext { org_id: Uuid::from_u128(2), ..HERE },
            AadContext { column: "user.refresh_token_encrypted", ..HERE },
        ];
        for context in elsewhere {
            assert_eq!(cipher.open(&context, &sealed).unwrap_err(), CipherError::Damaged, "{context:?}");
        }
    }

    #[test]
    fn s20_an_old_key_opens_the_new_one_seals_and_an_unknown_one_is_named() {
        let old = cipher(&key("a", 1));
        let sealed = seal(&old, "secret");
        let both = cipher(&format!("{},{}", key("b", 2), key("a", 1)));
        assert_eq!(both.open(&HERE, &sealed.text).unwrap().expose_secret(), "secret");
        let rewrapped = both.rewrap(&HERE, &sealed.text).unwrap().unwrap();
        assert_eq!(rewrapped.key_id, "b");
        assert_eq!(both.rewrap(&HERE, &rewrapped.text).unwrap(), None);
        let new = cipher(&key("b", 2));
        assert_eq!(new.open(&HERE, &rewrapped.text).unwrap().expose_secret(), "secret");
        assert_eq!(new.open(&HERE, &sealed.text).unwrap_err(), CipherError::UnknownKey("a".to_owned()));
        // A key of another value under a known id is no way in either.
        assert_eq!(cipher(&key("a", 9)).open(&HERE, &sealed.text).unwrap_err(), CipherError::Damaged);
    }

    #[test]
    fn s21_bad_key_sets_are_refused() {
        for (text, error) in [
            ("", KeySetError::Empty),
            ("abc", KeySetError::Form),
            (":abc", KeySetError::Form),
            ("a|b:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", KeySetError::Form),
            ("a:YWJj", KeySetError::Length),
        ] {
            assert_eq!(text.parse::<TokenEncryptionKeys>().unwrap_err(), error, "{text}");
        }
        let twice = format!("{0},{0}", key("a", 1));
        assert_eq!(twice.parse::<TokenEncryptionKeys>().unwrap_err(), KeySetError::Twice);
        assert_eq!(format!("{:?}", cipher(&key("a", 1))), "TokenCipher { keys: [\"a\"] }");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_any_changed_letter_does_not(plain in ".{0,600}", at in 0_usize..10_000) {
            let cipher = cipher(&key("a", 1));
            let sealed = seal(&cipher, &plain).text;
            let opened = cipher.open(&HERE, &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), &plain);
            let mut letters = sealed.into_bytes();
            let at = at % letters.len();
            letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(letters).unwrap();
            prop_assert!(cipher.open(&HERE, &changed).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            prop_assert!(cipher(&key("a", 1)).open(&HERE, &text).is_err());
        }
    }
}
