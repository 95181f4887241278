//! The providers' pages: plain HTML, usable with a browser and without.

use actix_web::{HttpResponse, http::StatusCode, http::header};
use maud::{DOCTYPE, Markup, html};

use crate::fields::Fields;

/// A choice with its name, its label and its options as value and text; the first is chosen.
pub(crate) struct Choice<'a> {
    pub(crate) name: &'a str,
    pub(crate) label: &'a str,
    pub(crate) options: Vec<(String, String)>,
    /// Any number of them; all are chosen at first.
    pub(crate) is_multiple: bool,
}

/// A consent page that posts to itself.
pub(crate) fn consent(title: &str, notice: &str, request: &Fields, choices: &[Choice]) -> HttpResponse {
    let form = html! {
        @if !notice.is_empty() { p role="status" { (notice) } }
        form method="post" {
            input type="hidden" name="request" value=(request.to_query());
            @for choice in choices { (field(choice)) }
            p {
                button type="submit" name="decision" value="approve" { "Approve" }
                " "
                button type="submit" name="decision" value="cancel" { "Cancel" }
            }
        }
    };
    page(StatusCode::OK, title, &form)
}

/// A page that says what is wrong.
pub(crate) fn refusal(status: StatusCode, title: &str, detail: &str) -> HttpResponse {
    page(status, title, &html! { p { (detail) } })
}

/// Sends the browser to an address with these parameters added.
pub(crate) fn redirect(address: &str, parameters: &[(&str, Option<&str>)]) -> HttpResponse {
    let Ok(mut url) = url::Url::parse(address) else {
        return refusal(StatusCode::BAD_REQUEST, "Invalid redirect", "The address to return to is no URL.");
    };
    for (name, value) in parameters {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    HttpResponse::Found().insert_header((header::LOCATION, url.as_str())).finish()
}

fn field(choice: &Choice) -> Markup {
    if choice.is_multiple {
        return html! {
            fieldset {
                legend { (choice.label) }
                @for (value, text) in &choice.options {
                    label { input type="checkbox" name=(choice.name) value=(value) checked; " " (text) }
                }
            }
        };
    }
    html! {
        p {
            label for=(choice.name) { (choice.label) }
            " "
            select id=(choice.name) name=(choice.name) {
                @for (value, text) in &choice.options { option value=(value) { (text) } }
            }
        }
    }
}

fn page(status: StatusCode, title: &str, content: &Markup) -> HttpResponse {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (title) } }
            body { main { h1 { (title) } (content) } }
        }
    };
    HttpResponse::build(status).content_type("text/html; charset=utf-8").body(page.into_string())
}
