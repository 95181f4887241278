//! The relay from outside: a real app on port 0 with its socket in a folder of its own, raw frames, real processes.
//!
//! `python3` plays the original's client. The files follow the checklist: compatibility, HTTP (`callback`, `pages`), waiters, socket
//! and TCP, logs and metrics.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod callback;
mod client;
mod command;
mod compatibility;
mod config;
mod contract;
mod document;
mod helpers;
mod layers;
mod logs;
mod metrics;
mod originals_defects;
mod pages;
mod races;
mod refuses_strangers;
mod shutdown;
mod socket;
mod socket_file;
mod tcp;
mod wait;
mod waiters;
