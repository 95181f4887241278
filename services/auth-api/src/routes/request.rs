//! Reading requests: who calls comes first, then what is in the body.

use std::{collections::HashMap, future::Future, net::IpAddr, pin::Pin};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header,
    web::{Bytes, BytesMut, Data},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use common_auth::problem::current_request_id;
use futures_util::{StreamExt, future::LocalBoxFuture};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use crate::{
    domain::{
        audit::Circumstances,
        client::ClientCredentials,
        network::{Network, TrustedProxies},
    },
    error::{ApiError, OAuthError},
};

/// Larger bodies are refused.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Two extractors, one after the other: nothing of a request is judged before its caller is.
pub(super) struct Guarded<G, T>(pub(super) G, pub(super) T);

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

/// A form as OAuth endpoints take it: each name once, empty values as if they were not there (RFC 6749, section 3.2).
#[derive(Default)]
pub(super) struct Form(HashMap<String, String>);

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
            let body = read(&mut payload).await.map_err(|error| match error {
                ReadError::TooLarge => ApiError::TooLarge,
                ReadError::Broken => ApiError::Validation("the body did not arrive whole".to_owned()),
            })?;
            serde_json::from_slice(&body).map(Self).map_err(|error| ApiError::Validation(describe(&error)))
        })
    }
}

impl FromRequest for Form {
    type Error = OAuthError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, OAuthError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_form = request.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded");
        // Query strings are logged on the way; a secret in one is a secret lost.
        let is_in_query = request.query_string().contains("client_secret");
        let mut payload = payload.take();
        Box::pin(async move {
            if is_in_query {
                return Err(OAuthError::InvalidRequest("client_secret is not accepted in the query"));
            }
            if !is_form {
                return Err(OAuthError::InvalidRequest("the body has to be a form"));
            }
            let body = read(&mut payload).await.map_err(|error| match error {
                ReadError::TooLarge => OAuthError::TooLarge,
                ReadError::Broken => OAuthError::InvalidRequest("the body did not arrive whole"),
            })?;
            Self::parse(&body).map_err(OAuthError::InvalidRequest)
        })
    }
}

impl Form {
    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a parameter that is a secret.
    pub(super) fn secret(&self, name: &str) -> Option<SecretString> {
        self.get(name).map(SecretString::from)
    }

    fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let mut parameters = HashMap::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(parts.next().unwrap_or_default())
                .ok_or("a parameter is not UTF-8 in form encoding")?;
            let value = decode(parts.next().unwrap_or_default())
                .ok_or("a parameter is not UTF-8 in form encoding")?;
            if parameters.insert(name, value).is_some() {
                return Err("a parameter is repeated");
            }
        }
        parameters.retain(|_, value: &mut String| !value.is_empty());
        Ok(Self(parameters))
    }
}

/// How the client says who it is: HTTP Basic or the form, never both (RFC 6749, section 2.3).
pub(super) fn client_credentials(
    request: &HttpRequest,
    form: &Form,
) -> Result<Option<ClientCredentials>, OAuthError> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let header = headers.next();
    if headers.next().is_some() {
        return Err(OAuthError::InvalidRequest("there are several Authorization headers"));
    }
    let Some(header) = header else {
        return Ok(form.get("client_id").map(|client_id| ClientCredentials {
            client_id: client_id.to_owned(),
            secret: form.secret("client_secret"),
        }));
    };
    let (client_id, secret) = header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"))
        .and_then(|(_, encoded)| parse_basic(encoded.trim()))
        .ok_or(OAuthError::InvalidClient)?;
    if form.get("client_secret").is_some() {
        return Err(OAuthError::InvalidRequest("the client authenticates in two ways"));
    }
    if form.get("client_id").is_some_and(|in_body| in_body != client_id) {
        return Err(OAuthError::InvalidRequest("the client ids differ"));
    }
    Ok(Some(ClientCredentials { client_id, secret: Some(SecretString::from(secret)) }))
}

/// Where the request came from.
pub(super) fn circumstances(request: &HttpRequest) -> Circumstances {
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Circumstances {
        ip: caller(request),
        user_agent: user_agent.map(str::to_owned),
        request_id: current_request_id(),
    }
}

/// The network that the request came from.
pub(super) fn network(request: &HttpRequest) -> Network {
    Network::of(caller(request))
}

/// The caller's address: the peer's, or what the proxies in front of us say.
fn caller(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let Some(proxies) = request.app_data::<Data<TrustedProxies>>().filter(|proxies| !proxies.is_empty())
    else {
        return Some(peer);
    };
    let lines: Vec<_> = request.headers().get_all("x-forwarded-for").collect();
    let chain = lines.iter().flat_map(|line| line.to_str().unwrap_or_default().split(','));
    Some(proxies.caller(peer, chain))
}

enum ReadError {
    TooLarge,
    Broken,
}

async fn read(payload: &mut Payload) -> Result<Bytes, ReadError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ReadError::Broken)?;
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Says what is wrong without repeating what was sent: it may be a password.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => format!("{field} is missing"),
        None => format!("the body is not as expected at line {}, column {}", error.line(), error.column()),
    }
}

/// Both halves are form-encoded before they are put together (RFC 6749, section 2.3.1).
fn parse_basic(encoded: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (client_id, secret) = decoded.split_at_checked(colon)?;
    Some((decode(client_id)?, decode(secret.get(1..)?)?))
}

/// Form decoding that refuses what it does not understand, where the usual one makes the best of it.
fn decode(encoded: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(*bytes.next()?).to_digit(16)?;
                let low = char::from(*bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_and_empty_values_are_absent() {
        let form = Form::parse(b"grant_type=client_credentials&scope=a+b%3Ac&empty=&%C3%BC=1").unwrap();
        assert_eq!(form.get("grant_type"), Some("client_credentials"));
        assert_eq!(form.get("scope"), Some("a b:c"));
        assert_eq!(form.get("empty"), None);
        assert_eq!(form.get("ü"), Some("1"));
    }

    #[test]
    fn a_repeated_name_or_bad_encoding_is_refused() {
        for body in [&b"a=1&a=2"[..], b"a=&a=", b"a=%", b"a=%4", b"a=%zz", b"a=%ff", b"\xff=1"] {
            assert!(Form::parse(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn very_many_names_are_read_in_no_time() {
        let body: Vec<String> = (0..MAX_BODY_BYTES / 4).map(|number| format!("{number:x}")).collect();
        let began = std::time::Instant::now();
        assert!(Form::parse(&body.join("&").into_bytes()).is_ok());
        // Compared each with each they take seconds, and a worker serves nobody else meanwhile.
        assert!(began.elapsed().as_millis() < 500, "{:?}", began.elapsed());
    }

    #[test]
    fn basic_credentials_are_form_encoded_inside() {
        let encoded = STANDARD.encode("a%3Ab%2F+:s%25%2B");
        assert_eq!(parse_basic(&encoded), Some(("a:b/ ".to_owned(), "s%+".to_owned())));
        assert_eq!(parse_basic(&STANDARD.encode("no colon")), None);
        assert_eq!(parse_basic("***"), None);
    }

    #[test]
    fn a_complaint_never_repeats_the_value() {
        #[derive(Debug, serde::Deserialize)]
        struct Body {
            #[expect(dead_code, reason = "only parsed")]
            email: String,
        }
        let describe = |text: &str| describe(&serde_json::from_str::<Body>(text).unwrap_err());
        assert_eq!(describe("{}"), "email is missing");
        assert!(!describe("{\"email\": 12345}").contains("12345"));
    }
}
