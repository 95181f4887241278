//! The platform seen from outside: only HTTP, and a look into the database where the story promises one.
//!
//! - [`settings`]: which stack, from the variables of `.local/demo.env`
//! - [`http`]: requests, and answers that explain themselves when they are not what was expected
//! - [`auth_api`], [`chat_api`], [`oauth_integrations`] and [`oauth_relay`]: one method per endpoint
//! - [`browser`]: a person's browser, for pages without scripts
//! - [`claims`]: what a token says, unverified
//! - [`metrics`]: the counters of a service's admin port
//! - [`timeline`]: the stored messages, read straight from MongoDB
//! - [`stack`]: all of them together
//! - [`traffic`]: steady load, and what of it did not succeed
//! - [`wait`]: polling with a deadline
//! - [`narrator`] and [`story`]: the story of the platform, told step by step

#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it has not")]

pub mod auth_api;
pub mod browser;
pub mod chat_api;
pub mod claims;
pub mod http;
pub mod metrics;
pub mod narrator;
pub mod oauth_integrations;
pub mod oauth_relay;
pub mod settings;
pub mod stack;
pub mod story;
pub mod timeline;
pub mod traffic;
pub mod wait;

pub use auth_api::{AuthApi, Session};
pub use chat_api::ChatApi;
pub use http::Answer;
pub use settings::{ClientCredentials, Person, Settings};
pub use stack::Stack;
