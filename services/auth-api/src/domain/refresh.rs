//! Refreshing: a new access token, a new refresh token, and the end of the whole family when an old one comes again.

use secrecy::SecretString;
use time::OffsetDateTime;

use super::{
    Identity,
    audit::{self, Circumstances, Event},
    feed,
    grant::{Wishes, granted_audiences, granted_scope},
    jwks::KeyError,
    login::{lock_user, pause_before_issue},
    revocation::Revocation,
    token::{self, AccessToken, RefreshToken, TokenUser, USER_AUDIENCES, UserGrant, parse_refresh_token},
};
use crate::store::{self, StoreError, Transaction, family::FamilyRecord};

/// How often a refresh waits for the second after a revocation.
const MOST_WAITS: usize = 3;

/// What a refresh brings.
pub struct Refreshed {
    pub access_token: AccessToken,
    pub refresh_token: SecretString,
    pub user: TokenUser,
}

/// Why a refresh is refused.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Unknown, malformed, expired, revoked, used before or another client's: it looks the same from outside.
    #[error("the refresh token is not valid")]
    Invalid,
    #[error("the scope is more than was granted")]
    InvalidScope,
    #[error("the requested resource was not granted")]
    InvalidTarget,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a presented token is, by its family's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The one that counts.
    Current,
    /// The one before it, used so lately that its answer may have been lost: the same successor is given again.
    Retried,
    /// Used before: somebody else has it too.
    Reused,
    Dead,
}

enum Attempt {
    Done(Box<Refreshed>),
    TooEarly(std::time::Duration),
    /// Another request with the same token was faster: the row is read again.
    Overtaken,
}

/// Exchanges a refresh token of this client. What the token says is read anew, so that a change of role counts.
pub async fn refresh(
    identity: &Identity,
    token: &SecretString,
    client_id: &str,
    wishes: &Wishes,
    circumstances: &Circumstances,
) -> Result<Refreshed, RefreshError> {
    let token = parse_refresh_token(token).map_err(|_| RefreshError::Invalid)?;
    for _ in 0..=MOST_WAITS {
        match attempt(identity, &token, client_id, wishes, circumstances).await? {
            Attempt::Done(refreshed) => return Ok(*refreshed),
            Attempt::TooEarly(pause) => tokio::time::sleep(pause).await,
            Attempt::Overtaken => {}
        }
    }
    Err(StoreError::Unavailable("the row kept changing".to_owned()).into())
}

async fn attempt(
    identity: &Identity,
    token: &RefreshToken,
    client_id: &str,
    wishes: &Wishes,
    circumstances: &Circumstances,
) -> Result<Attempt, RefreshError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let family = store::family::find(&transaction, token.family_id).await?.ok_or(RefreshError::Invalid)?;
    // A key that is gone makes its tokens invalid, like any other that cannot be proven.
    if !token.is_genuine(&identity.secrets, &family).unwrap_or(false) {
        return Err(RefreshError::Invalid);
    }
    if family.client_id != client_id {
        let event = Event::new("refresh_by_wrong_client").client(client_id).target(family.id).refused();
        let now = store::clock(&transaction).await?;
        audit::record(&transaction, event, circumstances, now).await?;
        transaction.commit().await?;
        return Err(RefreshError::Invalid);
    }
    let user = lock_user(&transaction, family.user_id, family.org_id, family.app_id).await?;
    let user = user.ok_or(RefreshError::Invalid)?;
    let now = store::clock(&transaction).await?;
    let generation = match standing(&family, token.generation, now, identity) {
        Standing::Dead => return Err(RefreshError::Invalid),
        Standing::Reused => {
            revoke_reused(transaction, identity, &family, circumstances, now).await?;
            return Err(RefreshError::Invalid);
        }
        Standing::Retried => family.generation,
        Standing::Current => family.generation + 1,
    };
    // Everything that can be refused is refused before the token is used up.
    let (scope, audiences) = granted(&family, wishes)?;
    if let Some(pause) = pause_before_issue(&transaction, user.id, user.org_id, now).await? {
        return Ok(Attempt::TooEarly(pause));
    }
    if generation > family.generation {
        let idle_end = now + identity.settings.refresh_idle;
        if !store::family::update_generation(&transaction, family.id, family.generation, now, idle_end)
            .await?
        {
            return Ok(Attempt::Overtaken);
        }
        let event = Event::new("refresh").actor(user.id).client(client_id).org(user.org_id).target(family.id);
        audit::record(&transaction, event, circumstances, now).await?;
    }
    transaction.commit().await?;
    let refresh_token = RefreshToken::issue(&identity.secrets, &family, generation);
    let grant = UserGrant { user: &user, family: &family, scope: &scope, audiences, now };
    let access_token = token::sign_for_user(identity, grant)?;
    let refresh_token = refresh_token.map_err(|_| RefreshError::Invalid)?;
    Ok(Attempt::Done(Box::new(Refreshed { access_token, refresh_token, user })))
}

