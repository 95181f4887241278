//! Ports that nobody else takes while a process that used them is down.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result};

/// Below the range that the system takes the ports of outgoing connections from.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that can be listened on, never given twice by this process.
pub fn free_port() -> Result<u16> {
    // Two test processes start at different places.
    let start = std::process::id() % u32::from(COUNT);
    let candidates = (0..COUNT).map(|_| u32::from(NEXT.fetch_add(1, Ordering::Relaxed)));
    candidates
        .filter_map(|number| u16::try_from((start * 37 + number) % u32::from(COUNT)).ok())
        .map(|offset| FIRST + offset)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no port is free")
}
