//! Two processes of chat-api on one group, one of them killed in the middle.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::helpers::{World, eventually};
use mongodb::bson::doc;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SENDERS: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_message_is_lost_or_doubled_when_a_replica_is_killed() {
    let world = Arc::new(World::new(SENDERS));
    let mut replicas = [world.replica().await, world.replica().await];
    let clients = Arc::new([Mutex::new(replicas[0].client.clone()), Mutex::new(replicas[1].client.clone())]);
    let acknowledged: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
    let (created, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));

    let senders = (0..SENDERS).map(|member| {
        let (world, clients) = (Arc::clone(&world), Arc::clone(&clients));
        let (acknowledged, created, stop) =
            (Arc::clone(&acknowledged), Arc::clone(&created), Arc::clone(&stop));
        tokio::spawn(async move {
            let token = world.token(member);
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // Each sender keeps to its replica, and repeats a message until it is acknowledged, there or at the other one.
                let id = format!("{member}-{number}");
                for attempt in 0.. {
                    let client = clients[(member + attempt) % 2].lock().unwrap().clone();
                    let body = json!({ "content": id, "client_message_id": id });
                    let answer =
                        client.try_request(Method::POST, &world.path(), Some(&token), Some(body)).await;
                    match answer {
                        Ok(answer) if answer.status.is_success() => {
                            acknowledged.lock().unwrap().insert(id.clone(), answer.body);
                            created.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        Ok(answer) => {
                            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
                        }
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            }
        })
    });
    let senders: Vec<_> = senders.collect();

    for round in 1..=3 {
        let goal = created.load(Ordering::Relaxed) + 150;
        eventually("messages flow", Duration::from_mins(1), async || created.load(Ordering::Relaxed) >= goal)
            .await;
        // SIGKILL, while the other senders' batches are on their way.
        let killed = round % 2;
        replicas[killed].process.kill().unwrap();
        replicas[killed].process.wait().unwrap();
        replicas[killed] = world.replica().await;
        *clients[killed].lock().unwrap() = replicas[killed].client.clone();
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }

    let history = world.history(&replicas[0]).await;
    assert_eq!(history, world.history(&replicas[1]).await);
    assert_gapless(&history);
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() >= 450, "{}", acknowledged.len());
    let mut stored: HashMap<&str, &Value> = HashMap::new();
    for message in &history {
        let id = message["client_message_id"].as_str().unwrap();
        assert!(stored.insert(id, message).is_none(), "{id} is stored twice");
    }
    for (id, answer) in acknowledged.iter() {
        assert_eq!(stored.get(id.as_str()), Some(&answer), "{id}");
    }
    assert_order_of_each_sender(&history);
}

/// Numbers without a hole or an inversion: `seq` and `change` both count up by one.
fn assert_gapless(history: &[Value]) {
    for (index, message) in history.iter().enumerate() {
        assert_eq!(message["seq"], json!(index + 1));
        assert_eq!(message["change"], json!(index + 1));
    }
}

