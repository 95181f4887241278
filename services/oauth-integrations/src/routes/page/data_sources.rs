//! The page of an organization's data sources: what is connected, what is wrong with it, and what to do.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};
use maud::{Markup, html};
use secrecy::SecretString;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};
use tracing::Instrument;
use uuid::Uuid;

use super::{Page, PageError, result, wording};
use crate::{
    domain::{
        Integrations, credential,
        installation::{self, Installation, Status},
        opaque,
        provider::Platform,
        ticket::{self, Holder},
    },
    error::ApiError,
    routes::{
        browser::Cookies,
        limit::Limits,
        request::{PageForm, Parameters, circumstances},
    },
};

/// More connections than a page is good for.
const MOST_SHOWN: i64 = 200;
/// What the secret of the page's forms is made for.
const PURPOSE: &str = "data-sources";

/// What the last button did, as the page's address says it.
struct Notice {
    id: Uuid,
    is_answered: bool,
}

/// The page, for the browser that opened it with a ticket.
#[utoipa::path(
    get, path = "/oauth/data-sources", tag = "pages", security(("page" = [])),
    params(("ticket" = Option<String>, Query, description = "Opens the page; it is gone from the address afterwards")),
    responses(
        (status = 200, description = "The page", content_type = "text/html"),
        (status = 303, description = "To the page without the ticket in its address"),
        (status = 400, description = "The ticket is not valid any more", content_type = "text/html"),
        (status = 401, description = "The page was not opened, or its time is over", content_type = "text/html"),
        (status = 429, description = "Too many requests", content_type = "text/html"),
        (status = 503, description = "The database is not available", content_type = "text/html"),
    )
)]
pub(in crate::routes) async fn show_data_sources(
    integrations: Data<Integrations>,
    cookies: Data<Cookies>,
    limits: Data<Limits>,
    request: HttpRequest,
) -> Result<HttpResponse, PageError> {
    limits.browser(&request)?;
    let parameters = Parameters::of_query(&request).unwrap_or_default();
    if let Some(shown) = parameters.get("ticket") {
        let session = match opaque::parse(shown) {
            Some(secret) => ticket::open_session(&integrations, &secret).await?,
            None => None,
        };
        let Some(session) = session else { return Ok(result::link_expired().into_response()) };
        let mut response = back_to_page("");
        // A name and a value of letters always make a cookie.
        let _ = response.add_cookie(&cookies.page_cookie(&session.secret));
        return Ok(response);
    }
    let Some((session, holder)) = session(&integrations, &cookies, &request).await? else {
        return Ok(closed().into_response());
    };
    let page = installation::Page { platform: None, after: None, limit: MOST_SHOWN };
    let found = installation::list(&integrations.db, &holder.tenant(), &page).await?;
    let notice = ["checked", "unanswered"].iter().find_map(|name| {
        let id = parameters.get(name).and_then(|id| Uuid::parse_str(id).ok())?;
        Some(Notice { id, is_answered: *name == "checked" })
    });
    let check = opaque::derive(&session, PURPOSE);
    let content = content(&integrations, &holder, &found, notice.as_ref(), &check);
    Ok(Page::new("Data sources", content).into_response())
}

/// The `Check` button: asks the provider.
#[utoipa::path(
    post, path = "/oauth/data-sources/installations/{id}/check", tag = "pages", security(("page" = [])), params(("id" = Uuid, Path)),
    responses(
        (status = 303, description = "Back to the page"),
        (status = 401, description = "The page's time is over", content_type = "text/html"),
        (status = 403, description = "The form was sent by another site", content_type = "text/html"),
        (status = 404, description = "There is no such connection", content_type = "text/html"),
        (status = 415, description = "It is no form", content_type = "text/html"),
        (status = 429, description = "Too many requests", content_type = "text/html"),
        (status = 503, description = "The database is not available", content_type = "text/html"),
    )
)]
pub(in crate::routes) async fn check(
    integrations: Data<Integrations>,
    cookies: Data<Cookies>,
    limits: Data<Limits>,
    request: HttpRequest,
    id: Path<Uuid>,
    form: PageForm,
) -> Result<HttpResponse, PageError> {
    limits.browser(&request)?;
    let Some(holder) = authorize(&integrations, &cookies, &request, &form).await? else {
        return Ok(closed().into_response());
    };
    let tenant = holder.tenant();
    let known = installation::find(&integrations.db, &tenant, *id).await?.ok_or(ApiError::NotFound)?;
    let word = match credential::check(&integrations, &tenant, known.id).await.map_err(ApiError::from) {
        Ok(_) => "checked",
        Err(ApiError::TemporarilyUnavailable { .. }) => "unanswered",
        Err(error) => return Err(error.into()),
    };
    Ok(back_to_page(&format!("?{word}={}", known.id)))
}

