//! GitHub, Atlassian and Slack as a service sees them, each on an origin of its own with its own paths, errors and moods.
//!
//! [`Simulator::start`] runs them in process; the binary `simulator` runs them on fixed ports. Both keep state: people,
//! installations, codes that are good once, families and chains of tokens. What a person does at a provider is done on
//! plain HTML forms, or preset with [`Simulator::preset_consent`]; what goes wrong is a [`Fault`]; the clock can be put
//! forward; every call is written down, and so is every secret that went over the wire.

#![expect(clippy::result_large_err, reason = "what is refused is answered, and an answer is large")]

pub mod atlassian;
mod clock;
mod control;
mod fault;
mod fields;
pub mod github;
mod journal;
mod origin;
mod page;
mod secret;
mod settings;
mod simulator;
pub mod slack;
mod webhook;
mod world;

pub use crate::{
    fault::{Fault, FaultKind},
    fields::Fields,
    journal::{Call, Provider},
    secret::MARK,
    settings::{Client, GitHubApp, Ports, Settings, github_private_key_pem},
    simulator::Simulator,
    webhook::Webhook,
    world::World,
};
