//! The life of signing keys: next, active, retiring, removed. One replica at a time moves them on; all of them follow.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::{
    Identity,
    audit::{self, Circumstances, Event},
    feed,
    jwks::{KeyError, NewKey},
    revocation::Revocation,
};
use crate::store::{
    self, Executor, StoreError, Transaction, notification::Notification, signing_key::SigningKeyRecord,
};

/// A replica that was not seen for so long has no say any more.
const REPLICA_LIFE_SECONDS: i64 = 10;
/// What a new key needs until every replica serves it and says so.
const SPREADING: Duration = Duration::from_secs(2);
/// Verifiers' clocks may differ by so much.
const LEEWAY: Duration = Duration::from_mins(1);

/// The times that rule the rotation.
#[derive(Clone, Copy, Debug)]
pub struct RotationSettings {
    /// How long a key signs (`KEY_ROTATION_SECONDS`).
    pub period: Duration,
    /// How long every replica serves it before that (`JWKS_PREPUBLISH_SECONDS`).
    pub prepublish: Duration,
    /// How long its tokens live (`ACCESS_TOKEN_TTL_SECONDS`).
    pub token_life: Duration,
}

/// Why keys did not move on.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The one thing to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Nobody could sign: a key that signs at once.
    CreateActive,
    CreateNext,
    /// Every replica serves the next key: verifiers may fetch it.
    Announce(String),
    /// The next key signs from now on, and the active one, if there is one, retires.
    Switch {
        next: String,
        active: Option<String>,
    },
    Remove(String),
}

/// Loads the keys, says which ones this replica serves, and moves the rotation on by one step if it is due. An error where this replica
/// cannot sign after that.
pub async fn tick(identity: &Identity) -> Result<(), RotationError> {
    reload(identity).await?;
    let connection = identity.db.connection().await?;
    store::replica::upsert(&connection, identity.replica_id, &identity.keys.load().usable_kids()).await?;
    let token_seconds = i64::try_from(identity.settings.rotation.token_life.as_secs()).unwrap_or(i64::MAX);
    store::signing_key::update_longest_token(&connection, token_seconds).await?;
    let is_due = plan_now(&connection, identity).await?.is_some();
    drop(connection);
    if is_due && advance(identity).await? {
        reload(identity).await?;
    }
    identity.keys.load().signer()?;
    Ok(())
}

/// Loads the keys from the database, and the time: whoever can sign knows it.
pub async fn reload(identity: &Identity) -> Result<(), RotationError> {
    let _turn = identity.keys.reload_turn().await;
    let connection = identity.db.connection().await?;
    identity.clock.learn(store::clock(&connection).await?);
    let records = store::signing_key::list(&connection).await?;
    if identity.keys.reload(&records, &identity.secrets)? {
        tracing::info!(kids = ?identity.keys.load().kids(), "signing keys loaded");
    }
    Ok(())
}

/// Takes this replica out of those that have to serve a key before it signs.
pub async fn leave(identity: &Identity) {
    let left = async { store::replica::delete(&identity.db.connection().await?, identity.replica_id).await };
    if let Err(error) = left.await {
        tracing::warn!(%error, "this replica could not sign off");
    }
}

/// Publishes a next key now; it signs as soon as it has been published long enough. The id of that key.
pub async fn rotate(identity: &Identity) -> Result<String, RotationError> {
    let key = generate(identity).await?;
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    store::signing_key::lock(&transaction).await?;
    let keys = store::signing_key::list(&transaction).await?;
    if let Some(next) = keys.iter().find(|key| key.state == "next") {
        return Ok(next.kid.clone());
    }
    let now = store::clock(&transaction).await?;
    insert(&transaction, &key, "next", now).await?;
    record(&transaction, "key_published", &key.kid, now).await?;
    store::notification::notify(&transaction, &Notification::Keys).await?;
    transaction.commit().await?;
    Ok(key.kid)
}

/// Removes a key at once, whatever its state: its tokens are revoked. False where there is no such key.
pub async fn revoke(identity: &Identity, kid: &str) -> Result<bool, RotationError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    store::signing_key::lock(&transaction).await?;
    let now = store::clock(&transaction).await?;
    if !store::signing_key::update_removed(&transaction, kid, now).await? {
        return Ok(false);
    }
    record(&transaction, "key_revoked", kid, now).await?;
    store::notification::notify(&transaction, &Notification::Keys).await?;
    feed::publish(transaction, identity, vec![Revocation::key(kid)], Vec::new()).await?;
    Ok(true)
}

