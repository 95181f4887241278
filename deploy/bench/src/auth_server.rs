//! Routes that differ only in the token check, in a process of their own: none, cached, and in full.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Result;
use common_auth::{
    AccessTokenClaims, AuthMetrics, Authenticator, Verifier, VerifierSettings,
    extract::{RequirePermission, Right},
    keys::{Fetched, JwksManager, JwksSettings, JwksSource, SourceError},
    revocation::{RevocationEntry, RevocationPage, RevocationSource, RevocationWatcher},
};
use futures_util::future::BoxFuture;
use josekit::{
    jws::{JwsHeader, RS256, alg::rsassa::RsassaJwsSigner},
    jwt::{self, JwtPayload},
};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use uuid::Uuid;

const ISSUER: &str = "http://bench.invalid";
/// As long as the thumbprints (RFC 7638) that auth-api names its keys by.
const KID: &str = "token-check-bench-key-000000000000000000000";
/// Auth-api's, by how many of them a role includes.
const ROLES: [&str; 3] = ["guest", "member", "admin"];
const PERMISSIONS: [&str; 13] = [
    "groups:read",
    "messages:read",
    "messages:send",
    "messages:edit",
    "messages:delete",
    "workflows:run",
    "groups:create",
    "groups:update",
    "groups:delete",
    "members:manage",
    "messages:moderate",
    "integrations:manage",
    "audit:read",
];
/// Sessions that were ended, of which none is measured. Fewer than a page of the feed.
const REVOKED: usize = 400;

struct GroupsRead;

impl Right for GroupsRead {
    const NAME: &'static str = "groups:read";
}

/// Signs tokens as auth-api does.
struct Issuer {
    signer: RsassaJwsSigner,
    public_keys: Value,
}

/// Its keys.
struct Keys(Value);

impl JwksSource for Keys {
    fn fetch(&self, _: bool) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        let keys = serde_json::from_value(self.0.clone());
        Box::pin(async { keys.map(Fetched::Keys).map_err(|error| SourceError::Unusable(error.to_string())) })
    }
}

/// Some sessions of others are revoked.
struct OthersRevoked;

impl RevocationSource for OthersRevoked {
    fn page(&self, after: Option<String>, wait: u64) -> BoxFuture<'_, Result<RevocationPage, SourceError>> {
        Box::pin(async move {
            if after.is_some() {
                tokio::time::sleep(Duration::from_secs(wait)).await;
                return Ok(RevocationPage { items: Vec::new(), next: REVOKED.to_string() });
            }
            let items = (1..=REVOKED).map(revoked_session).collect::<serde_json::Result<_>>();
            let items = items.map_err(|error| SourceError::Unusable(error.to_string()))?;
            Ok(RevocationPage { items, next: REVOKED.to_string() })
        })
    }
}

/// Prints its port, then this many tokens, a line each, and serves until it is killed.
pub(crate) fn run(tokens: usize) -> Result<()> {
    actix_web::rt::System::new().block_on(serve(tokens))
}

async fn serve(tokens: usize) -> Result<()> {
    let issuer = Issuer::generate()?;
    let (registry, cached, _cached_tasks) = authenticator(&issuer, 100_000)?;
    let (_, full, _full_tasks) = authenticator(&issuer, 0)?;
    while !(cached.is_ready() && full.is_ready()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let registry = web::Data::new(registry);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(registry.clone())
            .app_data(cached.clone())
            .route("/open", web::get().to(async || answer()))
            .route("/cached", web::get().to(guarded))
            .service(web::resource("/full").app_data(full.clone()).route(web::get().to(guarded)))
            .route("/metrics", web::get().to(metrics))
    })
    .bind(("127.0.0.1", 0))?;
    print_out(&server.addrs(), &issuer, tokens)?;
    Ok(server.run().await?)
}

async fn guarded(_: RequirePermission<GroupsRead>) -> HttpResponse {
    answer()
}

