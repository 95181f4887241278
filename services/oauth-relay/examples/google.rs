//! Google: a code with PKCE, all of the callback's parameters, and the check of its issuer.
//!
//! `cargo run -p oauth-relay --example google -- CLIENT_ID https://relay.example/oauth/callback`
//!
//! `GOOGLE_AUTHORIZE_URL` and `GOOGLE_ISSUER` lead elsewhere than to Google.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{env, time::Duration};

use anyhow::{Context, bail};
use oauth_relay::client::{AuthorizationUrl, OAuthRelayError, WaitForCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let client_id = arguments.next().context("the client id is missing")?;
    let redirect_uri = arguments.next().context("the redirect URI is missing")?;
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());

    let authorize_url = setting("GOOGLE_AUTHORIZE_URL", "https://accounts.google.com/o/oauth2/v2/auth");
    let authorization = AuthorizationUrl::new(authorize_url, &client_id)
        .redirect_uri(&redirect_uri)
        .scope("openid profile email")
        .parameter("access_type", "offline")
        .pkce()
        .build()?;

    println!("Open {}", authorization.url);

    let wait = WaitForCode::new().state(&authorization.state).timeout(Duration::from_mins(10));
    let result = match wait.extended(true).reconnect(true).wait().await {
        Err(OAuthRelayError::Timeout(_)) => bail!("nobody authorized it"),
        outcome => outcome?,
    };
    // A code of another provider must not go to Google (RFC 9207).
    if result.issuer().is_some_and(|issuer| issuer != setting("GOOGLE_ISSUER", "https://accounts.google.com"))
    {
        bail!("the callback comes from somebody else");
    }
    match result.code {
        Some(code) => println!("A code of {} characters; exchange it with the code verifier.", code.len()),
        None => println!("Not authorized: {}", result.error().unwrap_or("no code came")),
    }
    Ok(())
}
