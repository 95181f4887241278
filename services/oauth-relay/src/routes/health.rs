//! Signs of life, for probes and Prometheus.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use common_auth::Problem;
use serde_json::json;

use crate::{app::AppState, telemetry};

/// Whether the process answers.
#[utoipa::path(get, path = "/health", tag = "service", responses((status = 200, description = "It does")))]
pub async fn get_health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Whether the process should live on: it answers, so it should.
pub async fn get_livez() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Whether requests may come: nobody told the process to stop. auth-api's keys do not count, since callbacks and the socket do without.
pub async fn get_readyz(state: web::Data<AppState>) -> HttpResponse {
    if !state.is_draining() {
        return HttpResponse::Ok().json(json!({ "status": "ok" }));
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The service is not ready")
        .with("missing", json!(["not_draining"]))
        .into_response()
}

/// The metrics in Prometheus' text form.
pub async fn get_metrics(state: web::Data<AppState>) -> HttpResponse {
    match telemetry::render(&state.registry) {
        Ok(text) => {
            HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4")).body(text)
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written down");
            HttpResponse::InternalServerError().finish()
        }
    }
}
