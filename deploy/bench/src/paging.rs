//! A page from the depth of a long history, against the newest page.

use std::time::{Duration, Instant};

use anyhow::Result;
use chaos::World;
use serde_json::json;

use crate::{
    Plan,
    load::{Load, get, post},
    report::Report,
    stats::{Ratio, median},
};

const SENDERS: usize = 64;
const PAGE: i64 = 50;
/// Loading goes on no longer than this.
const PATIENCE: Duration = Duration::from_mins(3);
/// And no further than to where the database takes this long for a page: beyond it chat-api would answer 503.
const SLOWEST: Duration = Duration::from_millis(300);

/// Loads a group with messages through chat-api, then reads its newest and its oldest page in turn.
pub(crate) async fn measure(plan: &Plan, world: &World, report: &mut Report) -> Result<()> {
    let alice = world.stack.auth.login(&world.stack.settings.alice).await?;
    let group_id = world.stack.settings.group_id;
    let path = format!("/api/chat/groups/{group_id}/messages");
    let body = json!({ "content": "One of very many messages." }).to_string();
    let sends = Load::new(
        &world.chat.peer,
        vec![post(&path, "application/json", Some(&alice.access_token), &body)],
        SENDERS,
        201,
    )?;
    let started = Instant::now();
    let newest_page = async || world.stack.chat.history(&alice.access_token, group_id, "").await?.expect(200);
    let mut top = newest_page().await?;
    while top.number_at("/last_seq")? < plan.depth && top.took < SLOWEST && started.elapsed() < PATIENCE {
        sends.run(Duration::from_secs(1), None).await?;
        top = newest_page().await?;
    }
    let depth = top.number_at("/last_seq")?;
    if depth < plan.depth {
        report.note(format!(
            "The long history holds {depth} messages instead of {}: after {:.0?} of loading this MongoDB took {:.0?} for a page.",
            plan.depth,
            started.elapsed(),
            top.took,
        ));
    }
    let page = |query: String| {
        Load::new(&world.chat.peer, vec![get(&format!("{path}?{query}"), Some(&alice.access_token))], 1, 200)
    };
    let newest = page(format!("limit={PAGE}"))?;
    let deep = page(format!("limit={PAGE}&before_seq={}", PAGE + 1))?;
    let (mut at_top, mut at_depth) = (vec![], vec![]);
    for round in 0..=plan.rounds {
        let top = newest.run(plan.slice, None).await?.quantile(0.5).as_secs_f64();
        let below = deep.run(plan.slice, None).await?.quantile(0.5).as_secs_f64();
        if round > 0 {
            at_top.push(top);
            at_depth.push(below);
        }
    }
    report.ratio_at_most(
        &format!("history page at depth {depth} / newest page, median latency"),
        1.2,
        Ratio::of(&at_depth, &at_top),
    )?;
    let millis = |numbers: &[f64]| format!("{:.2} ms", median(numbers) * 1e3);
    report.beside(
        "deep page, newest page of 50 messages",
        [&at_depth, &at_top].map(|numbers| millis(numbers)).join(", "),
    )
}
