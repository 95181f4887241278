//! The claims of an access token (RFC 9068, section 2.2) as auth-api writes them.

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// The claims of a user's or a service's access token.
///
/// `sub` is the user's id (a UUID) or, for a service, its `client_id`. Times are seconds since the epoch (RFC 7519, section 2).
/// Unknown claims are ignored; a known claim given twice is refused by the deserializer.
// Written in this order: what many tokens have in common comes first, since a verifier hashes it once for all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    pub iss: String,
    /// Who may accept the token. Written as an array; a single string is accepted too (RFC 7519, section 4.1.3).
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    pub client_id: String,
    /// Space-separated (RFC 8693, section 4.2).
    #[serde(default)]
    pub scope: String,
    /// Users: the role and every role it includes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Services: the organizations that the client is bound to, `["*"]` for every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orgs: Vec<String>,
    /// Users: the one organization that the token speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<Uuid>,

    pub sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Token exchange: the service that acts for the user (RFC 8693, section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// Users: the session, which is the family of refresh tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    /// Users: when the password was last typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    pub iat: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    pub exp: i64,
    pub jti: String,
}

/// The acting party of an exchanged token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Actor {
    pub sub: String,
}

impl AccessTokenClaims {
    /// The granted scopes, one by one.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split(' ').filter(|scope| !scope.is_empty())
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(audience) => vec![audience],
        OneOrMany::Many(audiences) => audiences,
    })
}
