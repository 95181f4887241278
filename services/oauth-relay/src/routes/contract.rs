//! The OpenAPI document.

use actix_web::{HttpResponse, http::header::ContentType, web};
use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        Server,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::Contract;
use crate::app::AppState;

/// The security scheme that the operations name.
pub struct BearerToken;

/// The body of every error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    #[schema(example = "Not Found")]
    pub title: String,
    #[schema(example = 404)]
    pub status: u16,
    /// A sentence for people.
    pub detail: String,
    /// A stable code for programs.
    #[schema(example = "not_found")]
    pub error: String,
    pub request_id: Option<String>,
}

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Where the contract has the callback.
pub const CALLBACK_PATH: &str = "/oauth/callback";

/// The contract as text, ending with a line break; it names the server where its address is given.
#[must_use]
pub fn render(public_url: Option<&str>, callback_path: &str) -> String {
    let mut contract = Contract::openapi();
    if callback_path != CALLBACK_PATH
        && let Some(callback) = contract.paths.paths.remove(CALLBACK_PATH)
    {
        contract.paths.paths.insert(callback_path.to_owned(), callback);
    }
    contract.servers = public_url.map(|url| vec![Server::new(url.trim_end_matches('/'))]);
    // Strings, numbers and maps of them always have a JSON form.
    let mut text = contract.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, description = "The contract")))]
pub async fn get_contract(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(state.contract.clone())
}
