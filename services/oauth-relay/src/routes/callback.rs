//! Where providers send the browser back to.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web::{self, Bytes},
};

use super::page::Page;
use crate::{
    app::AppState,
    domain::{
        callback::{Callback, CallbackError},
        waiter::Outcome,
    },
};

/// The longest query, in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024;
/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a body may take.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Takes a callback whose parameters are in the query.
#[utoipa::path(
    get, path = "/oauth/callback", tag = "callback",
    params(
        ("code" = Option<String>, Query, description = "The code; `OAUTH_CODE_KEYS` names it, in any case of letters. Once"),
        ("state" = Option<String>, Query, description = "The state that the waiter waits for. Once"),
        ("error" = Option<String>, Query, description = "Why there is no code; it wins over a code"),
    ),
    responses(
        (status = 200, description = "A waiter has the code, or the error", content_type = "text/html"),
        (status = 400, description = "It cannot be read", content_type = "text/html"),
        (status = 403, description = "The browser fetches ahead of its user", content_type = "text/html"),
        (status = 404, description = "No client is waiting, or not any more", content_type = "text/html"),
        (status = 414, description = "The query is longer than 16 KiB", content_type = "text/html"),
    ),
)]
pub async fn get_callback(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let _open = state.waiters.open_callback();
    if is_ahead_of_its_user(request.headers()) {
        return Page::Prefetch.response();
    }
    if request.query_string().len() > MAX_QUERY_BYTES {
        return Page::QueryTooLong.response();
    }
    deliver(&state, Callback::from_query(request.query_string(), &state.code_keys)).await
}

/// Takes a callback whose parameters are in the body, as JSON or a form (`response_mode=form_post`).
#[utoipa::path(
    post, path = "/oauth/callback", tag = "callback",
    request_body(
        description = "The parameters; of unknown type, it is read as JSON, else as a form. Without a body, the query is read",
        content(
            (inline(serde_json::Map<String, serde_json::Value>) = "application/json"),
            (inline(serde_json::Map<String, serde_json::Value>) = "application/x-www-form-urlencoded"),
        ),
    ),
    responses(
        (status = 200, description = "A waiter has the code, or the error", content_type = "text/html"),
        (status = 400, description = "It cannot be read", content_type = "text/html"),
        (status = 404, description = "No client is waiting, or not any more", content_type = "text/html"),
        (status = 408, description = "The body did not come within ten seconds", content_type = "text/html"),
        (status = 413, description = "The body is larger than 64 KiB", content_type = "text/html"),
        (status = 414, description = "The query is longer than 16 KiB", content_type = "text/html"),
    ),
)]
pub async fn post_callback(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> HttpResponse {
    let _open = state.waiters.open_callback();
    if request.query_string().len() > MAX_QUERY_BYTES {
        return Page::QueryTooLong.response();
    }
    let body = match read(payload).await {
        Ok(body) => body,
        Err(page) => return page.response(),
    };
    if body.is_empty() {
        return deliver(&state, Callback::from_query(request.query_string(), &state.code_keys)).await;
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    deliver(&state, Callback::from_body(content_type, &body, &state.code_keys)).await
}

async fn deliver(state: &AppState, callback: Result<Callback, CallbackError>) -> HttpResponse {
    let callback = match callback {
        Ok(callback) => callback,
        Err(error) => {
            state.waiters.report_unreadable(error);
            return Page::Unreadable.response();
        }
    };
    let has_code = callback.code.is_some();
    let page = match state.waiters.deliver(callback).await {
        Outcome::Delivered if has_code => Page::Complete,
        Outcome::Delivered => Page::CompleteWithoutCode,
        Outcome::Denied => Page::Denied,
        Outcome::Unmatched => Page::NoClient,
    };
    page.response()
}

async fn read(payload: web::Payload) -> Result<Bytes, Page> {
    match tokio::time::timeout(BODY_LIMIT, payload.to_bytes_limited(MAX_BODY_BYTES)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_unreadable))) => Err(Page::Unreadable),
        Ok(Err(_too_large)) => Err(Page::BodyTooLarge),
        Err(_elapsed) => Err(Page::Slow),
    }
}

/// Browsers, mail programs and chats look at links before anybody opens them, which would use up the code.
fn is_ahead_of_its_user(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|name| {
        headers.get_all(*name).any(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            [b"prefetch".as_slice(), b"preview", b"prerender"]
                .iter()
                .any(|word| value.windows(word.len()).any(|window| window == *word))
        })
    })
}
