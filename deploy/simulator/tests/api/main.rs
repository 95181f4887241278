//! The simulator from outside: what each provider documents, over HTTP.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod atlassian;
mod control;
mod faults;
mod github_app;
mod github_install;
mod github_user;
mod helpers;
mod slack;
mod webhooks;
