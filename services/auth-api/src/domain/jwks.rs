//! The signing keys in memory: what signs, what is published, and the finished JWKS (RFC 7517).

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::{
    AccessTokenClaims,
    keys::{Fetched, JwksSource, SourceError},
};
use futures_util::future::BoxFuture;
use josekit::{
    jwk::Jwk,
    jws::{JwsSigner, JwsVerifier, RS256, alg::rsassa::RsassaJwsSigner, alg::rsassa::RsassaJwsVerifier},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard, Notify};

use super::key_encryption::{KeyEncryptionKeys, Sealed};
use crate::store::signing_key::SigningKeyRecord;

const KEY_BITS: u32 = 2048;
/// How long this service's own verifier waits for the first keys; less than it gives a fetch.
const FIRST_LOAD: Duration = Duration::from_millis(1200);

/// The keys of this replica. Reading takes no lock; a reload replaces everything at once.
#[derive(Default)]
pub struct KeyRing {
    ring: ArcSwap<Ring>,
    /// Wakes whoever waits for the first keys.
    loaded: Notify,
    /// Reloads take turns: what was read first is never stored last.
    reloading: Mutex<()>,
}

/// One consistent view of the keys.
#[derive(Default)]
pub struct Ring {
    keys: HashMap<String, Arc<Key>>,
    signing: Option<Arc<Key>>,
    /// The JWKS, ready to be sent.
    pub jwks: Arc<Document>,
}

/// A finished answer and its entity tag.
#[derive(Default)]
pub struct Document {
    pub body: String,
    pub etag: String,
}

/// A key that is published.
struct Key {
    kid: String,
    public: Map<String, Value>,
    verifier: RsassaJwsVerifier,
    /// The private part and the finished JOSE header; only for keys that sign or will sign.
    signer: Option<(RsassaJwsSigner, String)>,
    /// False where it should sign and cannot: published all the same, since its tokens may be out.
    is_usable: bool,
}

/// A new key, not yet published.
pub struct NewKey {
    pub kid: String,
    pub public: Map<String, Value>,
    pub private: Sealed,
}

/// There is no key to sign with, or it is unusable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    #[error("there is no signing key yet")]
    None,
    #[error("the signing key {0} is unusable: {1}")]
    Unusable(String, String),
    #[error("a key cannot be made: {0}")]
    Generation(String),
}

impl KeyRing {
    /// The current view.
    pub fn load(&self) -> Arc<Ring> {
        self.ring.load_full()
    }

    /// Waits until there are keys.
    async fn until_loaded(&self) -> Arc<Ring> {
        loop {
            let notified = self.loaded.notified();
            let ring = self.load();
            if !ring.keys.is_empty() {
                return ring;
            }
            notified.await;
        }
    }

