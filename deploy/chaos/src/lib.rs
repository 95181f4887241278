//! Starts the services as processes of their own, on databases of their own, and takes things away from them.
//!
//! - [`world`]: auth-api, chat-api and the demo data, ready to be hurt; the front door
//! - [`service`]: one process: start, ready, kill, stop
//! - [`databases`]: databases made for one test and dropped after it
//! - [`cut_proxy`]: a TCP proxy that can refuse or swallow what passes
//! - [`ports`]: ports that stay free between a kill and a restart
//! - [`seed`]: randomness that can be repeated
//! - [`history`]: what a driver was promised, held against what is stored

#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it has not")]

pub mod cut_proxy;
pub mod databases;
pub mod history;
pub mod ports;
pub mod seed;
pub mod service;
pub mod world;

pub use cut_proxy::CutProxy;
pub use service::Service;
pub use world::{Options, World};