/// Does the step that is due, if it is this replica's turn; whether one was done.
async fn advance(identity: &Identity) -> Result<bool, RotationError> {
    let mut connection = identity.db.connection().await?;
    // Made beforehand: no transaction stays open for the tenths of a second that a key takes.
    let new = match plan_now(&connection, identity).await? {
        Some(Step::CreateActive | Step::CreateNext) => Some(generate(identity).await?),
        _ => None,
    };
    let transaction = connection.transaction().await?;
    if !store::signing_key::try_lock(&transaction).await? {
        return Ok(false);
    }
    // Another replica may have been faster.
    let Some(step) = plan_now(&transaction, identity).await? else { return Ok(false) };
    let now = store::clock(&transaction).await?;
    let mut notices = Vec::new();
    match (&step, new) {
        (Step::CreateActive, Some(key)) => {
            insert(&transaction, &key, "active", now).await?;
            notices.push(Revocation::keys_changed(&key.kid));
        }
        (Step::CreateNext, Some(key)) => insert(&transaction, &key, "next", now).await?,
        (Step::CreateActive | Step::CreateNext, None) => return Ok(false),
        (Step::Announce(kid), _) => {
            store::signing_key::update_served(&transaction, kid, now).await?;
            notices.push(Revocation::keys_changed(kid));
        }
        (Step::Switch { next, active }, _) => {
            match active {
                Some(active) => store::signing_key::update_retiring(&transaction, active, now).await?,
                // It signs before its time: verifiers may never have heard of it.
                None => notices.push(Revocation::keys_changed(next)),
            }
            store::signing_key::update_active(&transaction, next, now).await?;
            record(&transaction, "key_activated", next, now).await?;
        }
        (Step::Remove(kid), _) => {
            store::signing_key::update_removed(&transaction, kid, now).await?;
            record(&transaction, "key_removed", kid, now).await?;
        }
    }
    store::notification::notify(&transaction, &Notification::Keys).await?;
    if notices.is_empty() {
        transaction.commit().await?;
    } else {
        feed::publish(transaction, identity, notices, Vec::new()).await?;
    }
    tracing::info!(?step, "signing keys moved on");
    Ok(true)
}

async fn plan_now(db: &impl Executor, identity: &Identity) -> Result<Option<Step>, StoreError> {
    let keys = store::signing_key::list(db).await?;
    let served = store::replica::list_served_kids(db, REPLICA_LIFE_SECONDS).await?;
    let now = store::clock(db).await?;
    Ok(plan(&keys, &served, identity.settings.rotation, now))
}

/// What is due, by the keys there are and by what each live replica serves.
fn plan(
    keys: &[SigningKeyRecord],
    served: &[Vec<String>],
    settings: RotationSettings,
    now: OffsetDateTime,
) -> Option<Step> {
    let in_state = |state: &str| keys.iter().find(|key| key.state == state);
    let (active, next) = (in_state("active"), in_state("next"));
    let Some(active) = active else {
        // Nobody can sign: the next key does at once, or one is made.
        return Some(
            next.map_or(Step::CreateActive, |next| Step::Switch { next: next.kid.clone(), active: None }),
        );
    };
    if let Some(next) = next {
        let is_served = served.iter().all(|kids| kids.contains(&next.kid));
        match next.served_at {
            None if is_served => return Some(Step::Announce(next.kid.clone())),
            Some(since) if is_served && now >= since + settings.prepublish => {
                return Some(Step::Switch { next: next.kid.clone(), active: Some(active.kid.clone()) });
            }
            _ => {}
        }
    } else {
        let lead = settings.prepublish + SPREADING;
        let due = active.activated_at.unwrap_or(active.published_at) + settings.period.saturating_sub(lead);
        if now >= due {
            return Some(Step::CreateNext);
        }
    }
    let is_over = |key: &&SigningKeyRecord| {
        let longest = Duration::from_secs(key.longest_token_seconds.unsigned_abs()).max(settings.token_life);
        key.state == "retiring" && key.retired_at.is_some_and(|since| now >= since + longest + LEEWAY)
    };
    keys.iter().find(is_over).map(|key| Step::Remove(key.kid.clone()))
}

