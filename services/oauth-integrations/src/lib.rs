//! oauth-integrations: GitHub, Jira and Slack, connected for an organization, and their tokens.
//!
//! - [`config`]: the settings, read from the environment
//! - [`app`]: builds the service out of them, runs it and drains it
//! - [`telemetry`]: logs, traces, metrics
//! - [`error`]: every error that a caller can see
//! - [`routes`]: every path, and the thin handlers behind them; the pages
//! - [`domain`]: the rules and use cases, without HTTP
//! - [`store`]: PostgreSQL, one file of queries per table
//! - [`clients`]: the providers and mozaiks-runtime
//! - [`jobs`]: what runs in the background

pub mod app;
pub mod clients;
pub mod config;
pub mod domain;
pub mod error;
pub mod jobs;
pub mod routes;
pub mod store;
pub mod telemetry;
