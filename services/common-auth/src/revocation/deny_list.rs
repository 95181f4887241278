//! The revocations in force, in the form that a token check needs.

use std::collections::HashMap;

use uuid::Uuid;

use super::{RevocationEntry, RevocationKind};
use crate::verifier::{MAX_LEEWAY_SECONDS, TokenOrigin, VerifiedToken};

/// Every revocation in force. It never drops one before it expires; auth-api bounds their number.
#[derive(Default)]
pub struct DenyList {
    // What is revoked for good, with the moment when the entry expires.
    tokens: HashMap<Box<str>, i64>,
    keys: HashMap<Box<str>, i64>,
    families: HashMap<Uuid, i64>,
    // What is revoked up to a moment.
    clients: HashMap<Box<str>, Cutoff>,
    subjects: HashMap<Box<str>, Cutoff>,
    subjects_in_orgs: HashMap<Uuid, HashMap<Box<str>, Cutoff>>,
}

/// Tokens issued before a moment are revoked. Seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cutoff {
    issued_before: i64,
    expires_at: i64,
}

/// What of a token an entry can name.
struct Named<'a> {
    jti: &'a str,
    subject: &'a str,
    client_id: &'a str,
    session_id: Option<Uuid>,
    org_id: Option<Uuid>,
    issued_at: i64,
    key_id: Option<&'a str>,
}

impl Cutoff {
    /// Two revocations of one thing: the later one counts, for as long as either does.
    fn merge(self, other: Self) -> Self {
        Self {
            issued_before: self.issued_before.max(other.issued_before),
            expires_at: self.expires_at.max(other.expires_at),
        }
    }
}

impl DenyList {
    /// Adds an entry of the feed. Applying one twice changes nothing.
    pub fn insert(&mut self, entry: &RevocationEntry) {
        let expires_at = entry.expires_at.unix_timestamp();
        let cutoff = Cutoff { issued_before: round_up(entry.issued_before), expires_at };
        let value = || Box::<str>::from(entry.value.as_str());
        match (entry.kind, entry.org_id) {
            (RevocationKind::Jti, _) => extend(&mut self.tokens, value(), expires_at, i64::max),
            (RevocationKind::Key, _) => extend(&mut self.keys, value(), expires_at, i64::max),
            (RevocationKind::Family, _) => {
                if let Ok(session) = Uuid::parse_str(&entry.value) {
                    extend(&mut self.families, session, expires_at, i64::max);
                }
            }
            (RevocationKind::Client, _) => extend(&mut self.clients, value(), cutoff, Cutoff::merge),
            (RevocationKind::Subject, None) => extend(&mut self.subjects, value(), cutoff, Cutoff::merge),
            (RevocationKind::Subject, Some(org_id)) => {
                extend(self.subjects_in_orgs.entry(org_id).or_default(), value(), cutoff, Cutoff::merge);
            }
            (RevocationKind::Unknown, _) => {
                tracing::warn!(
                    cursor = entry.cursor,
                    "a revocation of a kind that this release does not know"
                );
            }
            (RevocationKind::KeysChanged, _) => {}
        }
    }

    /// Whether any entry is about this token.
    pub fn contains(&self, token: &VerifiedToken) -> bool {
        self.names(&Named {
            jti: &token.jti,
            subject: &token.subject,
            client_id: &token.client_id,
            session_id: token.session_id,
            org_id: token.org_id,
            issued_at: token.issued_at,
            key_id: token.key_id(),
        })
    }

    /// Whether any entry is about the token that something was made from.
    pub fn contains_origin(&self, origin: &TokenOrigin) -> bool {
        self.names(&Named {
            jti: &origin.jti,
            subject: &origin.subject,
            client_id: &origin.client_id,
            session_id: origin.session_id,
            org_id: origin.org_id,
            issued_at: origin.issued_at,
            key_id: origin.key_id.as_deref(),
        })
    }

    fn names(&self, token: &Named<'_>) -> bool {
        let before = |cutoff: &Cutoff| token.issued_at < cutoff.issued_before;
        self.tokens.contains_key(token.jti)
            || token.key_id.is_some_and(|kid| self.keys.contains_key(kid))
            || token.session_id.is_some_and(|session| self.families.contains_key(&session))
            || self.clients.get(token.client_id).is_some_and(before)
            || self.subjects.get(token.subject).is_some_and(before)
            || token.org_id.is_some_and(|org_id| {
                let subjects = self.subjects_in_orgs.get(&org_id);
                subjects.and_then(|subjects| subjects.get(token.subject)).is_some_and(before)
            })
    }

    /// Drops what has expired as of `now`. A verifier may grant a token some seconds beyond its end, and clocks differ: entries stay
    /// for the most that is granted, or a revoked token would live again for its last moments.
    pub fn drop_expired(&mut self, now: i64) {
        let now = now.saturating_sub(MAX_LEEWAY_SECONDS);
        self.tokens.retain(|_, expires_at| *expires_at > now);
        self.keys.retain(|_, expires_at| *expires_at > now);
        self.families.retain(|_, expires_at| *expires_at > now);
        self.clients.retain(|_, cutoff| cutoff.expires_at > now);
        self.subjects.retain(|_, cutoff| cutoff.expires_at > now);
        self.subjects_in_orgs.retain(|_, subjects| {
            subjects.retain(|_, cutoff| cutoff.expires_at > now);
            !subjects.is_empty()
        });
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.tokens.len()
            + self.keys.len()
            + self.families.len()
            + self.clients.len()
            + self.subjects.len()
            + self.subjects_in_orgs.values().map(HashMap::len).sum::<usize>()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn extend<K: Eq + std::hash::Hash, V: Copy>(
    map: &mut HashMap<K, V>,
    key: K,
    value: V,
    merge: impl Fn(V, V) -> V,
) {
    map.entry(key).and_modify(|old| *old = merge(*old, value)).or_insert(value);
}

/// Tokens carry whole seconds: a cutoff within a second covers that second.
fn round_up(at: time::OffsetDateTime) -> i64 {
    at.unix_timestamp() + i64::from(at.nanosecond() > 0)
}