/// The scope and audiences of the access token; the refresh token keeps the whole scope (RFC 6749, section 6).
fn granted(family: &FamilyRecord, wishes: &Wishes) -> Result<(String, Vec<String>), RefreshError> {
    let allowed: Vec<String> = family.scope.split(' ').map(str::to_owned).collect();
    let scope = granted_scope(&allowed, wishes.scope.as_deref()).ok_or(RefreshError::InvalidScope)?;
    let allowed = USER_AUDIENCES.map(str::to_owned);
    let audiences =
        granted_audiences(&allowed, wishes.audience.as_deref()).ok_or(RefreshError::InvalidTarget)?;
    Ok((scope, audiences))
}

fn standing(family: &FamilyRecord, generation: i64, now: OffsetDateTime, identity: &Identity) -> Standing {
    judge(family, generation, now, identity.settings.refresh_grace)
}

fn judge(
    family: &FamilyRecord,
    generation: i64,
    now: OffsetDateTime,
    grace: std::time::Duration,
) -> Standing {
    if family.is_revoked
        || now >= family.expires_at
        || now >= family.idle_expires_at
        || generation > family.generation
    {
        return Standing::Dead;
    }
    if generation == family.generation {
        return Standing::Current;
    }
    // The grace counts from the first use and never starts anew.
    let is_within_grace = family.rotated_at.is_some_and(|at| now < at + grace);
    if generation + 1 == family.generation && is_within_grace { Standing::Retried } else { Standing::Reused }
}

async fn revoke_reused(
    transaction: Transaction<'_>,
    identity: &Identity,
    family: &FamilyRecord,
    circumstances: &Circumstances,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    // Of several at once, one says so.
    if !store::family::update_revoked(&transaction, family.id, "reuse_detected", now).await? {
        return Ok(());
    }
    let event = Event::new("refresh_reuse_detected").actor(family.user_id).client(&*family.client_id);
    let event = event.org(family.org_id).target(family.id).refused();
    audit::record(&transaction, event, circumstances, now).await?;
    tracing::warn!(family_id = %family.id, "a refresh token was used again; its family is revoked");
    feed::publish(transaction, identity, vec![Revocation::family(family.id, family.user_id)], Vec::new())
        .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn family() -> FamilyRecord {
        FamilyRecord {
            id: Uuid::nil(),
            user_id: Uuid::nil(),
            org_id: Uuid::nil(),
            app_id: None,
            client_id: "c".to_owned(),
            scope: "a b".to_owned(),
            key_id: "k".to_owned(),
            nonce: Vec::new(),
            generation: 5,
            rotated_at: Some(at(100)),
            auth_time: at(0),
            idle_expires_at: at(500),
            expires_at: at(1000),
            created_at: at(0),
            is_revoked: false,
        }
    }

    #[test]
    fn only_the_immediate_predecessor_is_retried_and_only_within_the_grace() {
        assert_eq!(judge(&family(), 5, at(105), GRACE), Standing::Current);
        assert_eq!(judge(&family(), 4, at(105), GRACE), Standing::Retried);
        assert_eq!(judge(&family(), 4, at(110), GRACE), Standing::Reused);
        assert_eq!(judge(&family(), 3, at(105), GRACE), Standing::Reused);
        assert_eq!(judge(&family(), 4, at(100), Duration::ZERO), Standing::Reused);
        assert_eq!(judge(&family(), 6, at(105), GRACE), Standing::Dead);
    }

    #[test]
    fn both_ends_count() {
        assert_eq!(judge(&family(), 5, at(500), GRACE), Standing::Dead);
        let used = FamilyRecord { idle_expires_at: at(2000), ..family() };
        assert_eq!(judge(&used, 5, at(999), GRACE), Standing::Current);
        assert_eq!(judge(&used, 5, at(1000), GRACE), Standing::Dead);
        assert_eq!(judge(&FamilyRecord { is_revoked: true, ..family() }, 5, at(101), GRACE), Standing::Dead);
    }

    #[test]
    fn a_narrower_scope_is_granted_and_a_wider_one_refused() {
        let wish = |scope: &str| Wishes { scope: Some(scope.to_owned()), audience: None };
        assert_eq!(granted(&family(), &wish("b")).unwrap().0, "b");
        assert!(matches!(granted(&family(), &wish("b c")), Err(RefreshError::InvalidScope)));
    }
}
