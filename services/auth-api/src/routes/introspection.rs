//! The introspection endpoint (RFC 7662).

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use common_auth::{Authenticator, extract::bearer_token};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::request::{Form, client_credentials, network};
use crate::{
    domain::{
        Identity,
        client_authentication::authenticate,
        introspection::{self, Active, Asker},
    },
    error::{OAuthError, OAuthErrorBody},
};

/// What the endpoint takes, as a form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the form, which is read name by name")]
pub(super) struct IntrospectionRequest {
    token: String,
    token_type_hint: Option<String>,
    /// With HTTP Basic or a bearer token not needed.
    client_id: Option<String>,
    #[schema(format = Password)]
    client_secret: Option<String>,
}

/// Says what a token is worth: every claim of one in force, and nothing but `{"active":false}` of any other.
#[utoipa::path(
    post, path = "/oauth/introspect", tag = "oauth", security(("client_basic" = []), ("bearer" = [])),
    request_body(content = IntrospectionRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The claims, or that it is not in force", body = Object),
        (status = 400, description = "invalid_request", body = OAuthErrorBody),
        (status = 401, description = "invalid_client, invalid_token", body = OAuthErrorBody),
        (status = 413, description = "invalid_request", body = OAuthErrorBody),
        (status = 429, description = "rate_limited", body = OAuthErrorBody),
        (status = 503, description = "temporarily_unavailable", body = OAuthErrorBody),
    )
)]
pub(super) async fn introspect_token(
    identity: Data<Identity>,
    authenticator: Data<Authenticator>,
    request: HttpRequest,
    form: Result<Form, OAuthError>,
) -> Result<HttpResponse, OAuthError> {
    // Who asks is settled first: a stranger learns nothing, not even that the body is wrong.
    let asker = find_asker(&identity, &authenticator, &request, form.as_ref().ok()).await?;
    let form = form?;
    let token = form.secret("token").ok_or(OAuthError::InvalidRequest("token is missing"))?;
    let answer = match introspection::introspect(&identity, &asker, &token).await? {
        None => json!({ "active": false }),
        Some(active) => describe(&identity, active)?,
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

async fn find_asker(
    identity: &Identity,
    authenticator: &Authenticator,
    request: &HttpRequest,
    form: Option<&Form>,
) -> Result<Asker, OAuthError> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_bearer =
        header.is_some_and(|value| value.get(..7).is_some_and(|it| it.eq_ignore_ascii_case("bearer ")));
    if is_bearer {
        let token = bearer_token(request).map_err(OAuthError::Bearer)?;
        let token = authenticator.authenticate(token).await.map_err(OAuthError::Bearer)?;
        return Ok(Asker::Bearer(token));
    }
    let nothing = Form::default();
    let credentials =
        client_credentials(request, form.unwrap_or(&nothing))?.ok_or(OAuthError::InvalidClient)?;
    let client = authenticate(identity, &credentials, network(request), identity.clock.now()).await?;
    if client.is_public { Err(OAuthError::InvalidClient) } else { Ok(Asker::Client(client)) }
}

fn describe(identity: &Identity, active: Active) -> Result<Value, OAuthError> {
    match active {
        Active::Access(claims) => {
            let mut answer = serde_json::to_value(claims).map_err(|_| OAuthError::Internal)?;
            if let Value::Object(members) = &mut answer {
                members.insert("active".to_owned(), json!(true));
                members.insert("token_type".to_owned(), json!("Bearer"));
            }
            Ok(answer)
        }
        Active::Refresh(family) => Ok(json!({
            "active": true,
            "token_type": "refresh_token",
            "iss": identity.settings.issuer,
            "sub": family.user_id,
            "client_id": family.client_id,
            "scope": family.scope,
            "sid": family.id,
            "org_id": family.org_id,
            "iat": family.rotated_at.unwrap_or(family.created_at).unix_timestamp(),
            "exp": family.expires_at.min(family.idle_expires_at).unix_timestamp(),
        })),
    }
}