/// A sender sends one message after the other, so its messages are in order.
fn assert_order_of_each_sender(history: &[Value]) {
    let mut last: HashMap<&str, usize> = HashMap::new();
    for message in history {
        let id = message["client_message_id"].as_str().unwrap();
        let number: usize = id.split_once('-').unwrap().1.parse().unwrap();
        let sender = message["sender_id"].as_str().unwrap();
        let before = last.insert(sender, number);
        assert_eq!(before.map_or(0, |before| before + 1), number, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_parallel_retries_at_two_replicas_store_one_message() {
    let world = World::new(SENDERS);
    let replicas = [world.replica().await, world.replica().await];
    let token = world.token(0);

    for round in 0..3 {
        let body = json!({ "content": "once", "client_message_id": format!("r-{round}") });
        let sends = (0..50).map(|number| {
            let (client, token, body, group_id) =
                (replicas[number % 2].client.clone(), token.clone(), body.clone(), world.group_id);
            tokio::spawn(async move { client.send_message(&token, group_id, body).await })
        });
        let mut answers = Vec::new();
        for send in sends.collect::<Vec<_>>() {
            answers.push(send.await.unwrap());
        }
        assert!(answers.iter().all(|answer| answer.status.is_success()), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
        assert!(answers.iter().all(|answer| answer.body["id"] == answers[0].body["id"]));
    }

    assert_gapless(&world.history(&replicas[0]).await);
}

/// What a crash between the insert of messages and the update of their head leaves behind.
async fn rewind_head(world: &World, seq: i64) {
    let heads = world.collection("group_heads").await;
    let id = format!("{}/{}", world.org_id, world.group_id);
    let rewound = doc! { "$set": { "last_seq": seq, "last_change": seq, "last_message": null } };
    let result = heads.update_one(doc! { "_id": id }, rewound).await.unwrap();
    assert_eq!(result.matched_count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_left_behind_by_a_crash_is_healed_at_the_next_start() {
    let world = World::new(SENDERS);
    let replica = world.replica().await;
    let token = world.token(0);
    for number in 0..5 {
        let body = json!({ "content": number.to_string() });
        assert_eq!(
            replica.client.send_message(&token, world.group_id, body).await.status,
            StatusCode::CREATED
        );
    }
    let heads = world.collection("group_heads").await;
    let id = format!("{}/{}", world.org_id, world.group_id);
    let stored_seq = async || {
        let head = heads.find_one(doc! { "_id": &id }).await.unwrap();
        head.map(|head| head.get_i64("last_seq").unwrap())
    };
    eventually("the head is stored", Duration::from_secs(5), async || stored_seq().await == Some(5)).await;
    drop(replica);
    rewind_head(&world, 2).await;

    let replica = world.replica().await;

    eventually("the head is healed", Duration::from_secs(10), async || stored_seq().await == Some(5)).await;
    let groups = replica.client.list_groups(&token, "?include=activity").await;
    assert_eq!(groups.body["items"][0]["last_seq"], 5);
    assert_eq!(groups.body["items"][0]["last_message"]["content"], "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_left_behind_does_not_mislead_a_running_replica() {
    let world = World::new(SENDERS);
    let (writer, reader) = (world.replica().await, world.replica().await);
    let token = world.token(0);
    for number in 0..200 {
        let body = json!({ "content": number.to_string() });
        let answer = writer.client.send_message(&token, world.group_id, body).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    drop(writer);
    // The first use of the group in this process finds a head that is more than a bucket behind.
    rewind_head(&world, 0).await;

    assert_eq!(world.history(&reader).await.len(), 200);
    let sent = reader.client.send_message(&token, world.group_id, json!({ "content": "next" })).await;
    assert_eq!((sent.status, &sent.body["seq"]), (StatusCode::CREATED, &json!(201)));
    assert_gapless(&world.history(&reader).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_messages_with_one_client_message_id_at_two_replicas_one_is_stored() {
    let world = World::new(SENDERS);
    let replicas = [world.replica().await, world.replica().await];
    let token = world.token(0);
    let root = replicas[0].client.send_message(&token, world.group_id, json!({ "content": "root" })).await;
    let thread_root = &root.body["id"];

    for round in 0..5 {
        let id = format!("b-{round}");
        let bodies = [
            json!({ "content": "this", "client_message_id": id }),
            json!({ "content": "that", "client_message_id": id }),
            json!({ "content": "this", "client_message_id": id, "thread_root": thread_root }),
        ];
        let sends = (0..30).map(|number| {
            let (client, token, body, group_id) = (
                replicas[number % 2].client.clone(),
                token.clone(),
                bodies[number % bodies.len()].clone(),
                world.group_id,
            );
            tokio::spawn(async move { (number, client.send_message(&token, group_id, body).await) })
        });
        let mut answers = Vec::new();
        for send in sends.collect::<Vec<_>>() {
            answers.push(send.await.unwrap());
        }
        let created: Vec<_> =
            answers.iter().filter(|(_, answer)| answer.status == StatusCode::CREATED).collect();
        let [(winner, first)] = created.as_slice() else { panic!("{created:?}") };
        for (number, answer) in &answers {
            if number % bodies.len() == winner % bodies.len() {
                assert!(answer.status.is_success() && answer.body["id"] == first.body["id"], "{answer:?}");
            } else {
                assert_eq!(answer.error(), (409, "conflict"));
            }
        }
    }
    assert_eq!(world.history(&replicas[1]).await.len(), 6);
}
