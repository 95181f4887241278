//! The token endpoint (RFC 6749, section 3.2).

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use super::request::{Form, circumstances, client_credentials, network};
use crate::{
    domain::{
        Identity,
        grant::{self, CLIENT_CREDENTIALS, REFRESH_TOKEN, Wishes},
        token::AccessToken,
    },
    error::{OAuthError, OAuthErrorBody},
};

/// What the endpoint takes, as a form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the form, which is read name by name")]
pub(super) struct TokenRequest {
    /// `client_credentials` or `refresh_token`.
    grant_type: String,
    /// With HTTP Basic not needed.
    client_id: Option<String>,
    #[schema(format = Password)]
    client_secret: Option<String>,
    /// With `refresh_token`.
    refresh_token: Option<String>,
    /// Space-separated; everything that is registered where it is not given.
    scope: Option<String>,
    /// The services that the token is for, by name, space-separated; all that are registered where it is not given.
    resource: Option<String>,
    /// The same as `resource`.
    audience: Option<String>,
}

/// RFC 6749, section 5.1.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenResponse {
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

/// Issues a token to a client.
#[utoipa::path(
    post, path = "/oauth/token", tag = "oauth", security(("client_basic" = []), ()),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token", body = TokenResponse),
        (status = 400, description = "invalid_request, invalid_grant, unauthorized_client, unsupported_grant_type, invalid_scope, invalid_target", body = OAuthErrorBody),
        (status = 401, description = "invalid_client", body = OAuthErrorBody),
        (status = 413, description = "invalid_request", body = OAuthErrorBody),
        (status = 429, description = "rate_limited", body = OAuthErrorBody),
        (status = 503, description = "temporarily_unavailable", body = OAuthErrorBody),
    )
)]
pub(super) async fn issue_token(
    identity: Data<Identity>,
    request: HttpRequest,
    form: Form,
) -> Result<HttpResponse, OAuthError> {
    let credentials = client_credentials(&request, &form)?;
    let grant_type = form.get("grant_type").ok_or(OAuthError::InvalidRequest("grant_type is missing"))?;
    let now = identity.clock.now();
    let wishes = wishes(&form)?;
    match grant_type {
        CLIENT_CREDENTIALS => {
            let credentials = credentials.ok_or(OAuthError::InvalidClient)?;
            let network = network(&request);
            let outcome = grant::client_credentials(&identity, &credentials, network, &wishes, now).await;
            identity.metrics.count(CLIENT_CREDENTIALS, &outcome);
            Ok(answer(&outcome?, None))
        }
        REFRESH_TOKEN => {
            let credentials = credentials.ok_or(OAuthError::InvalidClient)?;
            let token =
                form.secret("refresh_token").ok_or(OAuthError::InvalidRequest("refresh_token is missing"))?;
            let circumstances = circumstances(&request);
            let outcome =
                grant::refresh_token(&identity, &credentials, &token, &wishes, &circumstances, now).await;
            identity.metrics.count(REFRESH_TOKEN, &outcome);
            let refreshed = outcome?;
            Ok(answer(&refreshed.access_token, Some(&refreshed.refresh_token)))
        }
        _ => Err(OAuthError::UnsupportedGrantType),
    }
}

fn wishes(form: &Form) -> Result<Wishes, OAuthError> {
    let audience = match (form.get("resource"), form.get("audience")) {
        (Some(resource), Some(audience)) if resource != audience => return Err(OAuthError::InvalidTarget),
        (resource, audience) => resource.or(audience),
    };
    Ok(Wishes { scope: form.get("scope").map(str::to_owned), audience: audience.map(str::to_owned) })
}

fn answer(token: &AccessToken, refresh_token: Option<&SecretString>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"))
        .json(TokenResponse {
            access_token: token.token.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: token.expires_in.as_secs(),
            scope: token.scope.clone(),
            refresh_token: refresh_token.map(|token| token.expose_secret().to_owned()),
        })
}
