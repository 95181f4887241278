//! What a resource server may rely on, shown through the public interface only.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access_token;
mod claims;
mod feed;
mod fetching_keys;
mod following_revocations;
mod guards;
mod helpers;
mod http_sources;
mod introspection;
mod key_set;
mod metrics;
mod peer;
mod problem;
mod properties;
mod refusals;
mod revocations;
mod service_token;
mod tenant;
mod token_cache;
