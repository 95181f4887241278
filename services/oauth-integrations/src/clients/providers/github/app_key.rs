//! The key of a GitHub App, and the JWT that it signs (RS256).

use josekit::{
    jws::{JwsHeader, RS256, alg::rsassa::RsassaJwsSigner},
    jwt::{self, JwtPayload},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use time::OffsetDateTime;

use super::GithubApp;
use crate::{clients::providers::ConnectError, domain::provider::ProviderError};

/// GitHub's clock may be behind by so much.
const BACKDATED_SECONDS: i64 = 60;
/// At most 600 counts at GitHub; hosts whose clock runs ahead need room.
const LIFE_SECONDS: i64 = 480;

/// Signs as the app.
pub(super) struct AppKey {
    app_id: String,
    signer: RsassaJwsSigner,
}

impl AppKey {
    pub(super) fn new(app: &GithubApp) -> Result<Self, ConnectError> {
        let signer = RS256
            .signer_from_pem(app.private_key_pem.expose_secret())
            .map_err(|_| ConnectError::PrivateKey)?;
        Ok(Self { app_id: app.id.clone(), signer })
    }

    /// A JWT for calls as the app.
    pub(super) fn sign(&self, now: OffsetDateTime) -> Result<SecretString, ProviderError> {
        let now = now.unix_timestamp();
        let mut payload = JwtPayload::new();
        let claims = [
            ("iss", json!(self.app_id)),
            ("iat", json!(now - BACKDATED_SECONDS)),
            ("exp", json!(now + LIFE_SECONDS)),
        ];
        for (name, value) in claims {
            payload.set_claim(name, Some(value)).map_err(|_| unusable())?;
        }
        let mut header = JwsHeader::new();
        header.set_token_type("JWT");
        let signed = jwt::encode_with_signer(&payload, &header, &self.signer).map_err(|_| unusable())?;
        Ok(SecretString::from(signed))
    }
}

fn unusable() -> ProviderError {
    ProviderError::misconfigured("private_key")
}

#[cfg(test)]
mod tests {
    use josekit::jws::alg::rsassa::RsassaJwsAlgorithm;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_jwt_is_backdated_and_lives_less_than_ten_minutes() {
        let pair = RsassaJwsAlgorithm::Rs256.generate_key_pair(2048).unwrap();
        let pem = String::from_utf8(pair.to_pem_private_key()).unwrap();
        let app = GithubApp { id: "12345".to_owned(), slug: "app".to_owned(), private_key_pem: pem.into() };
        let now = datetime!(2026-11-21 12:00 UTC);
        let token = AppKey::new(&app).unwrap().sign(now).unwrap();

        let verifier = RS256.verifier_from_pem(pair.to_pem_public_key()).unwrap();
        let (payload, header) = jwt::decode_with_verifier(token.expose_secret(), &verifier).unwrap();
        assert_eq!(header.claim("alg"), Some(&json!("RS256")));
        assert_eq!(payload.claim("iss"), Some(&json!("12345")));
        assert_eq!(payload.claim("iat"), Some(&json!(now.unix_timestamp() - 60)));
        let exp = payload.claim("exp").and_then(serde_json::Value::as_i64).unwrap();
        assert!(exp - now.unix_timestamp() < 600);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let app = GithubApp { id: "1".to_owned(), slug: "app".to_owned(), private_key_pem: "no key".into() };
        assert!(matches!(AppKey::new(&app), Err(ConnectError::PrivateKey)));
    }
}
