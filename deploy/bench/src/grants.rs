//! Client-credentials grants per second and core, against the signatures that OpenSSL makes on the same machine.

use anyhow::{Context, Result};
use chaos::World;
use tokio::process::Command;

use crate::{
    Plan,
    load::{Load, post},
    report::{Report, short},
    stats::{Ratio, median},
};

const TARGET: f64 = 0.7;
const CONNECTIONS: usize = 8;

/// Grants and signatures in turn.
pub(crate) async fn measure(plan: &Plan, world: &World, report: &mut Report) -> Result<()> {
    let client = &world.stack.settings.chat_api_service;
    let body = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=groups%3Aread",
        client.client_id, client.client_secret
    );
    let request = post("/oauth/token", "application/x-www-form-urlencoded", None, &body);
    let load = Load::new(&world.auth.peer, vec![request], CONNECTIONS, 200)?;
    let (mut per_core, mut rates, mut signatures) = (vec![], vec![], vec![]);
    for round in 0..=plan.rounds {
        let outcome = load.run(plan.slice, world.auth.pid()).await?;
        let signed = openssl_signatures(plan.slice.as_secs().max(1)).await?;
        if round > 0 {
            per_core.push(outcome.rate_per_core()?);
            rates.push(outcome.rate());
            signatures.push(signed);
        }
    }
    report.ratio_at_least(
        "client-credentials grants per second and core / `openssl speed` RSA-2048 signatures",
        TARGET,
        Ratio::of(&per_core, &signatures),
    )?;
    report.beside(
        "grants/s, grants/s per core, signatures/s",
        [&rates, &per_core, &signatures].map(|numbers| short(median(numbers))).join(", "),
    )
}

async fn openssl_signatures(seconds: u64) -> Result<f64> {
    let output = Command::new("openssl")
        .args(["speed", "-seconds", &seconds.to_string(), "rsa2048"])
        .output()
        .await
        .context("openssl is not installed")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    signatures_per_second(&text).with_context(|| format!("openssl speed said something else: {text}"))
}

/// The column `sign/s` of the last line that begins with `rsa 2048 bits`.
fn signatures_per_second(text: &str) -> Option<f64> {
    let heading = text.lines().rfind(|line| line.contains("sign/s"))?;
    let line = text
        .lines()
        .rfind(|line| line.trim_start().to_ascii_lowercase().starts_with("rsa") && line.contains("2048"))?;
    let from_end = heading.split_whitespace().rev().position(|column| column == "sign/s")?;
    line.split_whitespace().rev().nth(from_end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::signatures_per_second;

    #[test]
    fn both_generations_of_openssl_are_understood() {
        let three = "                  sign    verify    sign/s verify/s\nrsa 2048 bits 0.000600s 0.000018s   1665.6  56915.0\n";
        assert_eq!(signatures_per_second(three), Some(1665.6));
        let later = "                   sign    verify    encrypt   decrypt   sign/s verify/s  encr./s  decr./s\n\
                     rsa  2048 bits 0.000520s 0.000016s 0.000018s 0.000547s   1923.7  61627.3  55843.3   1829.4\n";
        assert_eq!(signatures_per_second(later), Some(1923.7));
        assert_eq!(signatures_per_second("nothing"), None);
    }
}
