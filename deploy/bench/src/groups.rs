//! `GET /api/chat/groups` of the real chat-api, with tokens of the real auth-api, and the way it was before.

use std::time::Duration;

use anyhow::{Context, Result};
use chaos::World;
use e2e::{Stack, auth_api};
use tokio::task::JoinSet;

use crate::{
    Plan,
    load::{Load, get},
    report::{Report, short},
    stats::{Ratio, median},
};

const PATH: &str = "/api/chat/groups";
const CONNECTIONS: usize = 64;
/// Spec 001's table: "50,000+".
const TARGET: f64 = 50_000.0;
/// Sessions that are refreshed beside each other to get many tokens.
const SESSIONS: usize = 4;

/// Local validation, and introspection beside it in the same rounds.
pub(crate) async fn measure(plan: &Plan, world: &mut World, report: &mut Report) -> Result<()> {
    let before = world.another_chat_api(&[("USE_OAUTH2_AUTH", "false")]).await?;
    let tokens = tokens(&world.stack, plan.tokens).await?;
    let requests: Vec<Vec<u8>> = tokens.iter().map(|token| get(PATH, Some(token))).collect();
    let local = Load::new(&world.chat.peer, requests.clone(), CONNECTIONS, 200)?;
    let remote = Load::new(&before.peer, requests, CONNECTIONS, 200)?;
    let health = Load::new(&world.chat.peer, vec![get("/health", None)], CONNECTIONS, 200)?;
    let (mut rates, mut cores, mut remote_rates, mut health_rates) = (vec![], vec![], vec![], vec![]);
    let (mut latency, mut remote_latency) = (Duration::ZERO, Duration::ZERO);
    for round in 0..=plan.rounds {
        let health = health.run(plan.slice, None).await?;
        let mut outcome = local.run(plan.slice, world.chat.pid()).await?;
        let mut other = remote.run(plan.slice / 2, None).await?;
        if round == 0 {
            continue;
        }
        rates.push(outcome.rate());
        cores.push(outcome.server_cpu.context("no CPU time")?.as_secs_f64() / outcome.elapsed.as_secs_f64());
        remote_rates.push(other.rate());
        health_rates.push(health.rate());
        latency = outcome.quantile(0.5);
        remote_latency = other.quantile(0.5);
    }
    report.at_least("`GET /api/chat/groups`, authenticated", TARGET, " requests/s", median(&rates))?;
    let per_core: Vec<f64> = rates.iter().zip(&cores).map(|(rate, cores)| rate / cores).collect();
    report.beside(
        "the same per core of chat-api (the load tool takes the rest of the machine)",
        format!("{} requests/s; chat-api used {} cores", short(median(&per_core)), short(median(&cores))),
    )?;
    report.beside(
        "the same / unauthenticated `GET /health` of the same process",
        short(Ratio::of(&rates, &health_rates).median),
    )?;
    report.beside(
        "before (`USE_OAUTH2_AUTH=false`: auth-api is asked each time), requests/s",
        format!(
            "{}; local validation is {} times that",
            short(median(&remote_rates)),
            short(Ratio::of(&rates, &remote_rates).median)
        ),
    )?;
    report.beside(
        "median latency with 64 connections, before and now",
        format!("{remote_latency:.1?} and {latency:.1?}"),
    )
}

/// Distinct user tokens, by refreshing a few sessions again and again: a login would pay for a password hash each time.
async fn tokens(stack: &Stack, count: usize) -> Result<Vec<String>> {
    let mut sessions = JoinSet::new();
    let people = [&stack.settings.alice, &stack.settings.bob];
    for person in people.into_iter().cycle().take(SESSIONS) {
        let session = stack.auth.login(person).await?;
        let (auth, share) = (stack.auth.clone(), count.div_ceil(SESSIONS));
        sessions.spawn(refreshed(auth, session.refresh_token, share));
    }
    let mut tokens = Vec::with_capacity(count);
    while let Some(refreshed) = sessions.join_next().await {
        tokens.extend(refreshed??);
    }
    tokens.truncate(count);
    Ok(tokens)
}

async fn refreshed(auth: auth_api::AuthApi, mut refresh_token: String, count: usize) -> Result<Vec<String>> {
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        let answer = auth.refresh(&refresh_token).await?.expect(200)?;
        tokens.push(answer.text_at("/access_token")?.to_owned());
        answer.text_at("/refresh_token")?.clone_into(&mut refresh_token);
    }
    Ok(tokens)
}
