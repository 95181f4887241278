//! This service's own access token, by the client-credentials grant (RFC 6749, section 4.4).

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use oauth2::{
    AuthUrl, ClientId, ClientSecret, EmptyExtraTokenFields, HttpRequest, HttpResponse, Scope,
    StandardTokenResponse, TokenResponse, TokenUrl, basic::BasicClient, basic::BasicTokenType, http,
};
use secrecy::{ExposeSecret, SecretString};

/// A token that ends sooner than this is not handed out any more.
const LAST_CALL: Duration = Duration::from_secs(5);
/// A token is renewed in the background once this part of its life is left.
const RENEW_AT_REMAINING: f64 = 0.2;
/// Where auth-api names no lifetime.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);

/// Which token to ask for, and as whom.
#[derive(Clone)]
pub struct ServiceTokenSettings {
    pub token_url: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// None: all that are registered for the client.
    pub scopes: Vec<String>,
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceTokenError {
    /// auth-api was not reached, or had no answer.
    #[error("auth-api cannot be reached: {0}")]
    Unavailable(String),
    /// auth-api refused, with the `error` code of RFC 6749, section 5.2.
    #[error("auth-api refused the client: {0}")]
    Refused(String),
}

/// Hands out this service's token: fetched once for all callers, renewed early, kept as long as it is good.
pub struct ServiceTokenManager {
    settings: ServiceTokenSettings,
    client: reqwest::Client,
    current: RwLock<Option<Current>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Current {
    token: SecretString,
    renew_at: Instant,
    ends_at: Instant,
}

impl ServiceTokenManager {
    /// A manager without a token yet; the limits of `client` bound each fetch.
    pub fn new(settings: ServiceTokenSettings, client: reqwest::Client) -> Arc<Self> {
        Arc::new(Self {
            settings,
            client,
            current: RwLock::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
        })
    }

    /// A token that is good for some seconds at least.
    ///
    /// # Errors
    /// [`ServiceTokenError`], where none is left and none can be had.
    pub async fn token(self: &Arc<Self>) -> Result<SecretString, ServiceTokenError> {
        let now = Instant::now();
        if let Some(current) = self.usable(now) {
            if now >= current.renew_at {
                self.renew_in_background();
            }
            return Ok(current.token);
        }
        let _turn = self.one_at_a_time.lock().await;
        if let Some(current) = self.usable(Instant::now()) {
            return Ok(current.token);
        }
        self.fetch().await
    }

    /// Forgets a token that a peer refused, so that the next caller gets a new one.
    pub async fn invalidate(&self, refused: &SecretString) {
        let _turn = self.one_at_a_time.lock().await;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.token.expose_secret() == refused.expose_secret()) {
            *current = None;
        }
    }

    fn usable(&self, now: Instant) -> Option<Current> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|current| now + LAST_CALL < current.ends_at).cloned()
    }

    /// One task renews; the callers go on with the token that is still good.
    fn renew_in_background(self: &Arc<Self>) {
        let manager = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(_turn) = manager.one_at_a_time.try_lock() else { return };
            let still_due = manager.usable(Instant::now()).is_none_or(|it| Instant::now() >= it.renew_at);
            if still_due && let Err(error) = manager.fetch().await {
                tracing::warn!(%error, "renewing the service token failed");
            }
        });
    }

    async fn fetch(&self) -> Result<SecretString, ServiceTokenError> {
        let asked_at = Instant::now();
        let answer = self.request().await?;
        let lifetime = answer.expires_in().unwrap_or(DEFAULT_LIFETIME);
        let token = SecretString::from(answer.access_token().secret().clone());
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Current {
            token: token.clone(),
            renew_at: asked_at + lifetime.mul_f64(1.0 - RENEW_AT_REMAINING),
            ends_at: asked_at + lifetime,
        });
        Ok(token)
    }

    async fn request(
        &self,
    ) -> Result<StandardTokenResponse<EmptyExtraTokenFields, BasicTokenType>, ServiceTokenError> {
        let settings = &self.settings;
        let unusable = |error: url::ParseError| ServiceTokenError::Unavailable(error.to_string());
        let client = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.expose_secret().to_owned()))
            .set_auth_uri(AuthUrl::new(settings.token_url.clone()).map_err(unusable)?)
            .set_token_uri(TokenUrl::new(settings.token_url.clone()).map_err(unusable)?);
        let scopes = settings.scopes.iter().cloned().map(Scope::new);
        let http = |request: HttpRequest| send(self.client.clone(), request);
        client.exchange_client_credentials().add_scopes(scopes).request_async(&http).await.map_err(|error| {
            match error {
                oauth2::RequestTokenError::ServerResponse(refusal) => {
                    ServiceTokenError::Refused(refusal.error().to_string())
                }
                oauth2::RequestTokenError::Request(error) => {
                    ServiceTokenError::Unavailable(error.to_string())
                }
                oauth2::RequestTokenError::Parse(..) => {
                    ServiceTokenError::Unavailable("the answer is no token".to_owned())
                }
                oauth2::RequestTokenError::Other(error) => ServiceTokenError::Unavailable(error),
            }
        })
    }
}

/// Why a request of the grant failed.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("{0}")]
    Build(#[from] http::Error),
}

/// Carries a request of the `oauth2` crate over our HTTP client.
async fn send(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, SendError> {
    let request = reqwest::Request::try_from(request)?;
    let answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut response = http::Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let body = answer.bytes().await.map_err(reqwest::Error::without_url)?;
    Ok(response.body(body.to_vec())?)
}
