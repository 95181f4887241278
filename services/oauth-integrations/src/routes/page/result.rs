//! The page at the end: how connecting went.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Path},
};
use maud::html;

use super::{Page, PageError, wording};
use crate::domain::{
    Integrations, opaque,
    result::{self, ConnectResult, Outcome},
};

/// In the place of a result: the link was of no use, for whatever reason.
pub(in crate::routes) const LINK_EXPIRED: &str = "link-expired";
/// In the place of a result: an owner approved or changed something at the provider.
pub(in crate::routes) const ACKNOWLEDGED: &str = "acknowledged";

/// How connecting went, for the browser that the provider sent back.
#[utoipa::path(
    get, path = "/oauth/results/{result}", tag = "pages", params(("result" = String, Path)),
    responses(
        (status = 200, description = "How it went", content_type = "text/html"),
        (status = 400, description = "The link is not valid, or not any more", content_type = "text/html"),
        (status = 503, description = "The database is not available", content_type = "text/html"),
    )
)]
pub(in crate::routes) async fn show_result(
    integrations: Data<Integrations>,
    name: Path<String>,
) -> Result<HttpResponse, PageError> {
    if name.as_str() == ACKNOWLEDGED {
        return Ok(acknowledged().into_response());
    }
    let Some(secret) = opaque::parse(&name) else { return Ok(link_expired().into_response()) };
    Ok(match result::find(&integrations, &secret).await? {
        Some(result) => page(&result).into_response(),
        None => link_expired().into_response(),
    })
}

/// The page of every link that is of no use: nothing about it tells why.
pub(super) fn link_expired() -> Page {
    let content = html! {
        p { "This link is not valid, was used already, or is too old. Links work once and for a short time, in the browser where they began." }
        p { "Open it again from the application that brought you here." }
    };
    Page::new("Link expired", content).status(StatusCode::BAD_REQUEST)
}

fn acknowledged() -> Page {
    let content = html! {
        p { "GitHub knows about it. If somebody asked for this connection, it is made within a minute." }
        p { "You can close this page." }
    };
    Page::new("Thank you", content)
}

fn page(result: &ConnectResult) -> Page {
    let (heading, sentence) = wording::outcome(result.outcome, result.platform, result.account.as_deref());
    let class = match result.outcome {
        Outcome::Connected => "good",
        Outcome::PendingApproval => "",
        _ => "bad",
    };
    let content = html! {
        p class=(class) role="status" { (sentence) }
        @if let Some(detail) = &result.detail {
            p { (wording::name(result.platform)) " says:" }
            blockquote { (detail) }
        }
        @if let Some(address) = &result.return_to {
            p { a.button href=(address.as_str()) { "Go on" } }
        }
    };
    Page::new(heading, content)
}
