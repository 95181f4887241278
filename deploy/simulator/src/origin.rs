//! The edge of every origin: each call is written down, and faults happen here.

use actix_web::{
    Error, HttpMessage,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web::Data,
};

use crate::{
    fault,
    journal::{Call, Provider},
    world::{Shared, basic, bearer},
};

/// Writes the call down, lets a fault happen where one waits, and writes the status down.
pub(crate) async fn observe(
    provider: Provider,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(shared) = request.app_data::<Data<Shared>>().cloned() else {
        return next.call(request).await;
    };
    let pattern = request.match_pattern().unwrap_or_else(|| request.path().to_owned());
    let endpoint = format!("{} {pattern}", request.method());
    if let Some(token) = bearer(request.request()) {
        shared.journal.secret(token);
    }
    if let Some(client) = basic(request.request()) {
        shared.journal.secret(client.secret);
    }
    let number = shared.journal.enter(Call {
        provider,
        endpoint: endpoint.clone(),
        path: request.path().to_owned(),
        at: shared.clock.now(),
        note: String::new(),
        status: None,
    });
    request.extensions_mut().insert(number);
    let response = match shared.faults.take(provider, &endpoint) {
        Some(kind) => fault::happen(kind, provider, request, next).await?,
        None => next.call(request).await?,
    };
    shared.journal.leave(number, response.status().as_u16());
    Ok(response)
}