fn authenticator(
    issuer: &Issuer,
    cache_capacity: usize,
) -> Result<(Registry, web::Data<Authenticator>, common_auth::authenticator::Background)> {
    let registry = Registry::new();
    let metrics = AuthMetrics::register(&registry)?;
    let keys =
        JwksManager::new(Keys(issuer.public_keys.clone()), JwksSettings::default(), Arc::clone(&metrics));
    let revocations = RevocationWatcher::new(OthersRevoked, Arc::clone(&metrics));
    let settings = VerifierSettings { cache_capacity, ..VerifierSettings::new(ISSUER, "chat-api") };
    let verifier = Verifier::new(settings, Arc::new(keys), Arc::new(revocations), Arc::clone(&metrics));
    let authenticator = Authenticator::local(Arc::new(verifier));
    let tasks = authenticator.start();
    Ok((registry, web::Data::new(authenticator), tasks))
}

fn revoked_session(cursor: usize) -> serde_json::Result<RevocationEntry> {
    serde_json::from_value(json!({
        "cursor": cursor.to_string(), "kind": "family", "value": Uuid::now_v7(), "at": "2026-01-01T00:00:00Z",
        "issued_before": "2100-01-01T00:00:00Z", "expires_at": "2100-01-01T00:00:00Z",
    }))
}

/// The handler of every route.
fn answer() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "items": [{ "name": "General", "read_at": unix_now() }], "next": null }))
}

async fn metrics(registry: web::Data<Registry>) -> HttpResponse {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => HttpResponse::Ok().body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

fn print_out(addresses: &[std::net::SocketAddr], issuer: &Issuer, tokens: usize) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let port = addresses.first().map(std::net::SocketAddr::port).unwrap_or_default();
    writeln!(out, "{port}")?;
    for number in 0..tokens {
        writeln!(out, "{}", issuer.token(number)?)?;
    }
    Ok(out.flush()?)
}

impl Issuer {
    fn generate() -> Result<Self> {
        let pair = RS256.generate_key_pair(2048)?;
        let mut signer = RS256.signer_from_pem(pair.to_pem_private_key())?;
        signer.set_key_id(KID);
        let mut public = pair.to_jwk_public_key();
        public.set_key_id(KID);
        public.set_key_use("sig");
        public.set_algorithm("RS256");
        Ok(Self { signer, public_keys: json!({ "keys": [public.as_ref()] }) })
    }

    /// A user's token, written as auth-api writes it; of ten users one is a guest and one an admin.
    fn token(&self, number: usize) -> Result<String> {
        let now = unix_now().cast_signed();
        let (roles, permissions) = match number % 10 {
            0 => (1, 2),
            1 => (3, PERMISSIONS.len()),
            _ => (2, 6),
        };
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let claims = serde_json::to_value(AccessTokenClaims {
            iss: ISSUER.to_owned(),
            aud: owned(&["auth-api", "chat-api", "mozaiks-runtime", "oauth-integrations"]),
            client_id: "first-party".to_owned(),
            scope: "openid profile email".to_owned(),
            roles: owned(ROLES.get(..roles).unwrap_or_default()),
            permissions: owned(PERMISSIONS.get(..permissions).unwrap_or_default()),
            orgs: Vec::new(),
            org_id: Some(Uuid::now_v7()),
            app_id: Some(Uuid::now_v7()),
            sub: Uuid::now_v7().to_string(),
            username: Some("bob".to_owned()),
            email: Some("bob.member@example.com".to_owned()),
            act: None,
            sid: Some(Uuid::now_v7()),
            auth_time: Some(now),
            iat: now,
            nbf: Some(now),
            exp: now + 7200,
            jti: Uuid::now_v7().to_string(),
        })?;
        let mut header = JwsHeader::new();
        header.set_token_type("at+jwt");
        let Value::Object(claims) = claims else { return Ok(String::new()) };
        Ok(jwt::encode_with_signer(&JwtPayload::from_map(claims)?, &header, &self.signer)?)
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
