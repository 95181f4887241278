//! A program without a browser gets an authorization code through the relay.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result};
use reqwest::Url;
use uuid::Uuid;

use crate::{
    browser::Browser,
    http::{self, Peer},
    narrator::{Narrator, millis},
    settings::ClientCredentials,
    stack::Stack,
    wait,
};

/// Longer than the browser's way; the poll ends with the callback.
const WAIT_SECONDS: u32 = 10;
const REGISTER_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn tell<W: Write>(stack: &Stack, told: &mut Narrator<W>) -> Result<()> {
    told.step("A program without a browser waits for an authorization code, in another pod")?;
    let (relay, settings) = (&stack.relay, &stack.settings);
    let token = stack.auth.service_token(&settings.mozaiks_runtime_service, Some("relay:wait")).await?;
    let state = Uuid::new_v4().simple().to_string();
    let before = relay.waiters().await?;
    let mut browser = Browser::new()?;
    let approve = async {
        wait::until(REGISTER_LIMIT, "the program waits", async || Ok(relay.waiters().await? > before))
            .await?;
        let page = browser.open(authorization_url(stack, &state)?.as_str()).await?;
        let asked = page.heading().to_owned();
        let page = browser.submit(&[("user", "alice"), ("decision", "approve")]).await?;
        anyhow::Ok((asked, page.status, page.heading().to_owned()))
    };
    let (poll, approved) = tokio::join!(relay.wait(Some(&token), &state, WAIT_SECONDS), approve);
    let ((asked, status, heading), answer) = (approved?, poll?.expect(200)?);
    told.check(true, format!("somebody opens the printed address: {asked:?}"))?;
    told.check(status == 200 && heading == "Authorization Complete", format!("and approves: {heading:?}"))?;
    let code = answer.text_at("/code")?;
    told.check(
        answer.body["success"] == true && answer.text_at("/state")? == state,
        format!(
            "the program has the code, and checks that the state is its own; it waited {}",
            millis(answer.took)
        ),
    )?;
    exchange(stack, told, code).await?;
    let again =
        relay.peer.get(&format!("/oauth/callback?code=again&state={state}")).send().await?.expect(404)?;
    told.check(again.text.contains("No client waiting"), "the same callback again: 404, No client waiting")
}

fn authorization_url(stack: &Stack, state: &str) -> Result<Url> {
    let mut url = Url::parse(&format!("{}/login/oauth/authorize", stack.settings.sim_github_url))?;
    url.query_pairs_mut()
        .append_pair("client_id", &app(stack)?.client_id)
        .append_pair("redirect_uri", &stack.relay.callback_url())
        .append_pair("scope", "repo")
        .append_pair("state", state);
    Ok(url)
}

fn app(stack: &Stack) -> Result<&ClientCredentials> {
    stack.settings.github_oauth_app.as_ref().context("GITHUB_OAUTH_APP_CLIENT_ID and its secret are not set")
}

async fn exchange<W: Write>(stack: &Stack, told: &mut Narrator<W>, code: &str) -> Result<()> {
    let app = app(stack)?;
    let github = Peer::new(http::client()?, &stack.settings.sim_github_url);
    let redirect_uri = stack.relay.callback_url();
    let form = [
        ("client_id", app.client_id.as_str()),
        ("client_secret", &app.client_secret),
        ("code", code),
        ("redirect_uri", &redirect_uri),
    ];
    let answer = github
        .post("/login/oauth/access_token")
        .header("Accept", "application/json")
        .form(&form)
        .send()
        .await?;
    let answer = answer.expect(200)?;
    let token = answer.text_at("/access_token").context("GitHub did not take the code")?;
    told.check(token.starts_with("gho_"), "GitHub takes the code for a token")
}
