//! Several people at once: one wait for each, and whoever comes first is told first.
//!
//! `cargo run -p oauth-relay --example batch -- https://as.example/authorize CLIENT_ID https://relay.example/oauth/callback anna ben …`

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{env, time::Duration};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use oauth_relay::client::{AuthorizationUrl, OAuthRelayError, Settings, WaitForCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let authorize_url = arguments.next().context("the authorization endpoint is missing")?;
    let client_id = arguments.next().context("the client id is missing")?;
    let redirect_uri = arguments.next().context("the redirect URI is missing")?;
    let people: Vec<String> = arguments.collect();
    ensure!(!people.is_empty(), "nobody is named");

    let settings = Settings::from_env()?;
    let mut waiting = FuturesUnordered::new();
    for person in people {
        // The state is random, not the name: a state that can be guessed lets others in.
        let authorization =
            AuthorizationUrl::new(&authorize_url, &client_id).redirect_uri(&redirect_uri).pkce().build()?;
        println!("[{person}] Open {}", authorization.url);
        let wait = WaitForCode::new()
            .state(authorization.state)
            .timeout(Duration::from_mins(10))
            .settings(settings.clone())
            .extended(true)
            .reconnect(true);
        waiting.push(async move { (person, wait.wait().await) });
    }
    while let Some((person, outcome)) = waiting.next().await {
        match outcome {
            Ok(result) if result.success => println!("[{person}] Authorized"),
            Ok(result) => println!("[{person}] Not authorized: {}", result.error().unwrap_or("no code came")),
            Err(OAuthRelayError::Timeout(_)) => println!("[{person}] Timeout"),
            Err(error) => println!("[{person}] {error}"),
        }
    }
    Ok(())
}
