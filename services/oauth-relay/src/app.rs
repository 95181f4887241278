//! The service put together: what the handlers share, the listeners, and stopping in order.

use std::{
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{
    App as ActixApp, Error, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    http::ConnectionType,
    middleware::{Next, from_fn},
    web,
};
use common_auth::{
    AuthMetrics, Authenticator, ServiceTokenManager, ServiceTokenSettings, Verifier, VerifierSettings,
    keys::{HttpJwksSource, JwksManager, JwksSettings, http_client},
    problem,
    revocation::{HttpRevocationSource, RevocationWatcher},
};
use prometheus::Registry;
use reqwest::Url;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_actix_web::TracingLogger;

use crate::{
    config::{self, AuthApi, Config},
    domain::{
        callback::CodeKeys,
        waiter::{WaiterMetrics, WaiterSettings, Waiters},
    },
    routes::{
        self, Offer,
        socket::{BindError, Coordinator, Endpoint, SPARE_CONNECTIONS},
    },
    telemetry::{self, HttpMetrics, RequestSpan},
};

/// The scope that this service asks for.
const SCOPE: &str = "revocations:read";

/// Files that are kept for what is no waiter: browsers, listeners, logs.
const SPARE_FILES: u64 = 1024;

/// How often stopping looks whether the last callbacks have been handled.
const LAST_CALLBACKS_PAUSE: Duration = Duration::from_millis(10);

/// What the handlers share.
pub struct AppState {
    pub waiters: Arc<Waiters>,
    pub code_keys: CodeKeys,
    pub registry: Registry,
    /// The contract as this deployment serves it.
    pub contract: String,
    is_draining: AtomicBool,
}

/// The service, its ports and its socket open, not serving yet.
pub struct App {
    main: Server,
    admin: Server,
    port: u16,
    admin_port: u16,
    coordinator: Option<Coordinator>,
    state: web::Data<AppState>,
    authenticator: Option<web::Data<Authenticator>>,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Socket(#[from] BindError),
    #[error("an address of auth-api cannot be used: {0}")]
    Address(#[from] url::ParseError),
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("{host}:{port} cannot be listened on: {error}")]
    Listen { host: std::net::IpAddr, port: u16, error: io::Error },
}

impl AppState {
    /// Whether the service was told to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

impl App {
    /// Puts everything together and opens the ports and the socket. No peer has to be up for it.
    ///
    /// # Errors
    /// [`BuildError`]
    #[expect(clippy::unused_async, reason = "services are built alike, and the socket needs the runtime")]
    pub async fn build(config: &Config) -> Result<Self, BuildError> {
        let registry = Registry::new();
        let http_metrics = web::Data::new(HttpMetrics::register(&registry)?);
        let auth_api = config.auth_api().filter(|_| config.oauth_enabled);
        let authenticator = match &auth_api {
            Some(auth_api) => Some(web::Data::new(authenticator(config, auth_api, &registry)?)),
            None => None,
        };
        let capacity = capacity(config);
        let waiters =
            Arc::new(Waiters::new(waiter_settings(config, capacity), WaiterMetrics::register(&registry)?));
        let (main_listener, port) = listen(config.host, config.port)?;
        let (admin_listener, admin_port) = listen(config.admin_host, config.admin_port)?;
        let coordinator = if config.oauth_enabled {
            tracing::info!("OAuth relay enabled");
            Some(Coordinator::bind(endpoint(config), Arc::clone(&waiters), capacity)?)
        } else {
            None
        };
        let state = web::Data::new(AppState {
            waiters,
            code_keys: config.oauth_code_keys.clone(),
            registry,
            contract: routes::contract::render(
                config.public_url.as_ref().map(Url::as_str),
                &config.oauth_callback_path,
            ),
            is_draining: AtomicBool::new(false),
        });
        let main = serve_main(main_listener, config, &state, authenticator.as_ref(), http_metrics)?;
        let admin = serve_admin(admin_listener, config, &state)?;
        Ok(Self { main, admin, port, admin_port, coordinator, state, authenticator })
    }

    /// The port of the main listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the admin listener.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// The port where programs wait, if they wait over TCP.
    #[must_use]
    pub fn tcp_port(&self) -> Option<u16> {
        self.coordinator.as_ref().and_then(Coordinator::tcp_port)
    }

    /// Serves until `stop` resolves, then lets callbacks that are under way find their waiters, and sends the other waiters away.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let tokens = self.authenticator.as_ref().map(|authenticator| authenticator.start());
        let tcp_port = self.tcp_port();
        let coordinator = self.coordinator.map(|coordinator| tokio::spawn(coordinator.serve()));
        let (main_handle, admin_handle) = (self.main.handle(), self.admin.handle());
        let admin = tokio::spawn(self.admin);
        let mut main = tokio::spawn(self.main);
        tracing::info!(port = self.port, admin_port = self.admin_port, tcp_port, "serving");

        let outcome = tokio::select! {
            outcome = &mut main => outcome,
            () = stop => {
                tracing::info!("draining");
                self.state.is_draining.store(true, Ordering::Relaxed);
                self.state.waiters.close();
                // Stops listening at once, since there is no other replica to lead callers to, and the next one starts when this one has
                // ended. Requests go on, and polls among them until their waiters are sent away.
                let stopped = main_handle.stop(true);
                last_callbacks(&self.state.waiters).await;
                self.state.waiters.dismiss_all();
                stopped.await;
                main.await
            }
        };
        self.state.waiters.dismiss_all();
        if let Some(coordinator) = coordinator {
            coordinator.abort();
            // Ended by the line above; its file goes with it.
            let _ = coordinator.await;
        }
        drop(tokens);
        admin_handle.stop(false).await;
        // The admin listener has nothing to say about how the service ended.
        let _ = admin.await;
        tracing::info!("stopped");
        outcome.map_err(io::Error::other)?
    }
}

/// Middleware: while draining, every response asks the caller to connect anew, which leads it elsewhere.
async fn close_while_draining<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    if state.is_draining() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Until no callback is being handled any more.
async fn last_callbacks(waiters: &Waiters) {
    let handled = async {
        while waiters.open_callbacks() > 0 {
            tokio::time::sleep(LAST_CALLBACKS_PAUSE).await;
        }
    };
    if tokio::time::timeout(config::LAST_CALLBACKS_LIMIT, handled).await.is_err() {
        tracing::warn!("callbacks took too long; their waiters are sent away");
    }
}

fn serve_main(
    listener: TcpListener,
    config: &Config,
    state: &web::Data<AppState>,
    authenticator: Option<&web::Data<Authenticator>>,
    http_metrics: web::Data<HttpMetrics>,
) -> Result<Server, BuildError> {
    let (host, port) = (config.host, config.port);
    let (state, authenticator) = (state.clone(), authenticator.cloned());
    let offer = Offer {
        callback_path: config.oauth_enabled.then(|| config.oauth_callback_path.clone()),
        has_wait: authenticator.is_some(),
    };
    let server = HttpServer::new(move || {
        let app = ActixApp::new().app_data(state.clone()).app_data(http_metrics.clone());
        let app = match &authenticator {
            Some(authenticator) => app.app_data(authenticator.clone()),
            None => app,
        };
        let offer = offer.clone();
        app.wrap(from_fn(close_while_draining))
            .wrap(from_fn(telemetry::measure))
            .wrap(TracingLogger::<RequestSpan>::new())
            .wrap(from_fn(problem::request_id))
            .configure(move |app| routes::configure(app, &offer))
    })
    // Who hangs up waits no more, and is not handed a code.
    .h1_allow_half_closed(false)
    // What an answer writes last would wait for the peer's delayed acknowledgement.
    .tcp_nodelay(true)
    .disable_signals()
    .keep_alive(config::KEEP_ALIVE)
    .shutdown_timeout(config::DRAIN_LIMIT.as_secs())
    .listen(listener)
    .map_err(|error| BuildError::Listen { host, port, error })?;
    Ok(server.run())
}

fn serve_admin(
    listener: TcpListener,
    config: &Config,
    state: &web::Data<AppState>,
) -> Result<Server, BuildError> {
    let (host, port) = (config.admin_host, config.admin_port);
    let state = state.clone();
    let server =
        HttpServer::new(move || ActixApp::new().app_data(state.clone()).configure(routes::configure_admin))
            .workers(1)
            .disable_signals()
            .listen(listener)
            .map_err(|error| BuildError::Listen { host, port, error })?;
    Ok(server.run())
}

fn listen(host: std::net::IpAddr, port: u16) -> Result<(TcpListener, u16), BuildError> {
    let open = || {
        let listener = TcpListener::bind((host, port))?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    open().map_err(|error| BuildError::Listen { host, port, error })
}

fn endpoint(config: &Config) -> Endpoint {
    if config.uses_tcp() {
        return Endpoint::Tcp {
            host: config.oauth_tcp_bind_address,
            port: config.oauth_tcp_fallback_port,
            secret: config.oauth_tcp_secret.clone(),
        };
    }
    Endpoint::Unix {
        path: config.oauth_socket_path.clone(),
        allowed_uids: config.oauth_allowed_uids.0.clone(),
    }
}

fn waiter_settings(config: &Config, capacity: usize) -> WaiterSettings {
    WaiterSettings {
        capacity,
        duplicate: config.oauth_duplicate,
        allow_stateless: config.oauth_allow_stateless,
        strict_state: config.oauth_strict_state,
        hold: config.oauth_hold_seconds,
        log_unmatched: config.oauth_log_unmatched,
        default_timeout: config.oauth_default_timeout,
        max_timeout: config.oauth_max_timeout,
    }
}

/// How many waiters there may be: as many as configured, if the process may have so many files open.
fn capacity(config: &Config) -> usize {
    let wanted = u64::from(config.oauth_max_waiters);
    let spare = SPARE_FILES + SPARE_CONNECTIONS as u64;
    let possible = file_limit().map_or(wanted, |limit| limit.saturating_sub(spare).max(limit / 2));
    if config.oauth_enabled && possible < wanted {
        tracing::warn!(
            possible,
            wanted,
            "OAUTH_MAX_WAITERS is more than the limit of open files allows; raise the limit or lower it"
        );
    }
    usize::try_from(wanted.min(possible)).unwrap_or(usize::MAX)
}

/// The limit of open files, raised as far as it may be; none where there is none.
fn file_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

fn authenticator(
    config: &Config,
    auth_api: &AuthApi,
    registry: &Registry,
) -> Result<Authenticator, BuildError> {
    let metrics = AuthMetrics::register(registry)?;
    let background = http_client(config::CONNECT_LIMIT, config::BACKGROUND_CALL_LIMIT)?;
    let tokens = ServiceTokenManager::new(
        ServiceTokenSettings {
            token_url: auth_api.token_url.clone(),
            client_id: config.client_id.clone(),
            client_secret: auth_api.client_secret.clone(),
            scopes: vec![SCOPE.to_owned()],
        },
        background.clone(),
    );
    let keys = Arc::new(JwksManager::new(
        HttpJwksSource::new(background, Url::parse(&auth_api.jwks_url)?),
        JwksSettings { refresh: config.jwks_refresh, ..JwksSettings::default() },
        Arc::clone(&metrics),
    ));
    let feed = HttpRevocationSource::new(
        http_client(config::CONNECT_LIMIT, config::BACKGROUND_CALL_LIMIT)?,
        Url::parse(&auth_api.revocations_url)?,
        tokens,
    );
    let revocations = Arc::new(RevocationWatcher::new(feed, Arc::clone(&metrics)));
    let settings = VerifierSettings::new(&auth_api.issuer, &config.jwt_audience);
    let verifier = Verifier::new(settings, keys, revocations, metrics);
    Ok(Authenticator::local(Arc::new(verifier)))
}
