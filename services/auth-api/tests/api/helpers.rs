//! What the tests stand on: the service, a database of its own for each test, and answers that explain themselves.

pub mod answer;
pub mod app;
pub mod database;
mod endpoints;
pub mod fixtures;
pub mod process;
pub mod proxy;
pub mod tokens;
pub mod wait;

pub use answer::{Answer, Ask};
pub use app::{Session, TestApp};
pub use database::TestDatabase;
pub use fixtures::credentials;
pub use process::Process;
pub use proxy::CutProxy;
