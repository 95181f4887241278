//! What holds for every token and every feed.

use std::sync::{Arc, LazyLock};

use common_auth::{
    AuthError,
    keys::{JsonWebKeySet, JwksManager, JwksSettings},
    revocation::{DenyList, RevocationEntry, RevocationKind},
};
use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{
    feed::entry,
    helpers::{Answer, Keys, ORG, OTHER_ORG, World},
};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static WORLD: LazyLock<World> = LazyLock::new(|| RUNTIME.block_on(World::new()));
static TOKEN: LazyLock<String> = LazyLock::new(|| WORLD.alice().sign());

fn refusal(token: &str) -> Option<AuthError> {
    RUNTIME.block_on(WORLD.refusal(token))
}

/// A key of the deny-list's kinds, out of few values, so that they meet.
fn any_entry() -> impl Strategy<Value = RevocationEntry> {
    let kind = prop::sample::select(vec![
        RevocationKind::Jti,
        RevocationKind::Family,
        RevocationKind::Subject,
        RevocationKind::Client,
        RevocationKind::Key,
        RevocationKind::KeysChanged,
    ]);
    let org = prop::sample::select(vec![None, Some(ORG), Some(OTHER_ORG)]);
    (kind, 0_u128..4, org, -200_i64..200, 1_i64..1000).prop_map(|(kind, value, org, before, ends)| {
        let now = OffsetDateTime::now_utc();
        let value = Uuid::from_u128(value);
        let mut entry = entry(kind, value, org, now + time::Duration::seconds(before));
        entry.expires_at = now + time::Duration::seconds(ends);
        entry
    })
}

/// Whether an entry revokes the token whose every id is `value`, issued in `ORG` in this second.
fn is_about(entry: &RevocationEntry, value: Uuid, issued: i64) -> bool {
    let is_earlier = OffsetDateTime::from_unix_timestamp(issued).unwrap() < entry.issued_before;
    entry.value == value.to_string()
        && match entry.kind {
            RevocationKind::Jti | RevocationKind::Family => true,
            RevocationKind::Client => is_earlier,
            RevocationKind::Subject => is_earlier && entry.org_id.is_none_or(|org_id| org_id == ORG),
            RevocationKind::Key | RevocationKind::KeysChanged | RevocationKind::Unknown => false,
        }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_a_token(text in any::<String>()) {
        prop_assert!(refusal(&text).is_some());
    }

    #[test]
    fn no_three_parts_are_a_token(header in "[A-Za-z0-9_-]{0,80}", payload in "[A-Za-z0-9_-]{0,80}", signature in "[A-Za-z0-9_-]{0,350}") {
        let token = format!("{header}.{payload}.{signature}");
        prop_assert!(refusal(&token).is_some());
    }

    #[test]
    fn no_signed_text_becomes_a_principal(header in any::<String>(), claims in any::<String>()) {
        prop_assert!(refusal(&WORLD.issuer.sign_raw(&header, &claims)).is_some());
    }

    #[test]
    fn a_genuine_header_saves_no_claims(claims in any::<String>()) {
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": WORLD.issuer.kid() }).to_string();
        prop_assert!(refusal(&WORLD.issuer.sign_raw(&header, &claims)).is_some());
    }

    #[test]
    fn any_other_character_spoils_a_token(at in any::<prop::sample::Index>(), other in "[A-Za-z0-9_.=-]") {
        let token = &*TOKEN;
        prop_assert!(refusal(token).is_none());
        let at = at.index(token.len());
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        prop_assert!(changed == *token || refusal(&changed).is_some());
        let shorter = format!("{}{}", &token[..at], &token[at + 1..]);
        prop_assert!(refusal(&shorter).is_some());
        let longer = format!("{}{other}{}", &token[..at], &token[at..]);
        prop_assert!(refusal(&longer).is_some());
    }

    #[test]
    fn the_order_of_revocations_does_not_matter(
        entries in prop::collection::vec(any_entry(), 0..20),
        shuffled in any::<prop::sample::Index>(),
        issued in -200_i64..200,
        value in 0_u128..4,
    ) {
        let in_order = |entries: &[RevocationEntry]| {
            let mut list = DenyList::default();
            for entry in entries {
                list.insert(entry);
            }
            list
        };
        let mut turned = entries.clone();
        turned.reverse();
        let middle = if turned.is_empty() { 0 } else { shuffled.index(turned.len()) };
        turned.rotate_left(middle);
        let (one, other) = (in_order(&entries), in_order(&turned));
        prop_assert_eq!(one.len(), other.len());
        // Applied twice, nothing changes.
        let twice = in_order(&[entries.clone(), turned].concat());
        prop_assert_eq!(one.len(), twice.len());
        let value = Uuid::from_u128(value);
        let now = crate::helpers::unix_now();
        let token = WORLD.issuer.user(value, ORG).issued(0, 900)
            .claim("iat", json!(now + issued))
            .claim("nbf", json!(null))
            .claim("jti", json!(value))
            .claim("sid", json!(value))
            .claim("client_id", json!(value));
        let later = now + 200;
        let verified = RUNTIME.block_on(WORLD.verifier.verify_at(&token.sign(), later)).ok();
        let verified = verified.expect("a token that nobody revoked");
        let named = entries.iter().any(|entry| is_about(entry, value, now + issued));
        prop_assert_eq!(one.contains(&verified), named);
        prop_assert_eq!(one.contains(&verified), other.contains(&verified));
        prop_assert_eq!(one.contains(&verified), twice.contains(&verified));
    }

    #[test]
    fn no_key_set_makes_the_manager_panic(set in any_json()) {
        let Ok(set) = serde_json::from_value::<JsonWebKeySet>(json!({ "keys": [set] })) else { return Ok(()) };
        let keys = Keys::new(Answer::Keys(json!({ "keys": set.keys })));
        let manager = JwksManager::new(keys, JwksSettings::default(), Arc::clone(&WORLD.metrics));
        let _ = RUNTIME.block_on(manager.fetch(false));
        prop_assert!(!manager.has_keys());
    }
}

/// A JWK that says anything under the names that count.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let value = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(|text| json!(text)),
        "[A-Za-z0-9_-]{0,400}".prop_map(|text| json!(text)),
        Just(json!(["verify"])),
        Just(json!("RSA")),
        Just(json!("sig")),
        Just(json!("AQAB")),
    ];
    let name = prop::sample::select(vec!["kty", "kid", "use", "key_ops", "alg", "n", "e", "d"]);
    prop::collection::hash_map(name, value, 0..8).prop_map(|members| json!(members))
}

#[test]
fn every_position_of_a_token_counts() {
    let token = &*TOKEN;
    assert!(refusal(token).is_none());
    for (at, character) in token.char_indices() {
        let other = if character == 'A' { 'B' } else { 'A' };
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        assert!(refusal(&changed).is_some(), "position {at}");
    }
}
