//! The hand-out of a fresh token by oauth-integrations, beside a bare `SELECT` on the same PostgreSQL.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos::{Service, World, ports::free_port};
use e2e::{
    browser::Browser,
    http::{self, Peer},
    oauth_integrations::OauthIntegrations,
};
use simulator::{Settings, Simulator, github_private_key_pem};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::{
    Plan,
    load::{Load, get},
    report::{Report, short},
    stats::{Ratio, median, quantile},
};

/// Callers beside each other: few, so that the latency is that of the work and not of a queue.
const CALLERS: usize = 4;
/// Encrypts tokens that a simulator made up.
const TOKEN_ENCRYPTION_KEYS: &str = "bench:YmVuY2ggYmVuY2ggYmVuY2ggYmVuY2ggYmVuY2ggISE=";
const SELECT: &str = "SELECT access_token_encrypted FROM installation_credentials LIMIT 1";
const COUNT: &str = "SELECT count(*) FROM token_hand_outs";

/// Connects GitHub once, then reads its token in rounds with bare reads of the row.
pub(crate) async fn measure(plan: &Plan, world: &mut World, report: &mut Report) -> Result<()> {
    let port = free_port()?;
    let base = format!("http://127.0.0.1:{port}");
    let github = Simulator::start(Settings { callback_base: base.clone(), ..Settings::default() })?;
    let database = world.databases.create_for("oauth-integrations").await?;
    let key = std::env::temp_dir().join(format!("{database}.pem"));
    std::fs::write(&key, github_private_key_pem())?;
    let mut service = service(world, &github, &database, port, &key)?;
    service.start().await?;
    connect(world, &base).await?;

    let token = world.stack.auth.service_token(&world.stack.settings.indexer_worker, None).await?;
    let path = format!("/oauth/token/github?org_id={}", world.stack.settings.org_id);
    let peer = Peer::new(http::client()?, &base);
    peer.get(&path).bearer(&token).send().await?.expect(200)?;
    let calls = github.calls().len();
    let ours = Load::new(&peer, vec![get(&path, Some(&token))], CALLERS, 200)?;
    let url = world.databases.postgres_url(&database);
    let result = compare(plan, report, &ours, &url).await;
    let called = github.calls().len() - calls;
    service.stop().await?;
    std::fs::remove_file(&key)?;
    result?;
    report.none("calls to the provider meanwhile", called)
}

async fn compare(plan: &Plan, report: &mut Report, ours: &Load, url: &str) -> Result<()> {
    let counter = connection(url).await?;
    let audited = async || anyhow::Ok(counter.query_one(COUNT, &[]).await?.get::<_, i64>(0));
    let before = audited().await?;
    let (mut our_p99, mut our_p50, mut bare_p99, mut bare_p50, mut rates) =
        (vec![], vec![], vec![], vec![], vec![]);
    let mut requests = 0;
    for round in 0..=plan.rounds {
        let mut outcome = ours.run(plan.slice, None).await?;
        let mut bare = selects(url, plan.slice).await?;
        requests += outcome.requests;
        if round > 0 {
            rates.push(outcome.rate());
            our_p99.push(outcome.quantile(0.99).as_secs_f64());
            our_p50.push(outcome.quantile(0.5).as_secs_f64());
            bare_p99.push(quantile(&mut bare, 0.99).as_secs_f64());
            bare_p50.push(quantile(&mut bare, 0.5).as_secs_f64());
        }
    }
    let unaudited = requests.abs_diff(usize::try_from(audited().await? - before)?);
    let ratio = Ratio::of(&our_p99, &bare_p99);
    report.beside(
        "hand-out of a fresh token p99 / bare `SELECT` p99, 4 callers",
        format!(
            "{} [{}, {}]; {} hand-outs/s",
            short(ratio.median),
            short(ratio.low),
            short(ratio.high),
            short(median(&rates))
        ),
    )?;
    let millis = |numbers: &[f64]| format!("{:.2} ms", median(numbers) * 1e3);
    report.beside(
        "hand-out p50 and p99 (it writes its audit), `SELECT` p50 and p99",
        [&our_p50, &our_p99, &bare_p50, &bare_p99].map(|numbers| millis(numbers)).join(", "),
    )?;
    report.none("hand-outs without their row in the audit", unaudited)
}

