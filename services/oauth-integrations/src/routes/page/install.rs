//! Connecting one platform: at once with a bearer token, or by a page that names who connects what for whom.

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, http::header, web::Data};
use common_auth::AuthError;
use maud::{Markup, html};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use uuid::Uuid;

use super::{Page, PageError, result, wording};
use crate::{
    domain::{
        Integrations, opaque,
        provider::{AuthorizationRequest, AuthorizationStep, Platform},
        state::{self, BeginError, Wish},
        ticket::{self, Holder},
    },
    error::{ApiError, ProblemBody},
    routes::{
        browser::Cookies,
        caller::Manager,
        limit::Limits,
        request::{PageForm, Parameters, PlatformPath, Unclear},
        ticket::{id, return_to},
    },
};

impl From<BeginError> for ApiError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::NotConfigured => Self::ProviderNotConfigured,
            BeginError::UnknownInstallation => Self::NotFound,
            BeginError::TooMany => Self::RateLimited { retry_after: std::time::Duration::from_mins(1) },
            BeginError::Cipher(error) => {
                tracing::error!(%error, "a verifier cannot be sealed or opened");
                Self::Unavailable
            }
            BeginError::Store(error) => error.into(),
        }
    }
}

/// Begins to connect a platform: with a bearer token by a redirect to the provider, else by a page that asks.
#[utoipa::path(
    get, path = "/oauth/install/{platform}", tag = "installations", security(("bearer" = []), ("ticket" = []), ("page" = [])),
    params(
        ("platform" = String, Path, description = "github, jira (or confluence), slack"),
        ("return_to" = Option<String>, Query, description = "With a bearer token: where the result page leads"),
        ("installation_id" = Option<Uuid>, Query, description = "The installation to connect anew"),
        ("chat_session_id" = Option<String>, Query, description = "What mozaiks-runtime hears again when it is done"),
        ("correlation_id" = Option<String>, Query, description = "The same"),
        ("ticket" = Option<String>, Query, description = "Without a bearer token: from `POST /oauth/install-tickets`"),
    ),
    responses(
        (status = 200, description = "The page that names organization and user", content_type = "text/html"),
        (status = 302, description = "To the provider (bearer token)"),
        (status = 400, description = "validation_failed, or a page: the ticket is not valid any more", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "authentication_required, invalid_token, token_expired", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "permission_denied", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found, provider_not_configured", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "rate_limited", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "dependency_unavailable", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(in crate::routes) async fn start_install(
    integrations: Data<Integrations>,
    cookies: Data<Cookies>,
    limits: Data<Limits>,
    request: HttpRequest,
) -> Result<HttpResponse, actix_web::Error> {
    if request.headers().contains_key(header::AUTHORIZATION) {
        let caller = Manager::extract(&request).await?;
        limits.browser(&request)?;
        return Ok(redirect_at_once(&integrations, &cookies, &caller, &request).await?);
    }
    let parameters = Parameters::of_query(&request).unwrap_or_default();
    if parameters.get("ticket").is_none() && cookies.page(&request).is_none() {
        return Err(AuthError::MissingCredentials.into());
    }
    let asked = ask(&integrations, &cookies, &limits, &request, &parameters).await;
    asked.map_err(Into::into)
}

/// The answer to the page: off to the provider.
#[utoipa::path(
    post, path = "/oauth/install/{platform}", tag = "pages", params(("platform" = String, Path)),
    responses(
        (status = 303, description = "To the provider"),
        (status = 400, description = "The ticket or the browser's cookie is not valid any more", content_type = "text/html"),
        (status = 403, description = "The form was sent by another site, or the user may not", content_type = "text/html"),
        (status = 404, description = "The platform is not configured", content_type = "text/html"),
        (status = 415, description = "It is no form", content_type = "text/html"),
        (status = 429, description = "Too many requests", content_type = "text/html"),
        (status = 503, description = "The database is not available", content_type = "text/html"),
    )
)]
pub(in crate::routes) async fn confirm_install(
    integrations: Data<Integrations>,
    cookies: Data<Cookies>,
    limits: Data<Limits>,
    request: HttpRequest,
    payload: actix_web::web::Payload,
) -> Result<HttpResponse, PageError> {
    limits.browser(&request)?;
    cookies.check_origin(&request)?;
    let PlatformPath(platform) = PlatformPath::from_request(&request, &mut Payload::None).await?;
    let PageForm(form) = PageForm::from_request(&request, &mut payload.into_inner()).await?;
    let Some(browser) = cookies.flow(&request) else { return Ok(result::link_expired().into_response()) };
    let shown = form.get("ticket").and_then(opaque::parse);
    let purpose = purpose(platform, shown.as_ref());
    if !form.get("check").is_some_and(|check| opaque::is_same(check, &opaque::derive(&browser, &purpose))) {
        return Ok(result::link_expired().into_response());
    }
    let wish = match &shown {
        Some(secret) => ticket::take_install(&integrations, secret).await?,
        None => {
            wish_of_session(&integrations, &cookies, &request, platform, form.get("installation_id")).await?
        }
    };
    let Some(wish) = wish.filter(|wish| wish.platform == platform) else {
        return Ok(result::link_expired().into_response());
    };
    if !wish.holder.can_manage {
        return Err(ApiError::PermissionDenied.into());
    }
    let url = state::begin(&integrations, &wish, &browser).await?;
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, url.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .cookie(cookies.flow_cookie(&browser))
        .finish())
}

