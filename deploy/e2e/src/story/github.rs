//! Alice connects GitHub for her organization, and a program reads the token.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

use crate::{auth_api::Session, browser::Browser, http, http::Peer, narrator::Narrator, stack::Stack};

/// The account on GitHub that is connected; the simulator knows it.
const ACCOUNT: &str = "example-corp";

pub(super) async fn tell<W: Write>(
    stack: &Stack,
    told: &mut Narrator<W>,
    alice: &Session,
    bob: &Session,
) -> Result<()> {
    connect(stack, told, alice, bob).await?;
    let installation = look_at_installation(stack, told, alice).await?;
    read_token(stack, told, &installation).await?;
    refuse(stack, told, alice).await
}

async fn connect<W: Write>(
    stack: &Stack,
    told: &mut Narrator<W>,
    alice: &Session,
    bob: &Session,
) -> Result<()> {
    told.step("Alice connects GitHub (simulated) for her organization, in a browser")?;
    stack
        .integrations
        .install_ticket(Some(&bob.access_token), "github")
        .await?
        .expect_error(403, "permission_denied")?;
    told.check(true, "Bob, a member, may not: 403 permission_denied")?;
    let ticket = stack.integrations.install_ticket(Some(&alice.access_token), "github").await?.expect(201)?;
    let mut browser = Browser::new()?;
    let mut page = browser.open(ticket.text_at("/install_url")?).await?;
    let names_both = page.html.contains("alice") && page.html.contains(&stack.settings.org_id.to_string());
    told.check(page.status == 200 && names_both, "the page names her and the organization, and asks")?;
    page = browser.submit(&[]).await?;
    told.check(page.heading().starts_with("Install"), format!("GitHub asks in turn: {:?}", page.heading()))?;
    let choice = [("user", "alice"), ("account", ACCOUNT), ("repositories", "all"), ("decision", "approve")];
    page = browser.submit(&choice).await?;
    if page.heading().starts_with("Authorize") {
        told.check(
            true,
            "it was installed already, so she proves with a second consent that the account is hers",
        )?;
        page = browser.submit(&[("user", "alice"), ("decision", "approve")]).await?;
    }
    let is_clean = page.url.query().is_none_or(|query| !query.contains("code=") && !query.contains("state="));
    told.check(page.status == 200 && is_clean, format!("she approves and is back: {:?}", page.heading()))
}

async fn look_at_installation<W: Write>(
    stack: &Stack,
    told: &mut Narrator<W>,
    alice: &Session,
) -> Result<Value> {
    told.step("The connection is there, and checked")?;
    let list = stack.integrations.installations(Some(&alice.access_token), "github").await?.expect(200)?;
    let found = list.list_at("/items")?.iter().find(|item| item["external_org_name"] == ACCOUNT).cloned();
    let installation = found.unwrap_or_default();
    told.check(installation["status"] == "active", format!("GET /oauth/installations: {ACCOUNT} is active"))?;
    told.check(!list.text.contains("_token\":\""), "and no token is in the list")?;
    let id = installation["id"].as_str().unwrap_or_default();
    let checked = stack.integrations.check(&alice.access_token, id).await?.expect(200)?;
    told.check(checked.text_at("/status")? == "active", "POST …/check asks GitHub: active")?;
    Ok(installation)
}

async fn read_token<W: Write>(stack: &Stack, told: &mut Narrator<W>, installation: &Value) -> Result<()> {
    told.step("indexer-worker reads the token and uses it")?;
    let settings = &stack.settings;
    let service = stack.auth.service_token(&settings.indexer_worker, Some("integrations:token:read")).await?;
    let answer = stack.integrations.token(Some(&service), "github", settings.org_id).await?.expect(200)?;
    let token = answer.text_at("/access_token")?;
    told.check(token.starts_with("ghs_"), "GET /oauth/token/github: an installation token, for an hour")?;
    told.check(
        answer.text_at("/installation_id")? == installation["id"]
            && answer.header("cache-control") == Some("no-store"),
        "of this installation, never to be cached",
    )?;
    told.check(answer.body.get("refresh_token").is_none(), "without a refresh token")?;
    let github = Peer::new(http::client()?, &settings.sim_github_url);
    let repositories =
        github.get("/installation/repositories").bearer(token).header("User-Agent", "demo").send().await?;
    let count = repositories.expect(200)?.number_at("/total_count")?;
    told.check(count > 0, format!("GitHub accepts it: {count} repositories"))
}

async fn refuse<W: Write>(stack: &Stack, told: &mut Narrator<W>, alice: &Session) -> Result<()> {
    told.step("Nobody else gets that token")?;
    let (integrations, settings) = (&stack.integrations, &stack.settings);
    integrations
        .token(None, "github", settings.org_id)
        .await?
        .expect_problem(401, "Authentication required")?;
    let as_alice = integrations.token(Some(&alice.access_token), "github", settings.org_id).await?;
    as_alice.expect_error(403, "insufficient_scope")?;
    told.check(true, "no token: 401; a person's token, even Alice's: 403")?;
    let dashboard = stack.auth.service_token(&settings.dashboard_api, None).await?;
    integrations
        .token(Some(&dashboard), "github", settings.org_id)
        .await?
        .expect_problem(403, "Insufficient scope")?;
    told.check(true, "dashboard-api, which may only see connections: 403 \"Insufficient scope\"")?;
    let indexer = stack.auth.service_token(&settings.indexer_worker, None).await?;
    let foreign = uuid::Uuid::now_v7();
    integrations.token(Some(&indexer), "github", foreign).await?.expect_error(404, "not_found")?;
    told.check(true, "indexer-worker, asking for another organization: 404")
}