/// Latencies of the bare read, in nanoseconds, over as many connections.
async fn selects(url: &str, slice: Duration) -> Result<Vec<u32>> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = connection(url).await?;
        callers.spawn(async move {
            let statement = client.prepare(SELECT).await?;
            let mut latencies = Vec::new();
            let until = Instant::now() + slice;
            loop {
                let started = Instant::now();
                if started >= until {
                    return anyhow::Ok(latencies);
                }
                client.query_one(&statement, &[]).await?;
                latencies.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = callers.join_next().await {
        all.extend(latencies??);
    }
    Ok(all)
}

async fn connection(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("PostgreSQL")?;
    tokio::spawn(connection);
    Ok(client)
}

fn service(
    world: &World,
    github: &Simulator,
    database: &str,
    port: u16,
    key: &std::path::Path,
) -> Result<Service> {
    let auth = world.stack.auth.peer.base();
    let base = format!("http://127.0.0.1:{port}");
    let app = &github.settings().github_app;
    let address = world.databases.postgres_address();
    let (user, password) = world.databases.postgres_login();
    let settings = [
        ("PUBLIC_URL", base.as_str()),
        ("OAUTH_CALLBACK_BASE", &base),
        ("AUTH_API_ISSUER", auth),
        ("CLIENT_ID", "oauth-integrations-service"),
        ("CLIENT_SECRET", &world.stack.settings.oauth_integrations_service.client_secret),
        ("POSTGRES_HOST", &address.host),
        ("POSTGRES_PORT", &address.port.to_string()),
        ("POSTGRES_USER", &user),
        ("POSTGRES_PASSWORD", &password),
        ("POSTGRES_DB", database),
        ("TOKEN_ENCRYPTION_KEYS", TOKEN_ENCRYPTION_KEYS),
        ("GITHUB_APP_ID", &app.id.to_string()),
        ("GITHUB_APP_SLUG", &app.slug),
        ("GITHUB_CLIENT_ID", &app.client.id),
        ("GITHUB_CLIENT_SECRET", &app.client.secret),
        ("GITHUB_PRIVATE_KEY_PATH", &key.display().to_string()),
        ("GITHUB_BROWSER_URL", github.github_url()),
        ("GITHUB_API_URL", github.github_url()),
        ("RATE_LIMIT_HAND_OUT_PER_MINUTE", "100000000"),
        ("RUST_LOG", "warn"),
    ];
    Service::new(
        "oauth-integrations",
        "oauth-integrations",
        &std::env::temp_dir(),
        (port, free_port()?),
        &settings,
    )
}

/// Alice connects GitHub in a browser.
async fn connect(world: &World, base: &str) -> Result<()> {
    let client = http::client()?;
    let peer = Peer::new(client, base);
    let integrations = OauthIntegrations { admin: peer.clone(), peer };
    let alice = world.stack.auth.login(&world.stack.settings.alice).await?;
    let ticket = integrations.install_ticket(Some(&alice.access_token), "github").await?.expect(201)?;
    let mut browser = Browser::new()?;
    browser.open(ticket.text_at("/install_url")?).await?;
    browser.submit(&[]).await?;
    let choice =
        [("user", "alice"), ("account", "example-corp"), ("repositories", "all"), ("decision", "approve")];
    let page = browser.submit(&choice).await?;
    ensure!(
        page.status == 200 && page.url.as_str().starts_with(base),
        "GitHub was not connected: {}",
        page.heading()
    );
    Ok(())
}
