//! Sending, against bare inserts into the same MongoDB, and what batching brings.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chaos::World;
use e2e::metrics;
use mongodb::{
    Collection,
    bson::{Document, doc},
    options::{InsertOneOptions, WriteConcern},
};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    Plan,
    load::{Load, post},
    report::{Report, short},
    stats::{Ratio, median, quantile},
};

/// Senders of the latency measurement, each in a group of its own.
const FEW: usize = 4;
/// Senders of the throughput measurement, all in one group.
const MANY: usize = 64;
const CONTENT: &str =
    "A message of the usual length, such as people write when they have something to say to each other.";
/// Messages over which auth-api's requests are counted.
const COUNTED: usize = 2_000;

/// Latency in groups of their own, throughput in one group, then the count of auth-api's requests.
pub(crate) async fn measure(plan: &Plan, world: &World, report: &mut Report) -> Result<()> {
    let alice = world.stack.auth.login(&world.stack.settings.alice).await?;
    let bare = bare_collection(world).await?;
    let mut requests = Vec::new();
    for number in 0..FEW {
        let name = format!("Bench {number}");
        let group_id = world.stack.auth.group_of(&alice.access_token, &name, &[]).await?;
        e2e::wait::until(Duration::from_secs(5), "chat-api knows the group", async || {
            Ok(world.stack.chat.send(&alice.access_token, group_id, CONTENT).await?.status == 201)
        })
        .await?;
        requests.push(message(group_id, &alice.access_token));
    }
    let own_groups = Load::new(&world.chat.peer, requests, FEW, 201)?;
    latency(plan, report, &own_groups, &bare).await?;

    let group_id = world.stack.settings.group_id;
    let one_group = Load::new(&world.chat.peer, vec![message(group_id, &alice.access_token)], MANY, 201)?;
    throughput(plan, report, &one_group, &bare).await?;
    count_auth_api(world, report, &alice.access_token).await
}

fn message(group_id: Uuid, token: &str) -> Vec<u8> {
    let path = format!("/api/chat/groups/{group_id}/messages");
    post(&path, "application/json", Some(token), &json!({ "content": CONTENT }).to_string())
}

async fn latency(plan: &Plan, report: &mut Report, sends: &Load, bare: &Collection<Document>) -> Result<()> {
    let (mut ours, mut theirs, mut our_medians, mut their_medians) = (vec![], vec![], vec![], vec![]);
    for round in 0..=plan.rounds {
        let mut sent = sends.run(plan.slice, None).await?;
        let (mut inserted, _) = inserts(bare, FEW, plan.slice).await?;
        if round > 0 {
            ours.push(sent.quantile(0.99).as_secs_f64());
            our_medians.push(sent.quantile(0.5).as_secs_f64());
            theirs.push(quantile(&mut inserted, 0.99).as_secs_f64());
            their_medians.push(quantile(&mut inserted, 0.5).as_secs_f64());
        }
    }
    report.ratio_at_most(
        "send p99 / p99 of a bare majority insert, 4 senders",
        1.5,
        Ratio::of(&ours, &theirs),
    )?;
    let millis = |numbers: &[f64]| format!("{:.1} ms", median(numbers) * 1e3);
    report.beside(
        "send p50 and p99, bare insert p50 and p99",
        [&our_medians, &ours, &their_medians, &theirs].map(|numbers| millis(numbers)).join(", "),
    )
}

async fn throughput(
    plan: &Plan,
    report: &mut Report,
    sends: &Load,
    bare: &Collection<Document>,
) -> Result<()> {
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..=plan.rounds {
        let sent = sends.run(plan.slice, None).await?.rate();
        let (_, inserted) = inserts(bare, 1, plan.slice).await?;
        if round > 0 {
            ours.push(sent);
            theirs.push(inserted);
        }
    }
    report.ratio_at_least(
        "messages/s of one group with 64 senders / inserts one by one, as gapless numbers need without batches",
        3.0,
        Ratio::of(&ours, &theirs),
    )?;
    report.beside(
        "messages/s in one group, inserts/s one by one",
        [&ours, &theirs].map(|numbers| short(median(numbers))).join(", "),
    )
}

async fn count_auth_api(world: &World, report: &mut Report, token: &str) -> Result<()> {
    let before = metrics::scrape(&world.stack.auth.admin).await?;
    for _ in 0..COUNTED {
        world.stack.chat.send(token, world.stack.settings.group_id, CONTENT).await?.expect(201)?;
    }
    let growth = metrics::scrape(&world.stack.auth.admin).await?.growth_since(&before);
    report.none(&format!("requests to auth-api during {COUNTED} messages"), growth.len())
}

/// A collection beside chat-api's, with the indexes that a timeline needs at least.
async fn bare_collection(world: &World) -> Result<Collection<Document>> {
    let timeline = world.stack.timeline().await?;
    let collection = timeline.database().collection::<Document>("bench_inserts");
    for keys in [
        doc! { "group_id": 1, "seq": 1 },
        doc! { "group_id": 1, "change": 1 },
        doc! { "client_message_id": 1 },
    ] {
        let options = mongodb::options::IndexOptions::builder().unique(true).build();
        collection.create_index(mongodb::IndexModel::builder().keys(keys).options(options).build()).await?;
    }
    Ok(collection)
}

/// Latencies in nanoseconds, and inserts per second, of this many tasks that insert one document after the other.
async fn inserts(bare: &Collection<Document>, tasks: usize, slice: Duration) -> Result<(Vec<u32>, f64)> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        running.spawn(insert_until(bare.clone(), started + slice));
    }
    let mut latencies = Vec::new();
    while let Some(outcome) = running.join_next().await {
        latencies.extend(outcome??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count that is far below 2^52")]
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    Ok((latencies, rate))
}

async fn insert_until(bare: Collection<Document>, until: Instant) -> Result<Vec<u32>> {
    let group_id = Uuid::now_v7().to_string();
    let majority = InsertOneOptions::builder().write_concern(WriteConcern::majority()).build();
    let mut latencies = Vec::new();
    for seq in 1_i64.. {
        let started = Instant::now();
        if started >= until {
            break;
        }
        let document = doc! {
            "_id": Uuid::now_v7().to_string(), "org_id": &group_id, "group_id": &group_id, "seq": seq, "change": seq,
            "sender_id": &group_id, "client_message_id": Uuid::now_v7().to_string(), "content": CONTENT,
        };
        bare.insert_one(document).with_options(majority.clone()).await.context("bare insert")?;
        latencies.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}
