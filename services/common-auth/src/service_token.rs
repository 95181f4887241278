//! This service's own access token, by the client-credentials grant (RFC 6749, section 4.4).

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use oauth2::{
    ClientId, ClientSecret, EmptyExtraTokenFields, HttpRequest, HttpResponse, Scope, StandardTokenResponse,
    TokenResponse, TokenUrl, basic::BasicClient, basic::BasicTokenType, http,
};
use secrecy::{ExposeSecret, SecretString};

use crate::keys::{SourceError, read_body};

/// A token that ends sooner than this is not handed out any more.
const LAST_CALL: Duration = Duration::from_secs(5);
/// A token is renewed in the background once this part of its life is left.
const RENEW_AT_REMAINING: f64 = 0.2;
/// Where auth-api names no lifetime.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);
/// A longer lifetime counts as this.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// After a failure nobody asks again for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(250);
/// A peer that refuses whatever token it is shown must not have one fetched for each request.
const PAUSE_BETWEEN_REFUSALS: Duration = Duration::from_secs(1);
/// After a failed renewal, while the old token is still good.
const PAUSE_AFTER_FAILED_RENEWAL: Duration = Duration::from_secs(1);
/// A token with its envelope is far smaller.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

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
    /// The last failure, shared by all who waited for that fetch.
    failed: RwLock<Option<(Instant, ServiceTokenError)>>,
    /// When a token was last forgotten because a peer refused it.
    refused: Mutex<Option<Instant>>,
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
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
            failed: RwLock::default(),
            refused: Mutex::default(),
            one_at_a_time: Arc::default(),
        })
    }

    /// A token that is good for some seconds at least.
    ///
    /// # Errors
    /// [`ServiceTokenError`], where none is left and none can be had.
    pub async fn token(self: &Arc<Self>) -> Result<SecretString, ServiceTokenError> {
        self.token_at(Instant::now()).await
    }

    /// A token that is good for some seconds at least, as of `now`.
    ///
    /// # Errors
    /// As [`ServiceTokenManager::token`].
    pub async fn token_at(self: &Arc<Self>, now: Instant) -> Result<SecretString, ServiceTokenError> {
        if let Some(current) = self.usable(now) {
            if now >= current.renew_at {
                self.renew_in_background(now);
            }
            return Ok(current.token);
        }
        let turn = Arc::clone(&self.one_at_a_time).lock_owned().await;
        if let Some(current) = self.usable(now) {
            return Ok(current.token);
        }
        // Callers that queued behind a fetch that failed share its outcome: one after the other they would wait without end.
        if let Some(error) = self.failure_since(now) {
            return Err(error);
        }
        // A task of its own: the caller may hang up, the fetch goes on for the others.
        let manager = Arc::clone(self);
        let fetching = tokio::spawn(async move {
            let _turn = turn;
            manager.fetch(now).await
        });
        fetching.await.unwrap_or_else(|error| Err(ServiceTokenError::Unavailable(error.to_string())))
    }

    /// Forgets a token that a peer refused, so that the next caller gets a new one; once a second at most.
    pub async fn invalidate(&self, refused: &SecretString) {
        let _turn = self.one_at_a_time.lock().await;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|current| current.token.expose_secret() != refused.expose_secret()) {
            return;
        }
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PAUSE_BETWEEN_REFUSALS) {
            *last = Some(Instant::now());
            *current = None;
        }
    }

    fn usable(&self, now: Instant) -> Option<Current> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|current| now + LAST_CALL < current.ends_at).cloned()
    }

    /// The failure of a fetch that ended after `asked_at`, or so shortly before that another would be no use.
    fn failure_since(&self, asked_at: Instant) -> Option<ServiceTokenError> {
        let failed = self.failed.read().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| *at + PAUSE_AFTER_FAILURE > asked_at).map(|(_, error)| error.clone())
    }

    /// One task renews; the callers go on with the token that is still good.
    fn renew_in_background(self: &Arc<Self>, now: Instant) {
        let Ok(turn) = Arc::clone(&self.one_at_a_time).try_lock_owned() else { return };
        let manager = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = turn;
            let still_due = manager.usable(now).is_none_or(|current| now >= current.renew_at);
            if still_due && let Err(error) = manager.fetch(now).await {
                tracing::warn!(%error, "renewing the service token failed");
                let mut current = manager.current.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(current) = current.as_mut() {
                    current.renew_at = now + PAUSE_AFTER_FAILED_RENEWAL;
                }
            }
        });
    }

    async fn fetch(&self, asked_at: Instant) -> Result<SecretString, ServiceTokenError> {
        let answer = match self.request().await {
            Ok(answer) => answer,
            Err(error) => {
                *self.failed.write().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), error.clone()));
                return Err(error);
            }
        };
        let lifetime = answer.expires_in().unwrap_or(DEFAULT_LIFETIME).min(LONGEST_LIFETIME);
        let token = SecretString::from(answer.access_token().secret().clone());
        *self.failed.write().unwrap_or_else(PoisonError::into_inner) = None;
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
    #[error("{0}")]
    Read(#[from] SourceError),
    #[error("status {0}")]
    Status(u16),
}

/// Carries a request of the `oauth2` crate over our HTTP client.
async fn send(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, SendError> {
    let request = reqwest::Request::try_from(request)?;
    let answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let status = answer.status();
    // Not a word about this client, whatever the body says.
    if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
        return Err(SendError::Status(status.as_u16()));
    }
    let mut response = http::Response::builder().status(status);
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let body = read_body(answer, MAX_ANSWER_BYTES).await?;
    Ok(response.body(body)?)
}
