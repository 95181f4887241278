//! Authorization codes for programs that cannot open a browser.
//!
//! A provider sends the browser to this service's callback; the code goes to the program that waits for it on a socket.
//!
//! - [`client`]: the library and the commands for programs that wait
//! - [`config`]: the settings, from the environment
//! - [`app`]: the service put together, its listeners and how it stops
//! - [`telemetry`]: logs, traces and request metrics
//! - [`error`]: what callers are told when a request fails
//! - [`routes`]: every path, request and response, and the coordinator's socket, which is a second edge
//! - [`domain`]: callbacks and waiters, without HTTP

pub mod app;
pub mod client;
pub mod config;
pub mod domain;
pub mod error;
pub mod routes;
pub mod telemetry;