/// The `Disconnect` button.
#[utoipa::path(
    post, path = "/oauth/data-sources/installations/{id}/disconnect", tag = "pages", security(("page" = [])), params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "Disconnected here; the provider has to be told by a person", content_type = "text/html"),
        (status = 303, description = "Back to the page"),
        (status = 401, description = "The page's time is over", content_type = "text/html"),
        (status = 403, description = "The form was sent by another site, or the user may not", content_type = "text/html"),
        (status = 404, description = "There is no such connection", content_type = "text/html"),
        (status = 415, description = "It is no form", content_type = "text/html"),
        (status = 429, description = "Too many requests", content_type = "text/html"),
        (status = 503, description = "The database is not available", content_type = "text/html"),
    )
)]
pub(in crate::routes) async fn disconnect(
    integrations: Data<Integrations>,
    cookies: Data<Cookies>,
    limits: Data<Limits>,
    request: HttpRequest,
    id: Path<Uuid>,
    form: PageForm,
) -> Result<HttpResponse, PageError> {
    limits.browser(&request)?;
    let Some(holder) = authorize(&integrations, &cookies, &request, &form).await? else {
        return Ok(closed().into_response());
    };
    if !holder.can_manage {
        return Err(ApiError::PermissionDenied.into());
    }
    let (id, circumstances) = (*id, circumstances(&request));
    let flying = integrations.clone();
    let work = async move {
        installation::revoke(&flying, &holder.tenant(), id, holder.user_id, &circumstances).await
    };
    let (gone, revocation) =
        integrations.flights.complete(work.in_current_span()).await.map_err(|_| ApiError::Internal)??;
    if revocation.provider_revoked {
        return Ok(back_to_page(""));
    }
    let name = wording::name(gone.platform);
    let content = html! {
        p role="status" { "Nothing here can use the connection any more. " (name) " was not told, or lets no program end it." }
        @if let Some(address) = &revocation.help_url {
            p { a href=(address) rel="noreferrer" { "End it at " (name) " too" } }
        }
        p { a.button href="/oauth/data-sources" { "Back to the data sources" } }
    };
    Ok(Page::new("Disconnected", content).into_response())
}

/// Whose page it is, if the form was sent by it.
async fn authorize(
    integrations: &Integrations,
    cookies: &Cookies,
    request: &HttpRequest,
    PageForm(form): &PageForm,
) -> Result<Option<Holder>, ApiError> {
    cookies.check_origin(request)?;
    let Some((session, holder)) = session(integrations, cookies, request).await? else { return Ok(None) };
    let is_own =
        form.get("check").is_some_and(|check| opaque::is_same(check, &opaque::derive(&session, PURPOSE)));
    if is_own { Ok(Some(holder)) } else { Err(ApiError::ForbiddenOrigin) }
}

async fn session(
    integrations: &Integrations,
    cookies: &Cookies,
    request: &HttpRequest,
) -> Result<Option<(SecretString, Holder)>, ApiError> {
    let Some(session) = cookies.page(request) else { return Ok(None) };
    let holder = ticket::find_session(integrations, &session).await?;
    Ok(holder.map(|holder| (session, holder)))
}

fn closed() -> Page {
    let content = html! {
        p { "The page was open for its 15 minutes, or was never opened in this browser." }
        p { "Open it again from the application that brought you here." }
    };
    Page::new("This page is closed", content).status(StatusCode::UNAUTHORIZED)
}

