//! oauth-integrations from outside: the real service on a real database of its own, auth-api and the providers simulated.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![expect(unreachable_pub, reason = "helpers are public to the tests beside them, and nobody else is there")]

mod concurrency;
mod config;
mod contract;
mod faults;
mod github;
mod hand_out;
mod helpers;
mod layers;
mod leaks;
mod limits;
mod notices;
mod outbound;
mod pages;
mod refuses_strangers;
mod shutdown;
mod state;
mod storage;
mod upkeep;
mod webhooks;
