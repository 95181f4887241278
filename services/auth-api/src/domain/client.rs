//! OAuth clients: who they are, what they may ask for, and whether they prove to be themselves.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{self, Database, StoreError};

/// Clients kept in memory.
const CACHED_CLIENTS: usize = 10_000;
/// NOTIFY tells of changes; this bounds what a lost notice costs.
const CACHE_LIFE: Duration = Duration::from_mins(1);
/// Ids that no client has, kept in memory, and for how long.
const CACHED_STRANGERS: usize = 1000;
const STRANGER_LIFE: Duration = Duration::from_secs(5);
/// While the database is down, a client is believed for so long.
const STALE_LIFE: Duration = Duration::from_hours(1);
/// RFC 6749, appendix A.1, and short enough for a log line.
const MAX_CLIENT_ID_BYTES: usize = 128;
/// What secret scanners look for.
const SECRET_PREFIX: &str = "aas_";

/// A client, as long as it is kept in memory.
pub struct Client {
    pub client_id: String,
    pub is_public: bool,
    pub is_disabled: bool,
    pub grant_types: Vec<String>,
    pub scopes: Vec<String>,
    pub audiences: Vec<String>,
    /// The `orgs` claim of its tokens.
    pub orgs_claim: Vec<String>,
    /// It gets no token issued earlier than this.
    pub not_before: Option<OffsetDateTime>,
    secrets: Vec<ClientSecret>,
    loaded_at: Instant,
    /// Seconds since the epoch; 0 where it was not used since it was loaded or noted down.
    last_used: AtomicI64,
}

struct ClientSecret {
    digest: [u8; 32],
    expires_at: Option<OffsetDateTime>,
}

/// How a client says who it is.
pub struct ClientCredentials {
    pub client_id: String,
    /// None: the client says that it is a public one.
    pub secret: Option<SecretString>,
}

/// An id that a client may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId(String);

/// Why a text is no client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientId {
    #[error("a client id has 1 to 128 printable ASCII characters and no space")]
    Form,
    /// The subject of a token says by its form whether it is a user or a service.
    #[error("a client id is no UUID")]
    Uuid,
}

/// The clients in memory.
pub struct Clients {
    cache: Cache<String, Arc<Client>>,
    /// Ids that no client had, and when.
    strangers: Cache<String, Instant>,
    /// Counts what was forgotten: something read before that is not kept.
    forgotten: AtomicU64,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            cache: Cache::new(CACHED_CLIENTS),
            strangers: Cache::new(CACHED_STRANGERS),
            forgotten: AtomicU64::new(0),
        }
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, InvalidClientId> {
        if !(1..=MAX_CLIENT_ID_BYTES).contains(&text.len())
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(InvalidClientId::Form);
        }
        if Uuid::try_parse(text).is_ok() { Err(InvalidClientId::Uuid) } else { Ok(Self(text.to_owned())) }
    }
}

impl ClientId {
    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Client {
    /// Whether it may use a grant.
    pub fn may_use(&self, grant_type: &str) -> bool {
        self.grant_types.iter().any(|allowed| allowed == grant_type)
    }

    /// Whether it may ask for a scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|allowed| allowed == scope)
    }

    /// Whether it may work for an organization.
    pub fn serves(&self, org_id: Uuid) -> bool {
        let org_id = org_id.to_string();
        self.orgs_claim.iter().any(|org| org == "*" || *org == org_id)
    }

    /// Notes that it was used. No row is written here.
    pub fn touch(&self, now: OffsetDateTime) {
        self.last_used.store(now.unix_timestamp(), Ordering::Relaxed);
    }

    /// Compares with every live secret, in constant time.
    fn has_secret(&self, secret: &SecretString, now: OffsetDateTime) -> bool {
        let digest = secret_digest(secret);
        let live = self.secrets.iter().filter(|known| known.expires_at.is_none_or(|end| now < end));
        live.fold(false, |found, known| found | bool::from(known.digest.ct_eq(&digest)))
    }
}

