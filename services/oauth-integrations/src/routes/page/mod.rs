//! What people see: pages made here, which need no script and load nothing.

pub(super) mod data_sources;
pub(super) mod install;
pub(super) mod result;
pub(super) mod wording;

use std::sync::LazyLock;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use crate::error::ApiError;

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b1f24;--quiet:#4a5460;--back:#fff;--line:#c9d1d9;--accent:#0a4fb3;--on-accent:#fff;--good:#116329;--bad:#a40e26}\
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--quiet:#b1bac4;--back:#0d1117;--line:#444c56;--accent:#79b8ff;--on-accent:#0d1117;--good:#7ee787;--bad:#ffb3b3}}\
body{margin:0;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif}\
main{max-width:42rem;margin:0 auto;padding:2rem 1rem}\
h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.2rem;margin:0 0 .25rem}\
ul.sources{list-style:none;margin:0;padding:0}\
ul.sources>li{border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:0 0 1rem}\
ul.sources ul{list-style:none;margin:0;padding:0}ul.sources ul>li{border-top:1px solid var(--line);margin-top:.75rem;padding-top:.75rem}\
dt{color:var(--quiet)}dd{margin:0 0 .5rem;overflow-wrap:anywhere}\
a{color:var(--accent)}\
a.button,button{display:inline-block;font:inherit;padding:.5rem 1rem;border:1px solid var(--accent);border-radius:.375rem;background:var(--accent);color:var(--on-accent);text-decoration:none;cursor:pointer}\
button.quiet{background:transparent;color:var(--accent)}\
a:focus-visible,button:focus-visible,summary:focus-visible{outline:3px solid var(--accent);outline-offset:3px}\
form{display:inline-block;margin:.5rem .5rem 0 0}details{margin-top:.5rem}\
.good{color:var(--good)}.bad{color:var(--bad)}.quiet-text{color:var(--quiet)}\
blockquote{margin:1rem 0;padding:.5rem 1rem;border-left:4px solid var(--line);overflow-wrap:anywhere}";

/// The one style, named by its hash: nothing else in a page can style it, nothing at all can run in it.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'")
});

/// A page about to be answered.
pub(super) struct Page {
    status: StatusCode,
    title: String,
    content: Markup,
    form_action: String,
}

/// An error where a person looks: the same status and headers as for a program, and a page.
#[derive(Debug)]
pub(super) struct PageError(pub(super) ApiError);

impl Page {
    /// A page with this title, which is its heading too.
    pub(super) fn new(title: impl Into<String>, content: Markup) -> Self {
        Self { status: StatusCode::OK, title: title.into(), content, form_action: "'self'".to_owned() }
    }

    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Its form is answered with a redirect to this origin, which may redirect to a login page anywhere. Browsers hold the policy
    /// against each of them.
    pub(super) fn leads_to(mut self, origin: &str) -> Self {
        self.form_action = format!("'self' {origin} https:");
        self
    }

    pub(super) fn into_response(self) -> HttpResponse {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        h1 { (self.title) }
                        (self.content)
                    }
                }
            }
        };
        HttpResponse::build(self.status)
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::X_FRAME_OPTIONS, "DENY"))
            .insert_header((
                header::CONTENT_SECURITY_POLICY,
                format!("{}; form-action {}", *POLICY, self.form_action),
            ))
            .body(markup.into_string())
    }
}

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Display for PageError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let advice = match status {
            StatusCode::TOO_MANY_REQUESTS => "That was too often for now. Wait a minute, then try again.",
            _ if status.is_server_error() => "It is not your fault. Wait a moment, then try again.",
            _ => "Go back to where you came from and start again.",
        };
        let page = Page::new(self.0.to_string(), html! { p { (advice) } }).status(status);
        let mut response = page.into_response();
        // What a program would be told beside the body holds for a browser too.
        let like = self.0.error_response();
        for name in [header::RETRY_AFTER, header::ALLOW, header::WWW_AUTHENTICATE] {
            if let Some(value) = like.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s16_text_from_outside_stays_text() {
        let response =
            Page::new("<script>alert(1)</script>", html! { p { ("\"><img src=x>") } }).into_response();
        let body = actix_web::body::MessageBody::try_into_bytes(response.into_body()).unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.contains("&lt;script&gt;") && !body.contains("<script") && !body.contains("<img"),
            "{body}"
        );
    }

    #[test]
    fn s16_nothing_runs_is_framed_or_told_on() {
        let response = Page::new("x", html! {}).into_response();
        let header =
            |name: header::HeaderName| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        let policy = header(header::CONTENT_SECURITY_POLICY);
        for part in
            ["default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'", "form-action 'self'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header(header::REFERRER_POLICY), "no-referrer");
        assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header(header::CACHE_CONTROL), "no-store");
    }
}