async fn redirect_at_once(
    integrations: &Integrations,
    cookies: &Cookies,
    caller: &Manager,
    request: &HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let user = caller.user().ok_or(ApiError::PermissionDenied)?;
    let PlatformPath(platform) = PlatformPath::from_request(request, &mut Payload::None).await?;
    let parameters = Parameters::of_query(request)
        .map_err(|Unclear| ApiError::Validation("a query parameter is repeated or not usable".into()))?;
    let wish = Wish {
        holder: Holder::of(user, caller.token().origin()),
        platform,
        installation_id: parse_id(parameters.get("installation_id"))?,
        return_to: return_to(integrations, parameters.get("return_to"))?,
        chat_session_id: id("chat_session_id", parameters.get("chat_session_id").map(str::to_owned))?,
        correlation_id: id("correlation_id", parameters.get("correlation_id").map(str::to_owned))?,
    };
    let browser = cookies.flow_or_new(request);
    let url = state::begin(integrations, &wish, &browser).await?;
    Ok(HttpResponse::Found()
        .insert_header((header::LOCATION, url.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .cookie(cookies.flow_cookie(&browser))
        .finish())
}

/// The page that asks. It changes nothing: a link that somebody sent leads here and no further.
async fn ask(
    integrations: &Integrations,
    cookies: &Cookies,
    limits: &Limits,
    request: &HttpRequest,
    parameters: &Parameters,
) -> Result<HttpResponse, PageError> {
    limits.browser(request)?;
    let PlatformPath(platform) = PlatformPath::from_request(request, &mut Payload::None).await?;
    let shown = parameters.get("ticket").and_then(opaque::parse);
    let wish = match (&shown, parameters.get("ticket")) {
        (Some(secret), _) => ticket::find_install(integrations, secret).await?,
        (None, Some(_)) => None,
        (None, None) => {
            wish_of_session(integrations, cookies, request, platform, parameters.get("installation_id"))
                .await?
        }
    };
    let Some(wish) = wish.filter(|wish| wish.platform == platform) else {
        return Ok(result::link_expired().into_response());
    };
    if !wish.holder.can_manage {
        return Err(ApiError::PermissionDenied.into());
    }
    let provider = integrations.providers.get(platform).ok_or(ApiError::ProviderNotConfigured)?;
    let sample = AuthorizationRequest {
        step: AuthorizationStep::Authorize,
        state: "",
        redirect_uri: &integrations.settings.callback_base,
        code_challenge: None,
    };
    let origin = provider.get_authorization_url(&sample).origin().ascii_serialization();
    let browser = cookies.flow_or_new(request);
    let check = opaque::derive(&browser, &purpose(platform, shown.as_ref()));
    let title = format!("Connect {}", wording::name(platform));
    let content = question(&wish, &origin, shown.as_ref(), &check);
    let mut response = Page::new(title, content).leads_to(&origin).into_response();
    // A name and a number always make a cookie.
    let _ = response.add_cookie(&cookies.flow_cookie(&browser));
    Ok(response)
}

fn question(wish: &Wish, origin: &str, shown: Option<&SecretString>, check: &str) -> Markup {
    let name = wording::name(wish.platform);
    let host = Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    html! {
        p { "You are about to let this platform use " (name) " for the organization below. Go on only if you started this yourself." }
        dl {
            dt { "Organization" }
            dd { (wish.holder.org_id) }
            dt { "Requested by" }
            dd { (wish.holder.user_name.as_deref().unwrap_or("a user without a name")) " (" (wish.holder.user_id) ")" }
            @if let Some(id) = wish.installation_id {
                dt { "Connection to renew" }
                dd { (id) }
            }
        }
        form method="post" action=(format!("/oauth/install/{}", wish.platform)) {
            @if let Some(ticket) = shown {
                input type="hidden" name="ticket" value=(ticket.expose_secret());
            }
            @if let Some(id) = wish.installation_id {
                input type="hidden" name="installation_id" value=(id);
            }
            input type="hidden" name="check" value=(check);
            button type="submit" { "Continue to " (name) }
        }
        p.quiet-text { "You go on at " (host) ", and come back here afterwards. This page is good for a minute." }
    }
}

/// What the session of the page of data sources lets its browser connect.
async fn wish_of_session(
    integrations: &Integrations,
    cookies: &Cookies,
    request: &HttpRequest,
    platform: Platform,
    installation_id: Option<&str>,
) -> Result<Option<Wish>, ApiError> {
    let Some(session) = cookies.page(request) else { return Ok(None) };
    let Some(holder) = ticket::find_session(integrations, &session).await? else { return Ok(None) };
    Ok(Some(Wish {
        holder,
        platform,
        installation_id: parse_id(installation_id)?,
        return_to: return_to(integrations, Some("/oauth/data-sources"))?,
        chat_session_id: None,
        correlation_id: None,
    }))
}

/// What the form's secret is made for: this platform, and this ticket if there is one.
fn purpose(platform: Platform, ticket: Option<&SecretString>) -> String {
    format!("install {platform} {}", ticket.map(opaque::digest).unwrap_or_default())
}

fn parse_id(text: Option<&str>) -> Result<Option<Uuid>, ApiError> {
    text.map(Uuid::parse_str)
        .transpose()
        .map_err(|_| ApiError::Validation("installation_id is not a UUID".into()))
}
