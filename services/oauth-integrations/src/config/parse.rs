//! How the values of settings are read.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use url::{Host, Url};

use super::Origins;

pub(super) fn parse_text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("it is empty") } else { Ok(text.to_owned()) }
}

pub(super) fn parse_secret(text: &str) -> Result<SecretString, &'static str> {
    if text.is_empty() { Err("it is empty") } else { Ok(SecretString::from(text)) }
}

pub(super) fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is no URL")?;
    let is_plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain {
        Ok(url)
    } else {
        Err("it is no plain http or https URL")
    }
}

/// A redirect URI is compared letter by letter, and a code sent over plain http is everybody's.
pub(super) fn parse_callback_base(text: &str) -> Result<Url, &'static str> {
    let url = parse_base_url(text)?;
    if url.path() != "/" {
        return Err("it has a path");
    }
    if url.scheme() == "https" || is_loopback(&url) {
        Ok(url)
    } else {
        Err("it is not https, and not on loopback")
    }
}

/// Tokens carry the text byte for byte, so it stays one; a slash at the end is what issuers differ in most.
pub(super) fn parse_issuer(text: &str) -> Result<String, &'static str> {
    parse_base_url(text)?;
    if text.ends_with('/') { Err("it ends with a slash") } else { Ok(text.to_owned()) }
}

pub(super) fn parse_origins(text: &str) -> Result<Origins, &'static str> {
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    origins.map(parse_origin).collect::<Result<_, _>>().map(Origins)
}

pub(super) fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let text = text.trim();
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or("it holds something else than addresses and networks")
}

/// Scopes as a person writes them: separated by spaces or commas.
pub(super) fn parse_scopes(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

pub(super) fn seconds<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (MIN..=MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("it is no whole number of seconds from {MIN} to {MAX}")),
    }
}

/// Whether the URL's host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn parse_origin(text: &str) -> Result<String, &'static str> {
    let origin = parse_base_url(text)
        .map_err(|_| "it holds something else than origins")?
        .origin()
        .ascii_serialization();
    if origin == text { Ok(origin) } else { Err("an origin is scheme://host[:port] and nothing else") }
}
