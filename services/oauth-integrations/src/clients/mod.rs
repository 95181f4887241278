//! Other people's services: the providers, and the runtime that is told of a finished consent.

mod http;
pub mod providers;
pub mod runtime;