    /// The turn to read the keys from the database and take them over.
    pub async fn reload_turn(&self) -> MutexGuard<'_, ()> {
        self.reloading.lock().await
    }

    /// Takes over what the database says; true where something changed.
    pub fn reload(
        &self,
        records: &[SigningKeyRecord],
        secrets: &KeyEncryptionKeys,
    ) -> Result<bool, KeyError> {
        let old = self.ring.load();
        let active = records.iter().find(|record| record.state == "active").map(|record| record.kid.as_str());
        let is_same = records.len() == old.keys.len()
            && records.iter().all(|record| old.keys.contains_key(&record.kid))
            && old.signing.as_ref().map(|key| key.kid.as_str()) == active;
        if is_same {
            return Ok(false);
        }
        let mut keys = HashMap::new();
        for record in records {
            let key = match old.keys.get(&record.kid) {
                Some(known) => Arc::clone(known),
                None => Arc::new(Key::open(record, secrets)?),
            };
            keys.insert(record.kid.clone(), key);
        }
        let signing = active.and_then(|kid| keys.get(kid)).map(Arc::clone);
        // The newest first: whoever looks at a bounded number of keys sees those that sign and will sign.
        let newest_first = records.iter().rev();
        let published: Vec<&Map<String, Value>> =
            newest_first.filter_map(|record| keys.get(&record.kid)).map(|key| &key.public).collect();
        let jwks = Arc::new(Document::of_json(&json!({ "keys": published })));
        self.ring.store(Arc::new(Ring { keys, signing, jwks }));
        self.loaded.notify_waiters();
        Ok(true)
    }

    /// Signs an access token (RFC 9068).
    pub fn sign(&self, claims: &AccessTokenClaims) -> Result<String, KeyError> {
        let ring = self.ring.load();
        let (signer, header) = ring.signer()?;
        let unusable = |error: &dyn ToString| {
            let kid = ring.signing.as_ref().map(|key| key.kid.clone()).unwrap_or_default();
            KeyError::Unusable(kid, error.to_string())
        };
        let claims = serde_json::to_vec(claims).map_err(|error| unusable(&error))?;
        let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 350);
        token.push_str(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = signer.sign(token.as_bytes()).map_err(|error| unusable(&error))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl Ring {
    /// The ids of the published keys.
    pub fn kids(&self) -> Vec<String> {
        let mut kids: Vec<String> = self.keys.keys().cloned().collect();
        kids.sort();
        kids
    }

    /// The ids of the keys that this replica can do with whatever their state asks for.
    pub fn usable_kids(&self) -> Vec<String> {
        let mut kids = self.kids();
        kids.retain(|kid| self.keys.get(kid).is_some_and(|key| key.is_usable));
        kids
    }

    /// The key to sign with, and its finished JOSE header.
    pub fn signer(&self) -> Result<(&RsassaJwsSigner, &str), KeyError> {
        let key = self.signing.as_ref().ok_or(KeyError::None)?;
        let (signer, header) = key
            .signer
            .as_ref()
            .ok_or_else(|| KeyError::Unusable(key.kid.clone(), "its private part is not there".to_owned()))?;
        Ok((signer, header))
    }

    /// Whether the published key with this id signed the message.
    pub fn has_signed(&self, kid: &str, message: &[u8], signature: &[u8]) -> bool {
        self.keys.get(kid).is_some_and(|key| key.verifier.verify(message, signature).is_ok())
    }
}

impl Document {
    /// The document with this content.
    pub fn of_json(content: &Value) -> Self {
        let body = content.to_string();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&body)));
        Self { body, etag }
    }
}

impl Key {
    /// The key, with its private part where it is needed and can be opened.
    fn open(record: &SigningKeyRecord, secrets: &KeyEncryptionKeys) -> Result<Self, KeyError> {
        let unusable = |error: &dyn ToString| KeyError::Unusable(record.kid.clone(), error.to_string());
        let Value::Object(public) = record.public_key.clone() else {
            return Err(unusable(&"its public part is no object"));
        };
        let jwk = Jwk::from_map(public.clone()).map_err(|error| unusable(&error))?;
        let mut verifier = RS256.verifier_from_jwk(&jwk).map_err(|error| unusable(&error))?;
        verifier.remove_key_id();
        let signs = matches!(record.state.as_str(), "next" | "active");
        let signer = if signs { open_signer(record, secrets) } else { None };
        let is_usable = !signs || signer.is_some();
        Ok(Self { kid: record.kid.clone(), public, verifier, signer, is_usable })
    }
}

impl NewKey {
    /// Makes a key. It takes tenths of a second: not for a thread that serves requests.
    pub fn generate(secrets: &KeyEncryptionKeys) -> Result<Self, KeyError> {
        let failed = |error: &dyn ToString| KeyError::Generation(error.to_string());
        let pair = RS256.generate_key_pair(KEY_BITS).map_err(|error| failed(&error))?;
        let jwk = pair.to_jwk_public_key();
        let member = |name: &str| {
            jwk.parameter(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| failed(&"a member is missing"))
        };
        let (modulus, exponent) = (member("n")?, member("e")?);
        let kid = thumbprint(&modulus, &exponent);
        let public = json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": modulus, "e": exponent,
        });
        let Value::Object(public) = public else { return Err(failed(&"its public part is no object")) };
        let private = secrets.seal(&kid, &pair.to_der_private_key()).map_err(|error| failed(&error))?;
        Ok(Self { kid, public, private })
    }
}

/// The keys for this service's own verifier, without going through HTTP.
pub struct OwnKeys(pub Arc<KeyRing>);

