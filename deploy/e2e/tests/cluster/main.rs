//! What operators rely on, asked of an installed platform (`make e2e`): restarts, upgrades and mistakes. The tests change the cluster, so
//! they run one after the other.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stdout, reason = "figures are part of what these tests tell")]

mod cluster;
mod driver;
mod helm;
mod installation;
mod mistakes;
mod relay;
mod restarts;
mod rollback;

use e2e::Stack;

/// What every test stands on.
fn stack() -> Stack {
    Stack::from_env().unwrap()
}
