//! What is put into tokens: access tokens (RFC 9068) for users and services, and refresh tokens.

use std::{str::FromStr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::AccessTokenClaims;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Identity,
    client::Client,
    jwks::KeyError,
    key_encryption::{KeyEncryptionKeys, OpenError},
    role::Role,
};
use crate::store::family::FamilyRecord;

/// The client and scope of a login.
pub const FIRST_PARTY: &str = "first-party";
pub const LOGIN_SCOPE: &str = "openid profile email";
/// The services that a browser calls.
pub const USER_AUDIENCES: [&str; 4] = ["auth-api", "chat-api", "mozaiks-runtime", "oauth-integrations"];

const REFRESH_TOKEN_PREFIX: &str = "art_";
const REFRESH_TOKEN_PURPOSE: &str = "refresh token";

/// An access token and what its answer says about it.
#[derive(Clone)]
pub struct AccessToken {
    pub token: SecretString,
    pub expires_in: Duration,
    pub scope: String,
}

/// A user as tokens and answers describe it.
#[derive(Clone, Debug)]
pub struct TokenUser {
    pub id: Uuid,
    pub email: String,
    pub username: String,
    pub org_id: Uuid,
    pub app_id: Option<Uuid>,
    pub role: Role,
}

/// A user's access token in the making.
pub struct UserGrant<'a> {
    pub user: &'a TokenUser,
    pub family: &'a FamilyRecord,
    pub scope: &'a str,
    pub audiences: Vec<String>,
    pub now: OffsetDateTime,
}

/// Signs a user's access token.
pub fn sign_for_user(identity: &Identity, grant: UserGrant<'_>) -> Result<AccessToken, KeyError> {
    let UserGrant { user, family, scope, audiences, now } = grant;
    let mut claims = base_claims(identity, user.id.to_string(), &family.client_id, scope, audiences, now);
    claims.org_id = Some(user.org_id);
    claims.app_id = user.app_id;
    claims.sid = Some(family.id);
    claims.roles = user.role.roles();
    claims.permissions = user.role.permissions();
    claims.username = Some(user.username.clone());
    claims.email = Some(user.email.clone());
    claims.auth_time = Some(family.auth_time.unix_timestamp());
    sign(identity, &claims)
}

/// Signs a service's access token.
pub fn sign_for_client(
    identity: &Identity,
    client: &Client,
    scope: &str,
    audiences: Vec<String>,
    now: OffsetDateTime,
) -> Result<AccessToken, KeyError> {
    let client_id = &client.client_id;
    let mut claims = base_claims(identity, client_id.clone(), client_id, scope, audiences, now);
    claims.orgs.clone_from(&client.orgs_claim);
    sign(identity, &claims)
}

fn base_claims(
    identity: &Identity,
    subject: String,
    client_id: &str,
    scope: &str,
    audiences: Vec<String>,
    now: OffsetDateTime,
) -> AccessTokenClaims {
    let now = now.unix_timestamp();
    AccessTokenClaims {
        iss: identity.settings.issuer.clone(),
        aud: audiences,
        sub: subject,
        client_id: client_id.to_owned(),
        iat: now,
        nbf: Some(now),
        exp: now.saturating_add_unsigned(identity.settings.token_life().as_secs()),
        jti: Uuid::now_v7().to_string(),
        scope: scope.to_owned(),
        org_id: None,
        app_id: None,
        sid: None,
        roles: Vec::new(),
        permissions: Vec::new(),
        username: None,
        email: None,
        auth_time: None,
        act: None,
        orgs: Vec::new(),
    }
}

fn sign(identity: &Identity, claims: &AccessTokenClaims) -> Result<AccessToken, KeyError> {
    let token = identity.keys.sign(claims)?;
    Ok(AccessToken {
        token: SecretString::from(token),
        expires_in: Duration::from_secs((claims.exp - claims.iat).unsigned_abs()),
        scope: claims.scope.clone(),
    })
}

/// A refresh token as it was presented: `art_<family>.<generation>.<mac>`.
///
/// The mac is derived from the family's row, so nothing that could be replayed is stored, and the same successor can be given
/// out again to a caller who lost the answer.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    pub family_id: Uuid,
    pub generation: i64,
    mac: Vec<u8>,
}

/// The text is no refresh token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no refresh token")]
pub struct InvalidRefreshToken;

impl RefreshToken {
    /// Whether the text looks like a refresh token.
    pub fn is_like(text: &str) -> bool {
        text.starts_with(REFRESH_TOKEN_PREFIX)
    }

