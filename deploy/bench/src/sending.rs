//! Sending, against bare inserts into the same MongoDB, and what batching brings.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chaos::World;
use e2e::metrics;
use futures_util::TryStreamExt;
use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    options::{IndexOptions, InsertOneOptions, WriteConcern},
};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    Plan,
    load::{Load, post},
    report::{Report, short, spelled},
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

/// A collection beside chat-api's, and what a row in it looks like but for its ids and numbers.
#[derive(Clone)]
struct Bare {
    collection: Collection<Document>,
    row: Document,
}

/// Latency in groups of their own, throughput in one group, then the count of auth-api's requests.
pub(crate) async fn measure(plan: &Plan, world: &World, report: &mut Report) -> Result<()> {
    let alice = world.stack.auth.login(&world.stack.settings.alice).await?;
    let bare = Bare::least(world).await?;
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
    let same = Bare::same(world).await?;
    latency(plan, report, &own_groups, [&bare, &same]).await?;

    let group_id = world.stack.settings.group_id;
    let one_group = Load::new(&world.chat.peer, vec![message(group_id, &alice.access_token)], MANY, 201)?;
    throughput(plan, report, &one_group, &bare).await?;
    count_auth_api(world, report, &alice.access_token).await
}

fn message(group_id: Uuid, token: &str) -> Vec<u8> {
    let path = format!("/api/chat/groups/{group_id}/messages");
    post(&path, "application/json", Some(token), &json!({ "content": CONTENT }).to_string())
}

async fn latency(plan: &Plan, report: &mut Report, sends: &Load, [bare, same]: [&Bare; 2]) -> Result<()> {
    let (mut ours, mut theirs, mut of_same) = (vec![], vec![], vec![]);
    let (mut our_medians, mut their_medians, mut medians_of_same) = (vec![], vec![], vec![]);
    for round in 0..=plan.rounds {
        let mut sent = sends.run(plan.slice, None).await?;
        let (mut inserted, _) = inserts(bare, FEW, plan.slice).await?;
        let (mut inserted_same, _) = inserts(same, FEW, plan.slice).await?;
        if round > 0 {
            ours.push(sent.quantile(0.99).as_secs_f64());
            our_medians.push(sent.quantile(0.5).as_secs_f64());
            theirs.push(quantile(&mut inserted, 0.99).as_secs_f64());
            their_medians.push(quantile(&mut inserted, 0.5).as_secs_f64());
            of_same.push(quantile(&mut inserted_same, 0.99).as_secs_f64());
            medians_of_same.push(quantile(&mut inserted_same, 0.5).as_secs_f64());
        }
    }
    report.ratio_at_most(
        "send p99 / p99 of a bare majority insert, 4 senders",
        1.5,
        Ratio::of(&ours, &theirs),
    )?;
    report.beside(
        "the same, where the bare insert is of the same row under the same indexes",
        spelled(Ratio::of(&ours, &of_same)),
    )?;
    let millis = |numbers: &[f64]| format!("{:.1} ms", median(numbers) * 1e3);
    report.beside(
        "p50 and p99 of a send, a bare insert, and one of the same row",
        [&our_medians, &ours, &their_medians, &theirs, &medians_of_same, &of_same]
            .map(|numbers| millis(numbers))
            .join(", "),
    )
}

async fn throughput(plan: &Plan, report: &mut Report, sends: &Load, bare: &Bare) -> Result<()> {
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

impl Bare {
    /// The fields and indexes that a timeline needs at least.
    async fn least(world: &World) -> Result<Self> {
        let sender = Uuid::now_v7().to_string();
        let row = doc! {
            "_id": "", "org_id": &sender, "group_id": "", "seq": 0, "change": 0, "sender_id": &sender,
            "client_message_id": "", "content": CONTENT,
        };
        let keys = [
            doc! { "group_id": 1, "seq": 1 },
            doc! { "group_id": 1, "change": 1 },
            doc! { "client_message_id": 1 },
        ];
        Self::create(world, "bench_least", row, keys.map(|keys| (true, keys)).into()).await
    }

    /// The fields of a message as chat-api stores it, and its indexes.
    async fn same(world: &World) -> Result<Self> {
        let timeline = world.stack.timeline().await?.database().collection::<Document>("timeline");
        let row = timeline.find_one(doc! { "content": CONTENT }).await?.context("no message was stored")?;
        let indexes: Vec<IndexModel> = timeline.list_indexes().await?.try_collect().await?;
        let own = indexes.into_iter().filter(|index| !index.keys.contains_key("_id"));
        let is_unique =
            |index: &IndexModel| index.options.as_ref().is_some_and(|options| options.unique == Some(true));
        let keys = own.map(|index| (is_unique(&index), index.keys)).collect();
        Self::create(world, "bench_same", row, keys).await
    }

    /// Each index is unique or not, on these keys.
    async fn create(
        world: &World,
        name: &str,
        row: Document,
        indexes: Vec<(bool, Document)>,
    ) -> Result<Self> {
        let collection = world.stack.timeline().await?.database().collection::<Document>(name);
        for (unique, keys) in indexes {
            let options = IndexOptions::builder().unique(unique).build();
            collection.create_index(IndexModel::builder().keys(keys).options(options).build()).await?;
        }
        Ok(Self { collection, row })
    }
}

/// Latencies in nanoseconds, and inserts per second, of this many tasks that insert one document after the other.
async fn inserts(bare: &Bare, tasks: usize, slice: Duration) -> Result<(Vec<u32>, f64)> {
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

async fn insert_until(bare: Bare, until: Instant) -> Result<Vec<u32>> {
    let group_id = Uuid::now_v7().to_string();
    let majority = InsertOneOptions::builder().write_concern(WriteConcern::majority()).build();
    let mut latencies = Vec::new();
    for seq in 1_i64.. {
        let started = Instant::now();
        if started >= until {
            break;
        }
        let mut document = bare.row.clone();
        document.extend(doc! {
            "_id": Uuid::now_v7().to_string(), "group_id": &group_id, "seq": seq, "change": seq,
            "client_message_id": Uuid::now_v7().to_string(),
        });
        bare.collection.insert_one(document).with_options(majority.clone()).await.context("bare insert")?;
        latencies.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}
