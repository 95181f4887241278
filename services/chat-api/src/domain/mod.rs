//! The rules and use cases of chat, without HTTP.

pub mod group;
pub mod message;
