//! Reading requests: who calls comes first, then what the request says.

use std::{future::Future, pin::Pin};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header,
    web::{Bytes, BytesMut, Data},
};
use common_auth::problem::current_request_id;
use futures_util::{StreamExt, future::LocalBoxFuture};
use serde::de::DeserializeOwned;

use super::address::TrustedProxies;
use crate::{
    domain::{audit::Circumstances, provider::Platform},
    error::ApiError,
};

/// Larger bodies are refused.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Longer values in an address are refused; Atlassian's codes are long.
const MAX_VALUE_BYTES: usize = 4096;

/// Two extractors, one after the other: nothing of a request is judged before its caller is.
pub(super) struct Guarded<G, T>(pub(super) G, pub(super) T);

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

/// A platform in the path.
pub(super) struct PlatformPath(pub(super) Platform);

/// Parameters of an address or a form: each name once, each value of bounded length.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

/// A form that a page of this service sent.
pub(super) struct PageForm(pub(super) Parameters);

/// The parameters are repeated, too long, or no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear;

impl<G: FromRequest + 'static, T: FromRequest + 'static> FromRequest for Guarded<G, T> {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let guard = G::from_request(request, &mut Payload::None);
        let request = request.clone();
        let mut payload = payload.take();
        Box::pin(async move {
            let guard = guard.await.map_err(Into::into)?;
            let rest = T::from_request(&request, &mut payload).await.map_err(Into::into)?;
            Ok(Self(guard, rest))
        })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request.content_type().eq_ignore_ascii_case("application/json");
        let mut payload = payload.take();
        Box::pin(async move {
            if !is_json {
                return Err(ApiError::UnsupportedMediaType);
            }
            let body = read_body(&mut payload, MAX_BODY_BYTES).await?;
            serde_json::from_slice(&body)
                .map(Self)
                .map_err(|error| ApiError::Validation(describe(&error).into()))
        })
    }
}

impl FromRequest for PageForm {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_form = request.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let mut payload = payload.take();
        Box::pin(async move {
            if !is_form {
                return Err(ApiError::UnsupportedMediaType);
            }
            let body = read_body(&mut payload, MAX_BODY_BYTES).await?;
            let parameters = Parameters::parse(&body);
            parameters.map(Self).map_err(|Unclear| ApiError::Validation("the form is not usable".into()))
        })
    }
}

impl FromRequest for PlatformPath {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let platform = request.match_info().get("platform").and_then(|name| name.parse().ok());
        std::future::ready(platform.map(Self).ok_or(ApiError::NotFound))
    }
}

impl Parameters {
    /// The parameters of an address.
    pub(super) fn of_query(request: &HttpRequest) -> Result<Self, Unclear> {
        Self::parse(request.query_string().as_bytes())
    }

    /// A value, if it is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn parse(encoded: &[u8]) -> Result<Self, Unclear> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(encoded) {
            // A replacement character is what is left of bytes that are no text.
            let is_odd = value.len() > MAX_VALUE_BYTES || value.contains(['\u{fffd}', '\0']);
            if is_odd || parameters.iter().any(|(known, _)| *known == name) {
                return Err(Unclear);
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }
}

/// Where the request came from, for the audit.
pub(super) fn circumstances(request: &HttpRequest) -> Circumstances {
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let proxies = request.app_data::<Data<TrustedProxies>>();
    Circumstances {
        ip: proxies.and_then(|proxies| proxies.client_of(request)).map(|address| address.to_string()),
        user_agent: user_agent.map(str::to_owned),
        request_id: current_request_id(),
    }
}

/// The whole body, byte for byte: signatures are made over it.
pub(super) async fn read_body(payload: &mut Payload, most: usize) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::Validation("the body did not arrive whole".into()))?;
        if body.len() + chunk.len() > most {
            return Err(ApiError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Says what is wrong without repeating what was sent.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => format!("{field} is missing"),
        None => format!("the body is not as expected at line {}, column {}", error.line(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_comes_once_and_empty_values_are_absent() {
        let parameters = Parameters::parse(b"code=a%2Bb&state=s&error=").unwrap();
        assert_eq!(parameters.get("code"), Some("a+b"));
        assert_eq!(parameters.get("error"), None);
        assert_eq!(parameters.get("unknown"), None);
    }

    #[test]
    fn s08_s09_repeated_overlong_and_undecodable_values_are_refused() {
        let long = format!("code={}", "x".repeat(MAX_VALUE_BYTES + 1));
        for query in [&b"code=a&code=b"[..], b"code=&code=b", b"state=%ff", b"state=%00", long.as_bytes()] {
            assert_eq!(Parameters::parse(query).unwrap_err(), Unclear);
        }
    }
}