async fn generate(identity: &Identity) -> Result<NewKey, KeyError> {
    let secrets = identity.secrets.clone();
    let job = tokio::task::spawn_blocking(move || NewKey::generate(&secrets));
    job.await.map_err(|error| KeyError::Generation(error.to_string()))?
}

async fn insert(
    db: &Transaction<'_>,
    key: &NewKey,
    state: &str,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let record = SigningKeyRecord {
        kid: key.kid.clone(),
        state: state.to_owned(),
        public_key: Value::Object(key.public.clone()),
        private_key: Some(key.private.bytes.clone()),
        encryption_key_id: Some(key.private.key_id.clone()),
        published_at: now,
        served_at: None,
        activated_at: (state == "active").then_some(now),
        retired_at: None,
        longest_token_seconds: 0,
    };
    store::signing_key::insert(db, &record).await
}

async fn record(
    db: &Transaction<'_>,
    event: &'static str,
    kid: &str,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    audit::record(db, Event::new(event).target(kid), &Circumstances::default(), now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RotationSettings = RotationSettings {
        period: Duration::from_secs(1000),
        prepublish: Duration::from_secs(100),
        token_life: Duration::from_secs(50),
    };

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn key(kid: &str, state: &str) -> SigningKeyRecord {
        SigningKeyRecord {
            kid: kid.to_owned(),
            state: state.to_owned(),
            public_key: Value::Null,
            private_key: None,
            encryption_key_id: None,
            published_at: at(0),
            served_at: None,
            activated_at: Some(at(0)),
            retired_at: None,
            longest_token_seconds: 0,
        }
    }

    fn serving(kids: &[&str]) -> Vec<String> {
        kids.iter().map(|kid| (*kid).to_owned()).collect()
    }

    #[test]
    fn the_first_start_makes_a_key_that_signs() {
        assert_eq!(plan(&[], &[], SETTINGS, at(0)), Some(Step::CreateActive));
    }

    #[test]
    fn the_next_key_is_published_ahead_of_time() {
        let keys = [key("a", "active")];
        assert_eq!(plan(&keys, &[], SETTINGS, at(897)), None);
        assert_eq!(plan(&keys, &[], SETTINGS, at(898)), Some(Step::CreateNext));
    }

    #[test]
    fn one_replica_that_does_not_serve_it_holds_the_next_key_back() {
        let keys = [key("a", "active"), key("b", "next")];
        let (old, new) = (serving(&["a"]), serving(&["a", "b"]));
        assert_eq!(plan(&keys, &[old.clone(), new.clone()], SETTINGS, at(5000)), None);
        assert_eq!(
            plan(&keys, &[new.clone(), new.clone()], SETTINGS, at(5000)),
            Some(Step::Announce("b".to_owned()))
        );
        let announced =
            [key("a", "active"), SigningKeyRecord { served_at: Some(at(5000)), ..key("b", "next") }];
        assert_eq!(plan(&announced, std::slice::from_ref(&new), SETTINGS, at(5099)), None);
        assert_eq!(plan(&announced, &[old, new.clone()], SETTINGS, at(5100)), None);
        let switch = Step::Switch { next: "b".to_owned(), active: Some("a".to_owned()) };
        assert_eq!(plan(&announced, &[new], SETTINGS, at(5100)), Some(switch));
    }

    #[test]
    fn a_retiring_key_outlives_the_longest_token_and_the_leeway() {
        let retiring = SigningKeyRecord { retired_at: Some(at(0)), ..key("a", "retiring") };
        let active = SigningKeyRecord { activated_at: Some(at(500)), ..key("b", "active") };
        let keys = [retiring.clone(), active.clone()];
        assert_eq!(plan(&keys, &[], SETTINGS, at(109)), None);
        assert_eq!(plan(&keys, &[], SETTINGS, at(110)), Some(Step::Remove("a".to_owned())));
        let longer = [SigningKeyRecord { longest_token_seconds: 300, ..retiring }, active];
        assert_eq!(plan(&longer, &[], SETTINGS, at(359)), None);
        assert_eq!(plan(&longer, &[], SETTINGS, at(360)), Some(Step::Remove("a".to_owned())));
    }

    #[test]
    fn after_an_emergency_the_next_key_signs_at_once() {
        let switch = Step::Switch { next: "b".to_owned(), active: None };
        assert_eq!(plan(&[key("b", "next")], &[], SETTINGS, at(0)), Some(switch));
    }
}
