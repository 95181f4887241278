//! Where providers send browsers back to. The answer is always a redirect, so that code and state leave the address bar.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use secrecy::{ExposeSecret, SecretString};
use tracing::Instrument;

use super::{
    browser::Cookies,
    limit::Limits,
    page::{
        PageError,
        result::{ACKNOWLEDGED, LINK_EXPIRED},
    },
    request::{Parameters, circumstances},
};
use crate::{
    domain::{
        Integrations,
        callback::{self, CallbackError, Next, Return},
        opaque,
    },
    error::ApiError,
};

/// Longer numbers are none of GitHub's.
const MAX_NUMBER_DIGITS: usize = 20;

impl From<CallbackError> for ApiError {
    fn from(error: CallbackError) -> Self {
        match error {
            CallbackError::Begin(error) => error.into(),
            CallbackError::Store(error) => error.into(),
            CallbackError::Credential(error) => error.into(),
        }
    }
}

/// Takes the browser back from the provider.
#[utoipa::path(
    get, path = "/oauth/callback/{platform}", tag = "pages",
    params(
        ("platform" = String, Path, description = "github, jira, slack"),
        ("code" = Option<String>, Query), ("state" = Option<String>, Query), ("error" = Option<String>, Query),
        ("installation_id" = Option<String>, Query, description = "GitHub"),
        ("setup_action" = Option<String>, Query, description = "GitHub"),
    ),
    responses(
        (status = 303, description = "To the result, or to the provider once more"),
        (status = 429, description = "Too many requests", content_type = "text/html"),
        (status = 503, description = "The database is not available", content_type = "text/html"),
    )
)]
pub(super) async fn receive_callback(
    integrations: Data<Integrations>,
    cookies: Data<Cookies>,
    limits: Data<Limits>,
    request: HttpRequest,
) -> Result<HttpResponse, PageError> {
    limits.browser(&request)?;
    // The redirect URI names the platform and not an alias of it: anything else is no address of ours.
    let platform = request.match_info().get("platform").unwrap_or_default();
    let platform =
        platform.parse().ok().filter(|known: &crate::domain::provider::Platform| known.as_str() == platform);
    let (Some(platform), Some(back)) = (platform, read(&cookies, &request)) else {
        return Ok(to_result(LINK_EXPIRED));
    };
    let circumstances = circumstances(&request);
    // A browser that hangs up does not stop it half-way: a code is used once, and what it brought has to be kept.
    let flying = integrations.clone();
    let work = async move { callback::receive(&flying, platform, back, &circumstances).await };
    let next =
        integrations.flights.complete(work.in_current_span()).await.map_err(|_| ApiError::Internal)??;
    Ok(match next {
        Next::Result(secret) => to_result(secret.expose_secret()),
        Next::Provider(url) => see_other(url.as_str()),
        Next::LinkExpired => to_result(LINK_EXPIRED),
        Next::Acknowledged => to_result(ACKNOWLEDGED),
    })
}

/// What came back; none where it is repeated, too long, or of another form.
fn read(cookies: &Cookies, request: &HttpRequest) -> Option<Return> {
    let parameters = Parameters::of_query(request).ok()?;
    let text = |name: &str| parameters.get(name).map(str::to_owned);
    let installation_id = text("installation_id");
    let is_number =
        |text: &String| text.len() <= MAX_NUMBER_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    if !installation_id.as_ref().is_none_or(is_number) {
        return None;
    }
    let state = match parameters.get("state") {
        Some(text) => Some(opaque::parse(text)?),
        None => None,
    };
    Some(Return {
        state,
        code: parameters.get("code").map(SecretString::from),
        error: text("error"),
        error_description: text("error_description"),
        iss: text("iss"),
        installation_id,
        setup_action: text("setup_action"),
        browser: cookies.flow(request),
    })
}

fn to_result(name: &str) -> HttpResponse {
    see_other(&format!("/oauth/results/{name}"))
}

fn see_other(address: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, address))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish()
}
