//! Webhooks as the providers sign and send them.

use std::fmt::Write;

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::journal::Provider;

/// A webhook that is ready to be sent. Every part may be changed before, which the signature then does not follow.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub provider: Provider,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Webhook {
    /// As GitHub sends it.
    pub fn github(secret: &str, event: &str, delivery: &str, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("user-agent", "GitHub-Hookshot/simulated".to_owned()),
            ("x-github-event", event.to_owned()),
            ("x-github-delivery", delivery.to_owned()),
            ("x-hub-signature-256", format!("sha256={}", hmac_sha256(secret, &[&body]))),
        ];
        Self { provider: Provider::Github, headers: owned(headers), body }
    }

    /// As Slack sends it, at this time in seconds since 1970.
    pub fn slack(secret: &str, at: i64, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        let start = format!("v0:{at}:");
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)".to_owned()),
            ("x-slack-request-timestamp", at.to_string()),
            ("x-slack-signature", format!("v0={}", hmac_sha256(secret, &[start.as_bytes(), &body]))),
        ];
        Self { provider: Provider::Slack, headers: owned(headers), body }
    }

    /// Sets a header, in place of the one of this name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a header away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Sends it; the status of the answer.
    pub async fn post(&self, http: &reqwest::Client, url: &str) -> anyhow::Result<u16> {
        let mut request = http.post(url).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.send().await.context("no answer to a webhook")?.status().as_u16())
    }
}

/// HMAC-SHA256 in hexadecimal.
pub(crate) fn hmac_sha256(secret: &str, parts: &[&[u8]]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn owned<const LENGTH: usize>(headers: [(&str, String); LENGTH]) -> Vec<(String, String)> {
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_documented_vector_holds() {
        let expected = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(hmac_sha256("It's a Secret to Everybody", &[b"Hello, World!"]), expected);
    }
}
