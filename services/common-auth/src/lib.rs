//! What has to be identical in every resource server of the platform: who a caller is, and whether the token still counts.
//!
//! - [`claims`] and [`principal`]: what a token says, and the [`Principal`] and [`Tenant`] made from it
//! - [`keys`]: auth-api's public keys, fetched ahead of need and kept when a fetch fails
//! - [`revocation`]: the deny-list, fed by auth-api's revocation feed
//! - [`verifier`]: RS256 access tokens (RFC 9068) checked locally, with a cache of verified tokens
//! - [`introspection`]: the same answer from auth-api's introspection endpoint (`USE_OAUTH2_AUTH=false`)
//! - [`authenticator`]: one of the two, with its background tasks and its readiness
//! - [`extract`] and [`guard`]: the caller and the authorization that a handler takes as arguments
//! - [`service_token`]: this service's own client-credentials token
//! - [`error`] and [`problem`]: the answers 401, 403 and 503, and the body that every error has
//! - [`metrics`]: the counters that operators watch, under the names of the migration plan

pub mod authenticator;
pub mod claims;
pub mod error;
pub mod extract;
pub mod guard;
pub mod introspection;
pub mod keys;
pub mod metrics;
pub mod principal;
pub mod problem;
pub mod revocation;
pub mod service_token;
#[cfg(feature = "testing")]
pub mod testing;
mod token_cache;
mod unverified;
pub mod verifier;

pub use authenticator::Authenticator;
pub use claims::AccessTokenClaims;
pub use error::AuthError;
pub use extract::AuthContext;
pub use keys::http_client;
pub use metrics::AuthMetrics;
pub use principal::{Orgs, Principal, Service, Tenant, TenantError, User};
pub use problem::Problem;
pub use service_token::{ServiceTokenError, ServiceTokenManager, ServiceTokenSettings};
pub use verifier::{VerifiedToken, Verifier, VerifierSettings};
