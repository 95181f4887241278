//! The service from outside: a real app on port 0 with a database of its own, and a simulated auth-api.
//!
//! `TEST_MONGODB_URI` names the server; `make test` starts one. Every test makes its own database there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod configuration;
mod contract;
mod directory;
mod groups;
mod helpers;
mod history;
mod layers;
mod messages;
mod read_marks;
mod refuses_strangers;
mod revocation;
mod shutdown;
mod store;
mod tenancy;
mod two_replicas;
mod unhealthy;
