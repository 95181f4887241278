//! The three parts of an access token, decoded but not believed yet.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::{claims::AccessTokenClaims, error::AuthError};

/// A longer token is refused unread.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A compact JWS (RFC 7515, section 7.1) whose header asks for nothing but RS256.
pub(crate) struct Unverified<'a> {
    pub(crate) kid: String,
    pub(crate) claims: AccessTokenClaims,
    pub(crate) signing_input: &'a str,
    pub(crate) signature: Vec<u8>,
}

/// The JOSE header, as far as it matters. `jku`, `jwk`, `x5u` and the like are never looked at.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    typ: Option<Cow<'a, str>>,
    #[serde(default, rename = "crit", deserialize_with = "present")]
    has_crit: bool,
}

impl<'a> Unverified<'a> {
    /// Splits and decodes a token, and refuses at once what no signature could mend.
    pub(crate) fn decode(token: &'a str) -> Result<Self, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::InvalidToken("oversize"));
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, payload) = signing_input.split_once('.').ok_or(MALFORMED)?;

        let header = object(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| MALFORMED)?;
        if header.alg != "RS256" {
            return Err(AuthError::InvalidToken("algorithm"));
        }
        if header.has_crit {
            return Err(AuthError::InvalidToken("critical_header"));
        }
        if !header.typ.as_deref().is_some_and(is_access_token_type) {
            return Err(AuthError::InvalidToken("type"));
        }
        let kid =
            header.kid.filter(|kid| !kid.is_empty()).ok_or(AuthError::InvalidToken("no_kid"))?.into_owned();
        let claims =
            serde_json::from_slice(&object(payload)?).map_err(|_| AuthError::InvalidToken("claims"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
        Ok(Self { kid, claims, signing_input, signature })
    }
}

const MALFORMED: AuthError = AuthError::InvalidToken("malformed");

/// A part that holds a JSON object. serde would take an array for a struct just as well.
fn object(part: &str) -> Result<Vec<u8>, AuthError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)?;
    if json.trim_ascii_start().starts_with(b"{") { Ok(json) } else { Err(MALFORMED) }
}

/// A member that is there, whatever its value: `null` too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// RFC 9068, section 2.1: `at+jwt`, with or without the prefix, in any case.
fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}
