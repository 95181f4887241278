//! GitHub: a code by the plain protocol, exchanged for a token.
//!
//! `GITHUB_CLIENT_SECRET=… cargo run -p oauth-relay --example github -- CLIENT_ID https://relay.example/oauth/callback`
//!
//! `GITHUB_BROWSER_URL` leads elsewhere than to github.com: to the simulator, for one.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{collections::HashMap, env, time::Duration};

use anyhow::{Context, bail};
use oauth_relay::client::{AuthorizationUrl, OAuthRelayError, wait_for_code};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // Where the crates of this process do not agree on one, rustls has no default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = env::args().skip(1);
    let client_id = arguments.next().context("the client id is missing")?;
    let redirect_uri = arguments.next().context("the redirect URI is missing")?;
    let client_secret = env::var("GITHUB_CLIENT_SECRET").context("GITHUB_CLIENT_SECRET is not set")?;
    let github = env::var("GITHUB_BROWSER_URL").unwrap_or_else(|_| "https://github.com".to_owned());

    let authorization = AuthorizationUrl::new(format!("{github}/login/oauth/authorize"), &client_id)
        .redirect_uri(&redirect_uri)
        .scope("repo user")
        .build()?;
    println!("Open {}", authorization.url);

    let result = match wait_for_code(Some(&authorization.state), Some(Duration::from_mins(10)), None).await {
        Err(OAuthRelayError::Timeout(_)) => bail!("nobody authorized it"),
        Err(OAuthRelayError::Connection(error)) => bail!("{error}"),
        outcome => outcome?,
    };
    let Some(code) = &result.code else {
        bail!("not authorized: {}", result.error().unwrap_or("no code came"))
    };

    let form = HashMap::from([
        ("client_id", client_id.as_str()),
        ("client_secret", client_secret.as_str()),
        ("redirect_uri", redirect_uri.as_str()),
        ("code", code),
    ]);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let request = client.post(format!("{github}/login/oauth/access_token")).form(&form);
    let token: Value = request.header("accept", "application/json").send().await?.json().await?;
    match token.get("access_token").and_then(Value::as_str) {
        Some(token) => println!("A token of {} characters.", token.len()),
        // GitHub says so with status 200.
        None => {
            bail!("no token: {}", token.get("error").and_then(Value::as_str).unwrap_or("no reason given"))
        }
    }
    Ok(())
}
