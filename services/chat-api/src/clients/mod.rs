//! The services that chat-api calls.

pub mod auth_api;