    /// The refresh token of a generation of a family.
    pub fn issue(
        secrets: &KeyEncryptionKeys,
        family: &FamilyRecord,
        generation: i64,
    ) -> Result<SecretString, OpenError> {
        let mac = mac(secrets, family, generation)?.finalize().into_bytes();
        let family_id = family.id.simple();
        Ok(format!("{REFRESH_TOKEN_PREFIX}{family_id}.{generation}.{}", URL_SAFE_NO_PAD.encode(mac)).into())
    }

    /// Whether we issued it for this family. Compares in constant time.
    pub fn is_genuine(&self, secrets: &KeyEncryptionKeys, family: &FamilyRecord) -> Result<bool, OpenError> {
        Ok(mac(secrets, family, self.generation)?.verify_slice(&self.mac).is_ok())
    }
}

impl FromStr for RefreshToken {
    type Err = InvalidRefreshToken;

    fn from_str(text: &str) -> Result<Self, InvalidRefreshToken> {
        let text = text.strip_prefix(REFRESH_TOKEN_PREFIX).ok_or(InvalidRefreshToken)?;
        let mut parts = text.split('.');
        let (Some(family_id), Some(generation), Some(mac), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidRefreshToken);
        };
        Ok(Self {
            family_id: Uuid::try_parse(family_id).map_err(|_| InvalidRefreshToken)?,
            generation: generation.parse().map_err(|_| InvalidRefreshToken)?,
            mac: URL_SAFE_NO_PAD.decode(mac).map_err(|_| InvalidRefreshToken)?,
        })
    }
}

fn mac(
    secrets: &KeyEncryptionKeys,
    family: &FamilyRecord,
    generation: i64,
) -> Result<Hmac<Sha256>, OpenError> {
    let key = secrets.derive(&family.key_id, REFRESH_TOKEN_PURPOSE)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| OpenError::Damaged)?;
    // Every part has a fixed length.
    mac.update(family.id.as_bytes());
    mac.update(&generation.to_be_bytes());
    mac.update(&family.nonce);
    Ok(mac)
}

/// Parses a refresh token that is kept as a secret.
pub fn parse_refresh_token(token: &SecretString) -> Result<RefreshToken, InvalidRefreshToken> {
    token.expose_secret().parse()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets() -> KeyEncryptionKeys {
        "k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().unwrap()
    }

    fn family(nonce: u8) -> FamilyRecord {
        let now = OffsetDateTime::UNIX_EPOCH;
        FamilyRecord {
            id: Uuid::from_u128(7),
            user_id: Uuid::nil(),
            org_id: Uuid::nil(),
            app_id: None,
            client_id: FIRST_PARTY.to_owned(),
            scope: LOGIN_SCOPE.to_owned(),
            key_id: "k".to_owned(),
            nonce: vec![nonce; 32],
            generation: 1,
            rotated_at: None,
            auth_time: now,
            idle_expires_at: now,
            expires_at: now,
            created_at: now,
            is_revoked: false,
        }
    }

    fn issue(generation: i64) -> SecretString {
        RefreshToken::issue(&secrets(), &family(1), generation).unwrap()
    }

    #[test]
    fn a_token_is_genuine_for_its_family_and_generation_only() {
        let token = parse_refresh_token(&issue(3)).unwrap();
        assert_eq!((token.family_id, token.generation), (Uuid::from_u128(7), 3));
        assert!(token.is_genuine(&secrets(), &family(1)).unwrap());
        assert!(!token.is_genuine(&secrets(), &family(2)).unwrap());
        let forged = RefreshToken { generation: 4, ..token };
        assert!(!forged.is_genuine(&secrets(), &family(1)).unwrap());
    }

    #[test]
    fn the_same_successor_is_made_again() {
        assert_eq!(issue(2).expose_secret(), issue(2).expose_secret());
        assert_ne!(issue(2).expose_secret(), issue(3).expose_secret());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = text.parse::<RefreshToken>();
            let _ = format!("art_{text}").parse::<RefreshToken>();
        }

        #[test]
        fn a_changed_token_is_not_genuine(position in 0_usize..80, replacement in "[A-Za-z0-9._-]") {
            let token = issue(5).expose_secret().to_owned();
            let mut changed = token.clone();
            changed.replace_range(position..=position, &replacement);
            if changed != token && let Ok(parsed) = changed.parse::<RefreshToken>() {
                let same_family = parsed.family_id == Uuid::from_u128(7);
                prop_assert!(!(same_family && parsed.is_genuine(&secrets(), &family(1)).unwrap()));
            }
        }
    }
}