impl Clients {
    /// The client that these credentials prove; none where it is unknown, disabled, or the secret wrong. A public client proves nothing
    /// and gives no secret.
    pub async fn find_proven(
        &self,
        db: &Database,
        credentials: &ClientCredentials,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Client>>, StoreError> {
        let client = self.find(db, &credentials.client_id).await?;
        let is_proven = |client: &Arc<Client>| match &credentials.secret {
            Some(secret) => client.has_secret(secret, now),
            None => client.is_public,
        };
        Ok(client.filter(|client| is_proven(client) && !client.is_disabled))
    }

    /// The client with this id, from memory or from the database.
    pub async fn find(&self, db: &Database, client_id: &str) -> Result<Option<Arc<Client>>, StoreError> {
        let known = self.cache.get(client_id);
        if let Some(client) = &known
            && client.loaded_at.elapsed() < CACHE_LIFE
        {
            return Ok(known);
        }
        let is_stranger = || self.strangers.get(client_id).is_some_and(|at| at.elapsed() < STRANGER_LIFE);
        if client_id.parse::<ClientId>().is_err() || is_stranger() {
            return Ok(None);
        }
        let forgotten = self.forgotten.load(Ordering::Acquire);
        match load(db, client_id).await {
            Ok(Some(client)) => {
                if let Some(known) = &known {
                    client.last_used.fetch_max(known.last_used.load(Ordering::Relaxed), Ordering::Relaxed);
                }
                let client = Arc::new(client);
                if self.forgotten.load(Ordering::Acquire) == forgotten {
                    self.cache.insert(client_id.to_owned(), Arc::clone(&client));
                }
                Ok(Some(client))
            }
            Ok(None) => {
                if known.is_some() {
                    self.forget(client_id);
                } else if self.forgotten.load(Ordering::Acquire) == forgotten {
                    self.strangers.insert(client_id.to_owned(), Instant::now());
                }
                Ok(None)
            }
            Err(error)
                if error.is_retryable()
                    && known.as_ref().is_some_and(|it| it.loaded_at.elapsed() < STALE_LIFE) =>
            {
                Ok(known)
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets a client that changed.
    pub fn forget(&self, client_id: &str) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.cache.remove(client_id);
        self.strangers.remove(client_id);
    }

    /// Forgets all of them: notices may have been missed.
    pub fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.cache.clear();
        self.strangers.clear();
    }

    /// Writes down which clients were used, in one statement for all of them.
    pub async fn flush_last_used(&self, db: &Database) -> Result<(), StoreError> {
        let (mut clients, mut client_ids, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for (client_id, client) in self.cache.iter() {
            let at = client.last_used.load(Ordering::Relaxed);
            if at > 0
                && let Ok(time) = OffsetDateTime::from_unix_timestamp(at)
            {
                clients.push((client, at));
                client_ids.push(client_id);
                times.push(time);
            }
        }
        if client_ids.is_empty() {
            return Ok(());
        }
        store::client::update_last_used(&db.connection().await?, &client_ids, &times).await?;
        // Only now, and only what was written down: a failure or an end in between loses nothing.
        for (client, at) in clients {
            let _ = client.last_used.compare_exchange(at, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A new secret: 256 random bits, in characters that need no encoding anywhere.
pub fn new_secret() -> SecretString {
    let bits: [u8; 32] = rand::random();
    SecretString::from(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
}

/// What is stored of a secret.
pub fn secret_digest(secret: &SecretString) -> [u8; 32] {
    Sha256::digest(secret.expose_secret()).into()
}

async fn load(db: &Database, client_id: &str) -> Result<Option<Client>, StoreError> {
    let connection = db.connection().await?;
    let Some(record) = store::client::find(&connection, client_id).await? else { return Ok(None) };
    let secrets = store::client::list_secrets(&connection, client_id).await?;
    let not_before = store::revocation::find_issued_before(&connection, client_id, None).await?;
    let orgs_claim = if record.all_orgs {
        vec!["*".to_owned()]
    } else {
        record.org_ids.iter().map(Uuid::to_string).collect()
    };
    Ok(Some(Client {
        client_id: record.client_id,
        is_public: record.is_public,
        is_disabled: record.is_disabled,
        grant_types: record.grant_types,
        scopes: record.scopes,
        audiences: record.audiences,
        orgs_claim,
        not_before,
        secrets: secrets
            .into_iter()
            .filter_map(|secret| {
                Some(ClientSecret { digest: secret.digest.try_into().ok()?, expires_at: secret.expires_at })
            })
            .collect(),
        loaded_at: Instant::now(),
        last_used: AtomicI64::new(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(secrets: Vec<ClientSecret>) -> Client {
        Client {
            client_id: "c".to_owned(),
            is_public: false,
            is_disabled: false,
            grant_types: vec!["client_credentials".to_owned()],
            scopes: vec!["a".to_owned()],
            audiences: Vec::new(),
            orgs_claim: Vec::new(),
            not_before: None,
            secrets,
            loaded_at: Instant::now(),
            last_used: AtomicI64::new(0),
        }
    }

    #[test]
    fn two_secrets_live_side_by_side_until_one_expires() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let (old, new) = (new_secret(), new_secret());
        let client = client(vec![
            ClientSecret { digest: secret_digest(&new), expires_at: None },
            ClientSecret { digest: secret_digest(&old), expires_at: Some(now + Duration::from_secs(10)) },
        ]);
        assert!(client.has_secret(&old, now) && client.has_secret(&new, now));
        let later = now + Duration::from_secs(10);
        assert!(!client.has_secret(&old, later) && client.has_secret(&new, later));
        assert!(!client.has_secret(&SecretString::from(""), now));
    }

    #[test]
    fn secrets_are_long_recognisable_and_need_no_encoding() {
        let secret = new_secret().expose_secret().to_owned();
        assert!(secret.starts_with("aas_") && secret.len() == 4 + 43);
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
    }

    #[test]
    fn an_id_is_never_a_uuid() {
        assert_eq!("chat-api-service".parse::<ClientId>().unwrap().as_str(), "chat-api-service");
        assert_eq!(Uuid::nil().to_string().parse::<ClientId>(), Err(InvalidClientId::Uuid));
        assert_eq!(Uuid::nil().simple().to_string().parse::<ClientId>(), Err(InvalidClientId::Uuid));
        for text in ["", "a b", "é", &"a".repeat(129)] {
            assert_eq!(text.parse::<ClientId>(), Err(InvalidClientId::Form));
        }
    }
}
