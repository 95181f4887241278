//! The platform seen from outside: only HTTP, and a look into the database where the story promises one.
//!
//! - [`settings`]: which stack, from the variables of `.local/demo.env`
//! - [`http`]: requests, and answers that explain themselves when they are not what was expected
//! - [`auth_api`] and [`chat_api`]: one method per endpoint
//! - [`claims`]: what a token says, unverified
//! - [`metrics`]: the counters of a service's admin port
//! - [`timeline`]: the stored messages, read straight from MongoDB
//! - [`stack`]: all of them together
//! - [`wait`]: polling with a deadline
//! - [`narrator`] and [`story`]: the story of spec 000, told step by step

#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it has not")]

pub mod auth_api;
pub mod chat_api;
pub mod claims;
pub mod http;
pub mod metrics;
pub mod narrator;
pub mod settings;
pub mod stack;
pub mod story;
pub mod timeline;
pub mod wait;

pub use auth_api::{AuthApi, Session};
pub use chat_api::ChatApi;
pub use http::Answer;
pub use settings::{ClientCredentials, Person, Settings};
pub use stack::Stack;
