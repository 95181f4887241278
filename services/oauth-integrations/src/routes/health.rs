//! Whether the service lives and may be sent requests.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::ContentType},
    web::Data,
};
use common_auth::{Authenticator, Problem};
use prometheus::Registry;
use serde_json::json;
use time::OffsetDateTime;

use crate::telemetry;

/// The database has answered within this.
const DATABASE_MEMORY: Duration = Duration::from_secs(5);

/// What readiness is made of besides the keys and revocations of [`Authenticator`].
#[derive(Default)]
pub struct Health {
    is_draining: AtomicBool,
    /// Seconds since the epoch; 0 before the first time.
    database_answered: AtomicI64,
}

impl Health {
    /// The database was there just now, migrated.
    pub fn database_answered(&self) {
        self.database_answered.store(OffsetDateTime::now_utc().unix_timestamp(), Ordering::Relaxed);
    }

    /// From now on no new requests should come.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether the service is about to end.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    fn has_database(&self) -> bool {
        let answered = self.database_answered.load(Ordering::Relaxed);
        let age = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(answered);
        age <= i64::try_from(DATABASE_MEMORY.as_secs()).unwrap_or(i64::MAX)
    }
}

/// The service answers.
#[utoipa::path(get, path = "/health", tag = "service", responses((status = 200, description = "It does", content_type = "application/json")))]
pub(super) async fn get_health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

pub(super) async fn get_livez() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Whether requests may come: the database is migrated and answers, the keys are known, and nobody told the process to stop.
pub(super) async fn get_readyz(health: Data<Health>, authenticator: Data<Authenticator>) -> HttpResponse {
    let checks = [
        ("database", health.has_database()),
        ("keys", authenticator.is_ready()),
        ("not_draining", !health.is_draining()),
    ];
    let missing: Vec<&str> = checks.iter().filter(|(_, is_met)| !is_met).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return HttpResponse::Ok().json(json!({ "status": "ok" }));
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The service is not ready")
        .with("missing", json!(missing))
        .into_response()
}

pub(super) async fn get_metrics(registry: Data<Registry>) -> HttpResponse {
    match telemetry::render(&registry) {
        Ok(text) => HttpResponse::Ok().insert_header(ContentType::plaintext()).body(text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written down");
            HttpResponse::InternalServerError().finish()
        }
    }
}
