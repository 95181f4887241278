//! The store alone, on a real database: what the rest relies on, on `FerretDB` and `MongoDB` alike.

use std::{collections::HashMap, time::Duration};

use chat_api::{
    domain::group::Heads,
    store::{
        BUCKET_SIZE, GroupKey, Store, StoreSettings, bucket,
        group::HeadRecord,
        message::{Inserted, NewMessage, TimelineRecord, Tip},
    },
};
use common_auth::{Orgs, Principal, Service, Tenant};
use futures_util::FutureExt;
use mongodb::bson::DateTime;
use uuid::Uuid;

use crate::helpers::mongodb_uri;

async fn store() -> Store {
    let settings = StoreSettings {
        uri: mongodb_uri(),
        database: format!("chat_test_{}", Uuid::now_v7().simple()),
        connect: Duration::from_secs(2),
        server_selection: Duration::from_secs(2),
        operation: Duration::from_secs(10),
    };
    let store = Store::connect(&settings).await.unwrap();
    store.prepare().await.unwrap();
    store
}

fn tenant() -> Tenant {
    let service = Service { client_id: "test".to_owned(), scopes: Vec::new(), orgs: Orgs::All };
    Principal::Service(service).tenant(Some(Uuid::now_v7())).unwrap()
}

fn message(client_message_id: &str) -> NewMessage {
    NewMessage {
        id: Uuid::now_v7(),
        sender_id: Uuid::from_u128(1),
        client_message_id: client_message_id.to_owned(),
        content: "x".to_owned(),
        body_sha256: String::new(),
        thread: None,
    }
}

/// That many rows after `tip`.
fn rows(key: &GroupKey, mut tip: Tip, count: usize) -> Vec<TimelineRecord> {
    let mut rows = Vec::new();
    for _ in 0..count {
        let row = TimelineRecord::message(key, &message(&Uuid::now_v7().to_string()), tip, DateTime::now());
        tip = row.tip();
        rows.push(row);
    }
    rows
}

const fn tip(number: i64) -> Tip {
    Tip { change: number, seq: number }
}

#[tokio::test]
async fn preparing_twice_is_preparing_once() {
    let store = store().await;
    store.prepare().await.unwrap();
    assert!(store.is_prepared());
}

#[tokio::test]
async fn an_ordered_insert_stops_at_the_first_row_that_is_refused() {
    let (store, key) = (store().await, GroupKey::new(tenant(), Uuid::now_v7()));
    let first = rows(&key, tip(0), 2);
    assert!(matches!(store.insert_timeline(&first).await, Ok(Inserted::All)));

    // Its number is taken.
    let outcome = store.insert_timeline(&rows(&key, tip(1), 3)).await;
    assert!(matches!(outcome, Ok(Inserted::Duplicate(0))), "{outcome:?}");
    // Its client message id is taken.
    let mut second = rows(&key, tip(2), 3);
    second[1].client_message_id.clone_from(&first[0].client_message_id);
    let outcome = store.insert_timeline(&second).await;
    assert!(matches!(outcome, Ok(Inserted::Duplicate(1))), "{outcome:?}");

    assert_eq!(store.find_tip(&key, tip(0)).await.unwrap(), tip(3));
    let found = store.find_by_client_message_id(&key, Uuid::from_u128(1), &first[0].client_message_id);
    assert_eq!(found.await.unwrap().unwrap().id, first[0].id);
}

#[tokio::test]
async fn the_tip_is_found_from_any_hint() {
    let (store, key) = (store().await, GroupKey::new(tenant(), Uuid::now_v7()));
    assert_eq!(store.find_tip(&key, tip(0)).await.unwrap(), tip(0));
    let mut last = tip(0);
    // Around the edges of buckets.
    for count in [1, 126, 1, 127, 1, 200] {
        store.insert_timeline(&rows(&key, last, count)).await.unwrap();
        last = tip(last.change + i64::try_from(count).unwrap());
        for hint in [0, 1, last.change - 1, last.change, last.change + 1, last.change + 10 * BUCKET_SIZE] {
            let found = store.find_tip(&key, tip(hint)).await.unwrap();
            assert_eq!(found, last, "from {hint}");
        }
    }
}

#[tokio::test]
async fn changes_are_listed_across_buckets() {
    let (store, key) = (store().await, GroupKey::new(tenant(), Uuid::now_v7()));
    for start in [0, 100, 200] {
        store.insert_timeline(&rows(&key, tip(start), 100)).await.unwrap();
    }
    for after in [0, 126, 127, 128, 299, 300, 400] {
        let numbers: Vec<i64> =
            store.list_changes(&key, after).await.unwrap().iter().map(|row| row.change).collect();
        assert_eq!(numbers, (after + 1..=300).collect::<Vec<_>>(), "after {after}");
    }
}

