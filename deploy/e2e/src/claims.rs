//! What a token says about itself, read without verifying: for looking at, never for deciding.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// The JOSE header and the claims of a compact JWS.
pub struct Token {
    pub header: Value,
    pub claims: Value,
}

/// Takes a token apart.
pub fn decode(token: &str) -> Result<Token> {
    let mut parts = token.split('.').map(part);
    let mut next = || parts.next().context("the token has too few parts");
    Ok(Token { header: next()??, claims: next()?? })
}

impl Token {
    /// A claim that is a number.
    pub fn number(&self, claim: &str) -> Result<i64> {
        self.claims[claim]
            .as_i64()
            .with_context(|| format!("the token has no number {claim}: {}", self.claims))
    }

    /// Whether a claim that is a list of texts, or one text, has this one.
    pub fn has(&self, claim: &str, value: &str) -> bool {
        match &self.claims[claim] {
            Value::Array(items) => items.iter().any(|item| item == value),
            Value::String(text) => text.split(' ').any(|item| item == value),
            _ => false,
        }
    }
}

/// The token with another claim set, and the old signature: what a forger would send.
pub fn forge(token: &str, claim: &str, value: Value) -> Result<String> {
    let mut decoded = decode(token)?;
    let mut parts = token.split('.');
    let header = parts.next().context("no header")?;
    let signature = parts.nth(1).context("no signature")?;
    if let Some(claims) = decoded.claims.as_object_mut() {
        claims.insert(claim.to_owned(), value);
    }
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&decoded.claims)?);
    Ok(format!("{header}.{claims}.{signature}"))
}

fn part(text: &str) -> Result<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(text).context("a part of the token is no base64url")?;
    serde_json::from_slice(&bytes).context("a part of the token is no JSON")
}

#[cfg(test)]
mod tests {
    use super::{decode, forge};

    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIiwiYXVkIjpbIngiLCJ5Il0sInNjb3BlIjoicCBxIn0.c2ln";

    #[test]
    fn a_token_is_read() {
        let token = decode(TOKEN).unwrap();
        assert_eq!(token.header["alg"], "RS256");
        assert!(token.has("aud", "y") && token.has("scope", "q") && token.has("sub", "a"));
        assert!(!token.has("aud", "z"));
        assert!(token.number("exp").is_err());
    }

    #[test]
    fn a_forged_token_keeps_the_signature() {
        let forged = forge(TOKEN, "sub", "b".into()).unwrap();
        assert_eq!(forged.split('.').nth(2), Some("c2ln"));
        assert_eq!(decode(&forged).unwrap().claims["sub"], "b");
    }
}
