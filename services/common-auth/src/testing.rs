//! A token issuer for tests, with real RSA keys: what auth-api does, without auth-api.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::{Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::{
    jwk::alg::rsa::RsaKeyPair,
    jws::{JwsSigner, RS256, alg::rsassa::RsassaJwsSigner},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::verifier::unix_now;

/// Signs tokens with the newest of its keys and publishes all of them.
pub struct TestIssuer {
    issuer: String,
    keys: Mutex<Vec<TestKey>>,
}

/// One signing key.
#[derive(Clone)]
struct TestKey {
    kid: String,
    signer: RsassaJwsSigner,
    public: Map<String, Value>,
    public_pem: Vec<u8>,
}

/// The claims of a token in the making.
#[must_use]
pub struct TestToken<'a> {
    issuer: &'a TestIssuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl TestKey {
    fn generate() -> Self {
        let pair = RS256.generate_key_pair(2048).expect("an RSA key");
        let kid = Uuid::now_v7().to_string();
        let mut signer = RS256.signer_from_pem(pair.to_pem_private_key()).expect("a signer");
        signer.set_key_id(&kid);
        let mut public = pair.to_jwk_public_key();
        public.set_key_id(&kid);
        public.set_key_use("sig");
        public.set_algorithm("RS256");
        Self { kid, signer, public: public.into(), public_pem: pem(&pair) }
    }
}

fn pem(pair: &RsaKeyPair) -> Vec<u8> {
    pair.to_pem_public_key()
}

#[expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]
impl TestIssuer {
    /// An issuer with one key.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), keys: Mutex::new(vec![TestKey::generate()]) }
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The `kid` that signs now.
    pub fn kid(&self) -> String {
        self.newest().kid
    }

    /// The public key that signs now, as PEM: what a confusion of algorithms would use as a secret.
    pub fn public_pem(&self) -> Vec<u8> {
        self.newest().public_pem
    }

    /// Adds a key, which signs from now on; the old ones stay published.
    pub fn rotate(&self) {
        self.lock().push(TestKey::generate());
    }

    /// Withdraws every key but the newest.
    pub fn forget_old_keys(&self) {
        let mut keys = self.lock();
        let newest = keys.len().saturating_sub(1);
        keys.drain(..newest);
    }

    /// The published keys.
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.lock().iter().map(|key| &key.public).collect::<Vec<_>>() })
    }

    /// A user's token with no permissions yet, good for an hour.
    pub fn user(&self, user_id: Uuid, org_id: Uuid) -> TestToken<'_> {
        self.token(&user_id.to_string(), "first-party")
            .claim("org_id", json!(org_id))
            .claim("sid", json!(Uuid::now_v7()))
            .claim("roles", json!(["guest", "member"]))
            .claim("username", json!("tester"))
            .claim("email", json!("tester@example.com"))
            .claim("scope", json!("openid profile email"))
    }

    /// A service's token, bound to every organization, good for an hour.
    pub fn service(&self, client_id: &str, scope: &str) -> TestToken<'_> {
        self.token(client_id, client_id).claim("scope", json!(scope)).claim("orgs", json!(["*"]))
    }

    /// A token with these parts, signed with the newest key.
    pub fn sign(&self, header: &Map<String, Value>, claims: &Map<String, Value>) -> String {
        self.sign_raw(
            &serde_json::to_string(header).expect("JSON"),
            &serde_json::to_string(claims).expect("JSON"),
        )
    }

    /// A token of these JSON texts, whatever they say, signed with the newest key.
    pub fn sign_raw(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.newest().signer.sign(input.as_bytes()).expect("a signature");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, subject: &str, client_id: &str) -> TestToken<'_> {
        let now = unix_now();
        let claims = json!({
            "iss": self.issuer, "aud": ["auth-api", "chat-api"], "sub": subject, "client_id": client_id,
            "iat": now, "nbf": now, "exp": now + 3600, "jti": Uuid::now_v7(), "scope": "",
        });
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": self.kid() });
        TestToken { issuer: self, header: object(header), claims: object(claims) }
    }

    fn newest(&self) -> TestKey {
        self.lock().last().expect("a key").clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TestKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TestToken<'_> {
    /// Sets a claim; `null` takes it away.
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    /// Sets a member of the JOSE header; `null` takes it away.
    pub fn header(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    /// The permissions of a user.
    pub fn permissions(self, permissions: &[&str]) -> Self {
        self.claim("permissions", json!(permissions))
    }

    /// Issued `age` seconds ago, good for `lifetime` seconds from then.
    pub fn issued(self, age: i64, lifetime: i64) -> Self {
        let at = unix_now() - age;
        self.claim("iat", json!(at)).claim("nbf", json!(at)).claim("exp", json!(at + lifetime))
    }

    /// A claim as it will be signed.
    pub fn get(&self, name: &str) -> &Value {
        self.claims.get(name).unwrap_or(&Value::Null)
    }

    /// The finished token.
    pub fn sign(&self) -> String {
        self.issuer.sign(&self.header, &self.claims)
    }
}

fn set(object: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.to_owned(), value);
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