fn back_to_page(query: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, format!("/oauth/data-sources{query}")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish()
}

fn content(
    integrations: &Integrations,
    holder: &Holder,
    found: &[Installation],
    notice: Option<&Notice>,
    check: &str,
) -> Markup {
    let noticed = notice.and_then(|notice| Some((notice, found.iter().find(|row| row.id == notice.id)?)));
    html! {
        p.quiet-text {
            "Organization " (holder.org_id)
            @if let Some(name) = &holder.user_name { ", seen by " (name) }
        }
        @if let Some((notice, row)) = noticed {
            p role="status" {
                strong { (wording::name(row.platform)) ", " (account(row)) ": " }
                @if notice.is_answered { (wording::status(row.status)) ", just checked." }
                @else { "the provider did not answer. Try again in a moment." }
            }
        }
        ul.sources {
            @for platform in Platform::ALL {
                li {
                    h2 id=(platform) { (wording::name(platform)) }
                    (source(integrations, holder, platform, found, check))
                }
            }
        }
    }
}

fn source(
    integrations: &Integrations,
    holder: &Holder,
    platform: Platform,
    found: &[Installation],
    check: &str,
) -> Markup {
    let name = wording::name(platform);
    let is_offered = integrations.providers.get(platform).is_some();
    let connected: Vec<&Installation> = found.iter().filter(|row| row.platform == platform).collect();
    let label = if connected.is_empty() { "Connect OAuth" } else { "Connect another" };
    html! {
        @if connected.is_empty() { p { "Not connected." } }
        @else {
            ul { @for row in connected { li { (connection(holder, row, check)) } } }
        }
        @if !is_offered { p.quiet-text { "An administrator has to set up " (name) " first." } }
        @else if holder.can_manage {
            p {
                a.button href=(format!("/oauth/install/{platform}")) aria-label=(format!("{label}: {name}")) { (label) }
            }
        } @else { p.quiet-text { "Ask an administrator of the organization to connect it." } }
    }
}

fn connection(holder: &Holder, row: &Installation, check: &str) -> Markup {
    let what = format!("{}, {}", wording::name(row.platform), account(row));
    let trouble = wording::trouble(row);
    let class = if row.status == Status::Active { "good" } else { "bad" };
    let action = |verb: &str| format!("/oauth/data-sources/installations/{}/{verb}", row.id);
    let can_reconnect = holder.can_manage && trouble.is_some() && row.status != Status::PendingApproval;
    html! {
        p { strong { (account(row)) } ": " span class=(class) { (wording::status(row.status)) } }
        @if let Some(trouble) = &trouble { p { (trouble) } }
        @if let Some(at) = row.last_checked_at { p.quiet-text { "Last checked " (moment(at)) } }
        @if can_reconnect {
            a.button href=(format!("/oauth/install/{}?installation_id={}", row.platform, row.id))
                aria-label=(format!("Reconnect: {what}")) { "Reconnect" }
            " "
        }
        @if row.status != Status::PendingApproval {
            form method="post" action=(action("check")) {
                input type="hidden" name="check" value=(check);
                button.quiet type="submit" aria-label=(format!("Check: {what}")) { "Check" }
            }
        }
        @if holder.can_manage {
            details {
                summary { "Disconnect" }
                p { "Nothing of this organization can use it any more afterwards." }
                form method="post" action=(action("disconnect")) {
                    input type="hidden" name="check" value=(check);
                    button.quiet type="submit" aria-label=(format!("Disconnect now: {what}")) { "Disconnect now" }
                }
            }
        }
    }
}

fn account(row: &Installation) -> &str {
    row.external_org_name.as_deref().or(row.external_org_id.as_deref()).unwrap_or("no account yet")
}

/// A moment for people, and for programs in its attribute.
fn moment(at: OffsetDateTime) -> Markup {
    let at = at.to_offset(UtcOffset::UTC);
    let shown =
        at.format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC")).unwrap_or_default();
    html! { time datetime=(at.format(&Rfc3339).unwrap_or_default()) { (shown) } }
}
