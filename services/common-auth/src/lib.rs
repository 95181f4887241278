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
//!
//! A service makes one [`Authenticator`] at its start and names what a handler needs in the handler's arguments:
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use actix_web::{App, HttpResponse, HttpServer, Responder, middleware::from_fn, web};
//! use common_auth::{
//!     AuthMetrics, Authenticator, Problem, ServiceTokenManager, ServiceTokenSettings, Verifier, VerifierSettings,
//!     extract::{RequirePermission, Right},
//!     http_client,
//!     keys::{HttpJwksSource, JwksManager, JwksSettings},
//!     problem::request_id,
//!     revocation::{HttpRevocationSource, RevocationWatcher},
//! };
//!
//! struct GroupsRead;
//! impl Right for GroupsRead {
//!     const NAME: &'static str = "groups:read";
//! }
//!
//! /// 401 without a valid token, 403 without the permission, 404 for another organization.
//! async fn list_groups(auth: RequirePermission<GroupsRead>) -> impl Responder {
//!     match auth.principal().tenant(None) {
//!         Ok(tenant) => HttpResponse::Ok().body(tenant.org_id().to_string()),
//!         Err(_) => Problem::new(actix_web::http::StatusCode::NOT_FOUND, "not_found", "Not found").into_response(),
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = AuthMetrics::register(prometheus::default_registry())?;
//! // The feed has connections of its own.
//! let calls = http_client(Duration::from_millis(500), Duration::from_millis(1500))?;
//! let feed = http_client(Duration::from_millis(500), Duration::from_secs(5))?;
//! let tokens = ServiceTokenManager::new(
//!     ServiceTokenSettings {
//!         token_url: "http://auth-api:8000/oauth/token".to_owned(),
//!         client_id: "chat-api-service".to_owned(),
//!         client_secret: std::env::var("CLIENT_SECRET")?.into(),
//!         scopes: vec!["revocations:read".to_owned()],
//!     },
//!     calls.clone(),
//! );
//! let keys = HttpJwksSource::new(calls, "http://auth-api:8000/.well-known/jwks.json".parse()?);
//! let revocations = HttpRevocationSource::new(feed, "http://auth-api:8000/oauth/revocations".parse()?, tokens);
//! let verifier = Verifier::new(
//!     VerifierSettings::new("http://auth-api:8000", "chat-api"),
//!     Arc::new(JwksManager::new(keys, JwksSettings::default(), Arc::clone(&metrics))),
//!     Arc::new(RevocationWatcher::new(revocations, Arc::clone(&metrics))),
//!     Arc::clone(&metrics),
//! );
//! let authenticator = web::Data::new(Authenticator::local(Arc::new(verifier)));
//! let _background = authenticator.start();
//! // `/readyz` says `authenticator.is_ready()`.
//! HttpServer::new(move || {
//!     App::new()
//!         .app_data(authenticator.clone())
//!         .wrap(from_fn(request_id))
//!         .route("/groups", web::get().to(list_groups))
//! })
//! .bind("127.0.0.1:8001")?
//! .run()
//! .await?;
//! # Ok(())
//! # }
//! ```

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
pub mod sharded;
#[cfg(feature = "testing")]
pub mod testing;
mod token_cache;
mod token_hash;
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
pub use verifier::{TokenOrigin, VerifiedToken, Verifier, VerifierSettings};
