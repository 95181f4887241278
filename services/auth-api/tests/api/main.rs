//! auth-api from outside: the real service on a real database of its own for each test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![expect(unreachable_pub, reason = "helpers are public to the tests beside them, and nobody else is there")]

mod changes;
mod client_credentials;
mod clock;
mod commit_order;
mod config;
mod database_down;
mod directory;
mod groups;
mod guessing;
mod guessing_secrets;
mod helpers;
mod introspection;
mod jwks;
mod keys;
mod layers;
mod login;
mod logs;
mod members;
mod older_binary;
mod operations;
mod passwords;
mod reconcile_clients;
mod refresh;
mod refresh_end;
mod refuses_strangers;
mod revocation;
mod revocations;
mod seed_demo;
mod session;
mod shutdown;
mod tenancy;
mod token;
