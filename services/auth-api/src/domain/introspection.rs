//! What a token is worth now (RFC 7662), and taking it back (RFC 7009).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::{AccessTokenClaims, Orgs, Principal, VerifiedToken, extract::Right};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Identity,
    audit::{self, Circumstances, Event},
    client::Client,
    feed,
    revocation::{Owner, Revocation},
    role::TokensIntrospect,
    token::{RefreshToken, parse_refresh_token},
};
use crate::store::{self, Executor, StoreError, family::FamilyRecord, revocation::TokenFacts};

/// Longer texts are no tokens of ours.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Who asks about a token.
pub enum Asker {
    Client(std::sync::Arc<Client>),
    Bearer(std::sync::Arc<VerifiedToken>),
}

/// A token in force.
pub enum Active {
    Access(Box<AccessTokenClaims>),
    Refresh(Box<FamilyRecord>),
}

/// Why a token is not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// RFC 7009, section 2.1: the token was issued to somebody else.
    #[error("the token was not issued to this client")]
    OtherClient,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The JOSE header, as far as it matters for our own tokens.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

impl Asker {
    /// Whether it may know about this token: with `tokens:introspect` about every one of the organizations that it is bound to, else
    /// about its own.
    fn may_see(&self, client_id: &str, subject: &str, org_id: Option<Uuid>) -> bool {
        match self {
            Self::Client(client) => {
                client.has_scope(TokensIntrospect::NAME) && org_id.is_none_or(|org_id| client.serves(org_id))
                    || client.client_id == client_id
            }
            Self::Bearer(token) => match &token.principal {
                Principal::Service(service) => {
                    let is_of_its_orgs = match &service.orgs {
                        Orgs::All => true,
                        Orgs::Only(orgs) => org_id.is_none_or(|org_id| orgs.contains(&org_id)),
                    };
                    service.scopes.iter().any(|scope| scope == TokensIntrospect::NAME) && is_of_its_orgs
                        || service.client_id == client_id
                }
                Principal::User(user) => user.user_id.to_string() == subject,
            },
        }
    }
}

/// The token, if it is in force and the asker may know. Anything else looks the same.
pub async fn introspect(
    identity: &Identity,
    asker: &Asker,
    token: &SecretString,
) -> Result<Option<Active>, StoreError> {
    if RefreshToken::is_like(token.expose_secret()) {
        let Some((family, true)) = find_family(identity, token).await? else { return Ok(None) };
        let is_seen = asker.may_see(&family.client_id, &family.user_id.to_string(), Some(family.org_id));
        return Ok(is_seen.then(|| Active::Refresh(Box::new(family))));
    }
    let Some((kid, claims)) = verify(identity, token.expose_secret()) else { return Ok(None) };
    let now = identity.clock.now();
    if now.unix_timestamp() >= claims.exp || !asker.may_see(&claims.client_id, &claims.sub, claims.org_id) {
        return Ok(None);
    }
    let is_revoked = is_revoked(&identity.db.connection().await?, &kid, &claims, now).await?;
    Ok((!is_revoked).then(|| Active::Access(Box::new(claims))))
}

/// Revokes a token of this client: an access token alone, a refresh token with its whole family. What is no token in force needs
/// nothing done.
pub async fn revoke(
    identity: &Identity,
    client: &Client,
    token: &SecretString,
    circumstances: &Circumstances,
) -> Result<(), RevokeError> {
    if RefreshToken::is_like(token.expose_secret()) {
        return revoke_family(identity, client, token, circumstances).await;
    }
    let Some((kid, claims)) = verify(identity, token.expose_secret()) else { return Ok(()) };
    if claims.client_id != client.client_id {
        return Err(RevokeError::OtherClient);
    }
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    // Before the look: of several who revoke the same token at once, the others wait, and see that it is done.
    store::feed::lock(&transaction).await?;
    let now = store::clock(&transaction).await?;
    let end = OffsetDateTime::from_unix_timestamp(claims.exp).unwrap_or(now);
    // One entry is enough; more would only make those of the same owner be replaced by one about everything.
    if end <= now || is_revoked(&transaction, &kid, &claims, now).await? {
        return Ok(());
    }
    let owner = match claims.sub.parse() {
        Ok(user_id) => Owner::User(user_id),
        Err(_) => Owner::Client(claims.client_id.clone()),
    };
    let event =
        Event::new("access_token_revoked").actor(&claims.sub).client(&*client.client_id).target(&claims.jti);
    audit::record(&transaction, event, circumstances, now).await?;
    let revocation = Revocation::token(&claims.jti, end, owner);
    Ok(feed::publish(transaction, identity, vec![revocation], Vec::new()).await?)
}

async fn is_revoked(
    db: &impl Executor,
    kid: &str,
    claims: &AccessTokenClaims,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let family = claims.sid.map(|sid| sid.to_string());
    let facts = TokenFacts {
        jti: &claims.jti,
        subject: &claims.sub,
        client_id: &claims.client_id,
        family: family.as_deref(),
        org_id: claims.org_id,
        kid,
        issued_at: OffsetDateTime::from_unix_timestamp(claims.iat).unwrap_or(now),
    };
    store::revocation::is_revoked(db, facts, now).await
}

async fn revoke_family(
    identity: &Identity,
    client: &Client,
    token: &SecretString,
    circumstances: &Circumstances,
) -> Result<(), RevokeError> {
    // Its predecessor too: the answer of a refresh may have been lost, and within the grace it still works.
    let Some((family, _)) = find_family(identity, token).await? else { return Ok(()) };
    if family.client_id != client.client_id {
        return Err(RevokeError::OtherClient);
    }
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let now = store::clock(&transaction).await?;
    if !store::family::update_revoked(&transaction, family.id, "revoked", now).await? {
        return Ok(());
    }
    let event = Event::new("refresh_token_revoked")
        .actor(family.user_id)
        .client(&*client.client_id)
        .target(family.id);
    audit::record(&transaction, event, circumstances, now).await?;
    Ok(feed::publish(transaction, identity, vec![Revocation::family(family.id, family.user_id)], Vec::new())
        .await?)
}

/// The family of a genuine refresh token, if it is neither ended nor revoked, and whether the token is its latest.
async fn find_family(
    identity: &Identity,
    token: &SecretString,
) -> Result<Option<(FamilyRecord, bool)>, StoreError> {
    let Ok(token) = parse_refresh_token(token) else { return Ok(None) };
    let connection = identity.db.connection().await?;
    let Some(family) = store::family::find(&connection, token.family_id).await? else { return Ok(None) };
    let now = identity.clock.now();
    let is_live = !family.is_revoked && now < family.expires_at && now < family.idle_expires_at;
    let is_latest = token.generation == family.generation;
    let is_genuine = token.is_genuine(&identity.secrets, &family).unwrap_or(false);
    Ok((is_live && is_genuine).then_some((family, is_latest)))
}

/// The key and the claims of an access token that we signed, whatever its age and audience.
fn verify(identity: &Identity, token: &str) -> Option<(String, AccessTokenClaims)> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != "RS256" || header.typ != "at+jwt" {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !identity.keys.load().has_signed(&header.kid, message.as_bytes(), &signature) {
        return None;
    }
    let claims: AccessTokenClaims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    (claims.iss == identity.settings.issuer).then_some((header.kid, claims))
}
