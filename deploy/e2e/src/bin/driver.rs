//! `driver`: what has to be asked from inside a cluster. Settings come from the environment, the report goes to standard output.
//!
//! - `driver round-trip`: a token, a protected path with it (`TARGET_URL`, `EXPECTED_STATUS`), and the same without: 401
//! - `driver traffic SECONDS REQUESTS_PER_SECOND`: steady traffic, reported as one line of JSON
//! - `driver wait-for-code STATE`: asks oauth-relay until a code arrives, as a service in another pod does

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    AuthApi, ClientCredentials, Person,
    http::{self, Peer},
    traffic::{self, Load, Target},
};

/// A service whose peers are still finding each other is given so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match run() {
        Ok(report) => match writeln!(stdout(), "{report}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            // Nothing is left to do if even this cannot be written.
            let _ = writeln!(stderr(), "driver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["round-trip"] => round_trip().await,
        ["traffic", seconds, rate] => {
            let load = Load {
                requests_per_second: rate.parse().context("REQUESTS_PER_SECOND is no number")?,
                duration: Duration::from_secs(seconds.parse().context("SECONDS is no number")?),
            };
            Ok(traffic::run(&target()?, load).await?.to_string())
        }
        ["wait-for-code", state] => wait_for_code(state).await,
        _ => bail!("usage: driver round-trip | traffic SECONDS REQUESTS_PER_SECOND | wait-for-code STATE"),
    }
}

async fn round_trip() -> Result<String> {
    let target = variable("TARGET_URL")?;
    let expected: u16 = variable("EXPECTED_STATUS")?.parse().context("EXPECTED_STATUS is no number")?;
    let token = token().await?;
    let peer = Peer::new(http::client()?, &target);
    let deadline = Instant::now() + PATIENCE;
    let answered = loop {
        let answer = peer.get("").bearer(&token).send().await;
        match answer {
            Ok(answer) if answer.status == expected => break answer,
            _ if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(500)).await,
            Ok(answer) => {
                bail!("with a token {target} is {} instead of {expected}: {}", answer.status, answer.text)
            }
            Err(error) => return Err(error),
        }
    };
    for wrong in [None, Some("no.such.token")] {
        let refused = peer.get("").maybe_bearer(wrong).send().await?;
        ensure!(refused.status == 401, "without a good token {target} is {} instead of 401", refused.status);
    }
    Ok(format!("{target}: {} with a token, 401 without", answered.status))
}

/// Polls are short and the registration outlives each by some seconds, so that nothing is lost between two.
async fn wait_for_code(state: &str) -> Result<String> {
    let relay = Peer::new(http::client()?, &variable("OAUTH_RELAY_URL")?);
    let deadline = Instant::now() + Duration::from_mins(1);
    let token = token().await?;
    loop {
        let answer = relay.get(&format!("/oauth/wait?state={state}&timeout=5")).bearer(&token).send().await;
        match answer {
            Ok(answer) if answer.status == 200 => return Ok(answer.text),
            // The end of a poll, or a relay that is being replaced.
            Ok(answer) if !matches!(answer.status, 408 | 503) => bail!("{}: {}", answer.status, answer.text),
            _ => ensure!(Instant::now() < deadline, "no code arrived"),
        }
    }
}

/// All that the client may ask for.
async fn token() -> Result<String> {
    let peer = Peer::new(http::client()?, &variable("AUTH_API_URL")?);
    AuthApi { peer: peer.clone(), admin: peer }.service_token(&client()?, None).await
}

fn client() -> Result<ClientCredentials> {
    Ok(ClientCredentials { client_id: variable("CLIENT_ID")?, client_secret: variable("CLIENT_SECRET")? })
}

fn target() -> Result<Target> {
    Ok(Target {
        auth_api_url: variable("AUTH_API_URL")?,
        chat_api_url: variable("CHAT_API_URL")?,
        oauth_integrations_url: variable("OAUTH_INTEGRATIONS_URL").ok(),
        person: Person {
            user_id: None,
            email: variable("ALICE_EMAIL")?,
            password: variable("ALICE_PASSWORD")?,
        },
        group_id: variable("GROUP_ID")?.parse().context("GROUP_ID is no UUID")?,
        client: client()?,
    })
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).with_context(|| format!("{name} is not set"))
}
