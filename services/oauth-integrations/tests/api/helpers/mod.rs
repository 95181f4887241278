//! What the tests stand on: the service on a database of its own, the providers and auth-api simulated, and a browser.

pub mod answer;
pub mod app;
pub mod auth_api;
pub mod browser;
pub mod collector;
pub mod database;
pub mod process;
pub mod proxy;
pub mod wait;

pub use answer::{Answer, Ask};
pub use app::TestApp;
pub use browser::Browser;
pub use database::TestDatabase;
pub use process::Process;
pub use proxy::CutProxy;
pub use wait::until;
