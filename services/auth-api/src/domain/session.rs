//! Browser sessions: a random cookie that stands for a login.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::{Principal, User, principal::Names};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Identity, role::Role};
use crate::store::{self, Executor, StoreError};

/// Starts a session for a login; the value of its cookie.
pub(super) async fn start(
    db: &impl Executor,
    family_id: Uuid,
    now: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<SecretString, StoreError> {
    let bits: [u8; 32] = rand::random();
    let cookie = SecretString::from(URL_SAFE_NO_PAD.encode(bits));
    store::session::insert(db, &digest(&cookie), family_id, now, expires_at).await?;
    Ok(cookie)
}

/// Who the cookie stands for: what its user may do now, and no scopes.
pub async fn find_principal(
    identity: &Identity,
    cookie: &SecretString,
    now: OffsetDateTime,
) -> Result<Option<Principal>, StoreError> {
    let connection = identity.db.connection().await?;
    let Some(session) = store::session::find(&connection, &digest(cookie), now).await? else {
        return Ok(None);
    };
    let role: Role = session.role.parse().map_err(|_| StoreError::Row("a role is unknown"))?;
    Ok(Some(Principal::User(User {
        user_id: session.user_id,
        org_id: session.org_id,
        app_id: session.app_id,
        session_id: Some(session.family_id),
        client_id: session.client_id,
        roles: Names::of(role.roles()),
        permissions: Names::of(role.permissions()),
        scopes: Vec::new(),
        username: Some(session.username),
        email: Some(session.email),
        auth_time: Some(session.auth_time.unix_timestamp()),
        actor: None,
    })))
}

fn digest(cookie: &SecretString) -> [u8; 32] {
    Sha256::digest(cookie.expose_secret()).into()
}
