//! The signing key changes every six seconds for a minute, under load, and no valid token is refused.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use chaos::{Options, World};
use e2e::{Stack, auth_api, claims, metrics};
use tokio::{sync::Mutex, task::JoinSet};

const EVERY: Duration = Duration::from_secs(6);
const ROTATIONS: u32 = 10;

/// What the load saw.
#[derive(Default)]
struct Seen {
    kids: Mutex<HashSet<String>>,
    requests: AtomicU64,
    done: AtomicBool,
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn no_valid_token_is_refused_while_keys_rotate() {
    let options = Options::default().auth_api("JWKS_PREPUBLISH_SECONDS", "3");
    let world = World::start(options).await.unwrap();
    let before = metrics::scrape(&world.stack.chat.admin).await.unwrap();
    let seen = Arc::new(Seen::default());
    let mut load = JoinSet::new();
    load.spawn(refreshed_tokens(world.stack.clone(), Arc::clone(&seen)));
    load.spawn(service_tokens(world.stack.clone(), Arc::clone(&seen)));
    load.spawn(old_token(world.stack.clone(), Arc::clone(&seen)));

    let mut ticks = tokio::time::interval(EVERY);
    for _ in 0..ROTATIONS {
        tokio::select! {
            _ = ticks.tick() => { world.auth.run(&["keys", "rotate"]).await.unwrap(); }
            Some(ended) = load.join_next() => panic!("the load broke off: {:?}", ended.unwrap().unwrap_err()),
        }
    }
    ticks.tick().await;
    seen.done.store(true, Ordering::Relaxed);
    for outcome in load.join_all().await {
        outcome.unwrap();
    }
    let after = metrics::scrape(&world.stack.chat.admin).await.unwrap();
    let fetches = after.sum("jwks_refresh_total", &[]) - before.sum("jwks_refresh_total", &[]);
    let kids = seen.kids.lock().await.len();
    let requests = seen.requests.load(Ordering::Relaxed);
    println!("{requests} requests with tokens of {kids} keys, none refused; {fetches} fetches of the keys");
    assert!(kids >= 6, "only {kids} keys signed: the fault did not take hold");
    assert!(requests > 500, "only {requests} requests: there was no load");
    assert!(fetches <= f64::from(ROTATIONS) * 3.0 + 2.0, "{fetches} fetches: the cooldown does not hold");
    world.end().await.unwrap();
}

/// A new token each time, used at once.
async fn refreshed_tokens(stack: Stack, seen: Arc<Seen>) -> Result<()> {
    let mut refresh_token = stack.auth.login(&stack.settings.bob).await?.refresh_token;
    while !seen.done.load(Ordering::Relaxed) {
        let answer = stack.auth.refresh(&refresh_token).await?.expect(200)?;
        answer.text_at("/refresh_token")?.clone_into(&mut refresh_token);
        accepted(&stack, &seen, answer.text_at("/access_token")?, "").await?;
    }
    Ok(())
}

/// The same for a service, which gets its tokens faster.
async fn service_tokens(stack: Stack, seen: Arc<Seen>) -> Result<()> {
    let query = format!("org_id={}", stack.settings.org_id);
    while !seen.done.load(Ordering::Relaxed) {
        let token = stack.auth.service_token(&stack.settings.mozaiks_runtime_service, None).await?;
        accepted(&stack, &seen, &token, &query).await?;
    }
    Ok(())
}

/// One token for the whole time: its key retires, and stays good.
async fn old_token(stack: Stack, seen: Arc<Seen>) -> Result<()> {
    let session = stack.auth.login(&stack.settings.alice).await?;
    let started = Instant::now();
    while !seen.done.load(Ordering::Relaxed) {
        accepted(&stack, &seen, &session.access_token, "").await?;
        stack.auth.group(Some(&session.access_token), stack.settings.group_id).await?.expect(200)?;
    }
    let kid = session.token()?.header["kid"].as_str().unwrap_or_default().to_owned();
    let published = auth_api::key_ids(&stack.auth.jwks().await?)?;
    ensure!(
        published.contains(&kid),
        "the key of a token that lives was withdrawn after {:?}",
        started.elapsed()
    );
    Ok(())
}

async fn accepted(stack: &Stack, seen: &Seen, token: &str, query: &str) -> Result<()> {
    let kid = claims::decode(token)?.header["kid"].as_str().unwrap_or_default().to_owned();
    let query = format!("limit=1&{query}");
    let answer = stack.chat.history(token, stack.settings.group_id, query.trim_end_matches('&')).await?;
    ensure!(answer.status == 200, "a valid token of key {kid} got {}: {}", answer.status, answer.text);
    seen.kids.lock().await.insert(kid);
    seen.requests.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
