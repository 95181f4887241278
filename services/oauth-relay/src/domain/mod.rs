//! Callbacks and those who wait for them.

pub mod callback;
pub mod frame;
pub mod state;
pub mod waiter;