#[tokio::test]
async fn heads_move_forward_only() {
    let (store, tenant) = (store().await, tenant());
    let key = GroupKey::new(tenant, Uuid::now_v7());
    for _ in 0..2 {
        store.insert_head(&key).await.unwrap();
    }
    for (number, expected) in [(3, 3), (2, 3), (5, 5)] {
        store.update_head(&HeadRecord::new(&key, tip(number), None)).await.unwrap();
        assert_eq!(store.find_head(&key).await.unwrap().unwrap().tip(), tip(expected));
    }
    let listed = async |groups: Option<&[Uuid]>| store.list_heads(tenant, groups).await.unwrap().len();
    assert_eq!(listed(None).await, 1);
    assert_eq!(listed(Some(&[Uuid::now_v7(), key.group_id()])).await, 1);
    assert_eq!(listed(Some(&[Uuid::now_v7()])).await, 0);
}

#[tokio::test]
async fn replies_are_counted_by_their_root() {
    let (store, key) = (store().await, GroupKey::new(tenant(), Uuid::now_v7()));
    let mut stored = rows(&key, tip(0), 300);
    // The first message has 200 replies, the 130th one, the others none.
    let threads = [(1, 200), (130, 1)].map(|(seq, count)| (stored[seq - 1].id.clone(), seq, count));
    let mut replies = stored.iter_mut().skip(1);
    for (root_id, seq, count) in &threads {
        for reply in replies.by_ref().filter(|row| row.seq != 130).take(*count) {
            reply.thread_root = Some(root_id.clone());
            reply.thread_bucket = Some(bucket(i64::try_from(*seq).unwrap()));
        }
    }
    store.insert_timeline(&stored).await.unwrap();

    let [(first, ..), (second, ..)] = &threads;
    let counted = async |from, to| store.count_replies(&key, from, to).await.unwrap();
    assert_eq!(counted(1, 300).await, HashMap::from([(first.clone(), 200), (second.clone(), 1)]));
    assert_eq!(counted(1, 1).await.get(first), Some(&200));
    assert_eq!(counted(130, 130).await.get(second), Some(&1));
    assert_eq!(counted(1, 0).await, HashMap::new());
}

#[tokio::test]
async fn a_save_that_is_stopped_loses_no_head() {
    let (store, key) = (store().await, GroupKey::new(tenant(), Uuid::now_v7()));
    store.insert_head(&key).await.unwrap();
    let (heads, row) = (Heads::new(store.clone()), rows(&key, tip(0), 1).remove(0));
    heads.note_written(&key, &row);

    // Dropped while the database has not answered yet, as when the service stops.
    assert!(heads.save_all().now_or_never().is_none());
    heads.save_all().await.unwrap();

    assert_eq!(store.find_head(&key).await.unwrap().unwrap().tip(), tip(1));
}

#[tokio::test]
async fn heads_are_healed_in_either_direction_and_made_where_there_is_none() {
    let (store, tenant) = (store().await, tenant());
    let keys = [2, 5].map(|number| (GroupKey::new(tenant, Uuid::now_v7()), number));
    for (key, number) in &keys {
        store.insert_timeline(&rows(key, tip(0), 3)).await.unwrap();
        store.insert_head(key).await.unwrap();
        store.update_head(&HeadRecord::new(key, tip(*number), None)).await.unwrap();
    }
    let lost = GroupKey::new(tenant, Uuid::now_v7());
    store.insert_timeline(&rows(&lost, tip(0), 3)).await.unwrap();
    let heads = Heads::new(store.clone());

    assert_eq!(heads.heal_all().await.unwrap(), 2);
    assert_eq!(heads.find_head(&lost).await.unwrap().tip(), tip(3));
    heads.save_all().await.unwrap();

    for key in [&keys[0].0, &keys[1].0, &lost] {
        let head = store.find_head(key).await.unwrap().unwrap();
        assert_eq!((head.tip(), head.last_message.unwrap().seq), (tip(3), 3));
    }
}

#[tokio::test]
async fn timelines_do_not_touch_each_other() {
    let (store, group_id) = (store().await, Uuid::now_v7());
    let keys = [GroupKey::new(tenant(), group_id), GroupKey::new(tenant(), group_id)];
    for key in &keys {
        store.insert_timeline(&rows(key, tip(0), 3)).await.unwrap();
    }
    let own = store.list_messages(&keys[0], 1, 10).await.unwrap();
    assert_eq!(own.len(), 3);
    let id = Uuid::parse_str(&own[0].id).unwrap();
    assert!(store.find_message(&keys[0], id).await.unwrap().is_some());
    assert!(store.find_message(&keys[1], id).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_stored_before_the_indexes_are_there() {
    let settings = StoreSettings {
        uri: mongodb_uri(),
        database: "chat_test_unprepared".to_owned(),
        connect: Duration::from_secs(2),
        server_selection: Duration::from_secs(2),
        operation: Duration::from_secs(10),
    };
    let store = Store::connect(&settings).await.unwrap();
    let key = GroupKey::new(tenant(), Uuid::now_v7());
    assert!(store.insert_timeline(&rows(&key, tip(0), 1)).await.is_err());
    assert_eq!(store.find_tip(&key, tip(0)).await.unwrap(), tip(0));
}
