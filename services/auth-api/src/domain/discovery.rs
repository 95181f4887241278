//! What this issuer can do (`OpenID` Connect Discovery 1.0, RFC 8414): only what really works.

use serde_json::{Value, json};

use super::{
    grant::{CLIENT_CREDENTIALS, REFRESH_TOKEN},
    token::LOGIN_SCOPE,
};

/// The metadata. `issuer` is byte for byte what tokens carry; endpoints are where browsers and services reach them.
pub fn metadata(issuer: &str, public_url: &str) -> Value {
    let methods = json!(["client_secret_basic", "client_secret_post", "none"]);
    let confidential = json!(["client_secret_basic", "client_secret_post"]);
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{public_url}/.well-known/jwks.json"),
        "token_endpoint": format!("{public_url}/oauth/token"),
        "introspection_endpoint": format!("{public_url}/oauth/introspect"),
        "revocation_endpoint": format!("{public_url}/oauth/revoke"),
        "grant_types_supported": [CLIENT_CREDENTIALS, REFRESH_TOKEN],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": LOGIN_SCOPE.split(' ').collect::<Vec<_>>(),
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": confidential,
        "revocation_endpoint_auth_methods_supported": methods,
    })
}
