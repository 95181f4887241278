//! Access tokens taken apart, and checked against the published keys.

use auth_api::domain::Identity;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::AccessTokenClaims;
use josekit::{jwk::Jwk, jws::RS256};
use serde_json::Value;

/// The JOSE header.
#[track_caller]
pub fn header(token: &str) -> Value {
    part(token, 0)
}

/// The claims.
#[track_caller]
pub fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The id of the key that signed it.
#[track_caller]
pub fn kid(token: &str) -> String {
    header(token)["kid"].as_str().expect("a kid").to_owned()
}

/// The token with other claims, signed by the service's own key.
pub fn resign(identity: &Identity, token: &str, change: impl FnOnce(&mut AccessTokenClaims)) -> String {
    let mut claims = serde_json::from_value(claims(token)).expect("claims");
    change(&mut claims);
    identity.keys.sign(&claims).expect("a token")
}

/// Whether a key of the set with the token's `kid` verifies it.
pub fn is_signed_by(token: &str, jwks: &Value) -> bool {
    let kid = kid(token);
    let keys = jwks["keys"].as_array().expect("a set of keys");
    let Some(Value::Object(key)) = keys.iter().find(|key| key["kid"] == kid.as_str()) else { return false };
    let verifier = RS256.verifier_from_jwk(&Jwk::from_map(key.clone()).expect("a JWK")).expect("an RSA key");
    josekit::jws::deserialize_compact(token, &verifier).is_ok()
}

/// The token with another signature of the same form.
pub fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a token");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}

#[track_caller]
fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}
