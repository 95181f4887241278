//! The pages that a browser sees at the end. They are made once, and nothing of a request is in them.

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::Bytes,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

/// What a callback is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// 200: a waiter has the code.
    Complete,
    /// 200: a waiter has what came, which is neither a code nor an error.
    CompleteWithoutCode,
    /// 200: a waiter knows that there is no code.
    Denied,
    /// 404: nobody has what came.
    NoClient,
    /// 400: it cannot be read.
    Unreadable,
    /// 403: the browser fetches ahead of its user.
    Prefetch,
    /// 408: the body did not come in time.
    Slow,
    /// 413
    BodyTooLarge,
    /// 414
    QueryTooLong,
}

/// The pages, as they go out.
struct Pages {
    bodies: [Bytes; 9],
    policy: String,
}

static PAGES: LazyLock<Pages> = LazyLock::new(|| Pages {
    bodies: Page::ALL.map(|page| Bytes::from(page.render().into_string())),
    policy: format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    ),
});

/// The query holds the code; the browser's history need not.
const SCRIPT: &str = "history.replaceState(null,'',location.pathname)";

const STYLE: &str = include_str!("page.css");

impl Page {
    const ALL: [Self; 9] = [
        Self::Complete,
        Self::CompleteWithoutCode,
        Self::Denied,
        Self::NoClient,
        Self::Unreadable,
        Self::Prefetch,
        Self::Slow,
        Self::BodyTooLarge,
        Self::QueryTooLong,
    ];

    /// The page with its status and headers.
    #[must_use]
    pub fn response(self) -> HttpResponse {
        let body = PAGES.bodies.get(self as usize).cloned().unwrap_or_default();
        HttpResponse::build(self.status())
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((header::CONTENT_SECURITY_POLICY, PAGES.policy.as_str()))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::X_FRAME_OPTIONS, "DENY"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
            .body(body)
    }

    fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::CompleteWithoutCode)
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Complete | Self::CompleteWithoutCode | Self::Denied => StatusCode::OK,
            Self::NoClient => StatusCode::NOT_FOUND,
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::Prefetch => StatusCode::FORBIDDEN,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QueryTooLong => StatusCode::URI_TOO_LONG,
        }
    }

    /// What happened, and what to do now.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Complete => (
                "Code received",
                "Return to your application; it goes on from here. You can close this page.",
            ),
            Self::CompleteWithoutCode => (
                "Answer received",
                "There is no code in it. Return to your application; it knows what to do. You can close this page.",
            ),
            Self::Denied => (
                "The provider sent an error",
                "Your application knows why and will tell you. You can close this page.",
            ),
            Self::NoClient => (
                "No client waiting",
                "Your application has stopped waiting, or this page was opened before. Start again from there.",
            ),
            Self::Unreadable => {
                ("The answer cannot be read", "What the provider sent is of no form that is known here.")
            }
            Self::Prefetch => ("Opened ahead of time", "Open this page yourself to go on."),
            Self::Slow => ("The answer did not come in time", "Start again from your application."),
            Self::BodyTooLarge | Self::QueryTooLong => {
                ("The answer is too long", "What the provider sent is more than any answer needs.")
            }
        }
    }

    fn render(self) -> Markup {
        let is_complete = self.is_complete();
        let heading = if is_complete { "Authorization Complete" } else { "Authorization Failed" };
        let (what, then) = self.words();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (heading) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main class=(if is_complete { "complete" } else { "failed" }) {
                        (mark(is_complete))
                        h1 { (heading) }
                        p class="what" { (what) }
                        p { (then) }
                    }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
    }
}

/// A tick or a cross in a ring.
fn mark(is_complete: bool) -> Markup {
    let path =
        if is_complete { "M20 33.5 28.5 42 45 23.5" } else { "M22.5 22.5 41.5 41.5M41.5 22.5 22.5 41.5" };
    html! {
        svg viewBox="0 0 64 64" aria-hidden="true" {
            circle cx="32" cy="32" r="29" {}
            path d=(path) {}
        }
    }
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: Page) -> String {
        page.render().into_string()
    }

    #[test]
    fn each_page_is_found_where_it_is_looked_for() {
        for (index, page) in Page::ALL.into_iter().enumerate() {
            assert_eq!(page as usize, index);
        }
    }

    #[test]
    fn only_what_a_waiter_has_is_complete() {
        for page in Page::ALL {
            let says_complete = text(page).contains("<h1>Authorization Complete</h1>");
            assert_eq!(says_complete, [Page::Complete, Page::CompleteWithoutCode].contains(&page));
            assert_eq!(text(page).contains("Code received"), page == Page::Complete);
            assert_eq!(text(page).contains("<h1>Authorization Failed</h1>"), !says_complete);
        }
        assert!(text(Page::NoClient).contains("No client waiting"));
    }

    #[test]
    fn style_and_script_are_on_the_page_as_they_were_hashed() {
        let page = text(Page::Complete);
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
        assert!(!page.contains("http"), "nothing comes from elsewhere");
    }
}
