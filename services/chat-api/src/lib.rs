//! Team chat: groups of people, and the messages in them.
//!
//! - [`config`]: the settings, from the environment
//! - [`app`]: the service put together, its two listeners and how it stops
//! - [`telemetry`]: logs, traces and request metrics
//! - [`error`]: what callers are told when a request fails
//! - [`routes`]: every path, request and response
//! - [`domain`]: the rules of messages and groups, without HTTP
//! - [`store`]: the `MongoDB` collections
//! - [`clients`]: the calls to auth-api
//! - [`jobs`]: background work

pub mod app;
pub mod clients;
pub mod config;
pub mod domain;
pub mod error;
pub mod jobs;
pub mod routes;
pub mod store;
pub mod telemetry;