impl JwksSource for OwnKeys {
    fn fetch(&self, _forced: bool) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            let Ok(ring) = tokio::time::timeout(FIRST_LOAD, self.0.until_loaded()).await else {
                return Err(SourceError::Unavailable("the keys are not loaded yet".to_owned()));
            };
            let keys = serde_json::from_str(&ring.jwks.body);
            keys.map(Fetched::Keys).map_err(|error| SourceError::Unusable(error.to_string()))
        })
    }
}

/// None where the private part cannot be opened: a replica that was not given the right `KEY_ENCRYPTION_KEYS` goes on with what it has.
fn open_signer(record: &SigningKeyRecord, secrets: &KeyEncryptionKeys) -> Option<(RsassaJwsSigner, String)> {
    let (bytes, key_id) = (record.private_key.clone()?, record.encryption_key_id.clone()?);
    let kid = &record.kid;
    let opened = secrets.open(kid, &Sealed { key_id, bytes });
    let private =
        opened.inspect_err(|error| tracing::error!(%kid, %error, "a private key cannot be opened")).ok()?;
    let signer = RS256.signer_from_der(private);
    let signer =
        signer.inspect_err(|error| tracing::error!(%kid, %error, "a private key is unusable")).ok()?;
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": kid }).to_string();
    Some((signer, URL_SAFE_NO_PAD.encode(header)))
}

/// RFC 7638: the hash of the required members in lexical order, without white space.
fn thumbprint(modulus: &str, exponent: &str) -> String {
    let required = format!("{{\"e\":\"{exponent}\",\"kty\":\"RSA\",\"n\":\"{modulus}\"}}");
    URL_SAFE_NO_PAD.encode(Sha256::digest(required))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn secrets() -> KeyEncryptionKeys {
        "k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().unwrap()
    }

    fn record(key: &NewKey, state: &str) -> SigningKeyRecord {
        SigningKeyRecord {
            kid: key.kid.clone(),
            state: state.to_owned(),
            public_key: Value::Object(key.public.clone()),
            private_key: Some(key.private.bytes.clone()),
            encryption_key_id: Some(key.private.key_id.clone()),
            published_at: OffsetDateTime::UNIX_EPOCH,
            served_at: None,
            activated_at: None,
            retired_at: None,
            longest_token_seconds: 0,
        }
    }

    fn claims() -> AccessTokenClaims {
        serde_json::from_value(json!({
            "iss": "http://a", "aud": ["x"], "sub": "s", "client_id": "s", "iat": 1, "exp": 2, "jti": "j",
        }))
        .unwrap()
    }

    #[test]
    fn rfc_7638_example() {
        let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        assert_eq!(thumbprint(modulus, "AQAB"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn the_active_key_signs_and_all_are_published_without_private_parts() {
        let (active, next) = (NewKey::generate(&secrets()).unwrap(), NewKey::generate(&secrets()).unwrap());
        let ring = KeyRing::default();
        assert!(matches!(ring.sign(&claims()), Err(KeyError::None)));
        assert!(ring.reload(&[record(&active, "active"), record(&next, "next")], &secrets()).unwrap());
        let token = ring.sign(&claims()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let view = ring.load();
        assert!(view.has_signed(&active.kid, message.as_bytes(), &signature));
        assert!(!view.has_signed(&next.kid, message.as_bytes(), &signature));
        let published: Value = serde_json::from_str(&view.jwks.body).unwrap();
        assert_eq!(published["keys"].as_array().unwrap().len(), 2);
        for key in published["keys"].as_array().unwrap() {
            let members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, ["kty", "use", "alg", "kid", "n", "e"]);
        }
    }

    #[test]
    fn a_reload_changes_the_tag_only_if_keys_changed() {
        let (first, second) = (NewKey::generate(&secrets()).unwrap(), NewKey::generate(&secrets()).unwrap());
        let ring = KeyRing::default();
        ring.reload(&[record(&first, "active")], &secrets()).unwrap();
        let tag = ring.load().jwks.etag.clone();
        assert!(!ring.reload(&[record(&first, "active")], &secrets()).unwrap());
        assert!(ring.reload(&[record(&first, "retiring"), record(&second, "active")], &secrets()).unwrap());
        assert_ne!(ring.load().jwks.etag, tag);
    }
}
