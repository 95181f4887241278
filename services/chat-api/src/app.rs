//! The service put together: what the handlers share, the two listeners, the background jobs, and stopping in order.

use std::{
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_cors::Cors;
use actix_web::{
    App as ActixApp, Error, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    http::{ConnectionType, header},
    middleware::{Next, from_fn},
    web,
};
use common_auth::{
    AuthMetrics, Authenticator, ServiceTokenManager, ServiceTokenSettings, Verifier, VerifierSettings,
    introspection::Introspector,
    keys::{HttpJwksSource, JwksManager, JwksSettings, http_client},
    problem,
    revocation::{HttpRevocationSource, RevocationWatcher},
};
use mongodb::error::ErrorKind;
use prometheus::Registry;
use reqwest::Url;
use secrecy::ExposeSecret;
use tokio_util::task::TaskTracker;
use tracing_actix_web::TracingLogger;

use crate::{
    clients::auth_api::AuthApi,
    config::{self, Config, Origins},
    domain::{
        group::{Directory, DirectoryMetrics, DirectorySettings, Groups, Heads},
        message::{MessageReader, MessageWriter, WriterMetrics, WriterSettings},
    },
    jobs::{Jobs, watch_database::DatabaseHealth},
    routes,
    store::{Store, StoreSettings},
    telemetry::{self, HttpMetrics, RequestSpan},
};

/// The scopes that this service asks for: groups, revocations, and tokens where it does not check them itself.
const SCOPES: [&str; 3] = ["groups:read", "revocations:read", "tokens:introspect"];

/// The longest that storing heads may delay the end; they are hints.
const LAST_SAVE_LIMIT: Duration = Duration::from_secs(2);

/// What the handlers share.
pub struct AppState {
    pub groups: Arc<Groups>,
    pub directory: Arc<Directory>,
    pub writer: MessageWriter,
    pub reader: MessageReader,
    pub database: Arc<DatabaseHealth>,
    pub registry: Registry,
    /// The contract as this deployment serves it.
    pub contract: String,
    is_draining: AtomicBool,
}

/// The service, its ports open, not serving yet.
pub struct App {
    main: Server,
    admin: Server,
    port: u16,
    admin_port: u16,
    state: web::Data<AppState>,
    authenticator: web::Data<Authenticator>,
    store: Store,
    heads: Arc<Heads>,
    connections: TaskTracker,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("MONGODB_URI cannot be used: {0}")]
    Store(String),
    #[error("an address of auth-api cannot be used: {0}")]
    Address(#[from] url::ParseError),
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("{host}:{port} cannot be listened on: {error}")]
    Listen { host: std::net::IpAddr, port: u16, error: io::Error },
}

impl From<mongodb::error::Error> for BuildError {
    /// Keeps the driver's words only where they cannot quote the password, which a string that cannot be read may well hold.
    fn from(error: mongodb::error::Error) -> Self {
        Self::Store(match *error.kind {
            ErrorKind::DnsResolve { ref message, .. } => message.clone(),
            _ => "it is no connection string, or a part of it is not percent-encoded".to_owned(),
        })
    }
}

impl AppState {
    /// Whether the service was told to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

impl App {
    /// Puts everything together and opens the ports. No peer has to be up for it.
    ///
    /// # Errors
    /// [`BuildError`]
    pub async fn build(config: &Config) -> Result<Self, BuildError> {
        let registry = Registry::new();
        let http_metrics = web::Data::new(HttpMetrics::register(&registry)?);
        let background = http_client(config::CONNECT_LIMIT, config::BACKGROUND_CALL_LIMIT)?;
        // The same limits as the requests that may wait for a token.
        let quick = http_client(config::CONNECT_LIMIT, config::INTROSPECTION_LIMIT)?;
        let tokens = ServiceTokenManager::new(
            ServiceTokenSettings {
                token_url: config.auth_api("/oauth/token"),
                client_id: config.client_id.clone(),
                client_secret: config.client_secret.clone(),
                scopes: SCOPES.map(str::to_owned).to_vec(),
            },
            if config.use_oauth2_auth { background.clone() } else { quick.clone() },
        );
        let authenticator = web::Data::new(authenticator(config, &registry, &tokens, &background, quick)?);
        let directory = Arc::new(Directory::new(
            AuthApi::new(
                background,
                // With connections of its own: a lost one that others left behind would cost it seconds.
                http_client(config::CONNECT_LIMIT, config::BACKGROUND_CALL_LIMIT)?,
                Url::parse(&config.auth_api(""))?,
                tokens,
                config::BACKGROUND_CALL_LIMIT,
            ),
            directory_settings(config),
            DirectoryMetrics::register(&registry)?,
        ));
        let store = Store::connect(&store_settings(config)).await?;
        let heads = Arc::new(Heads::new(store.clone()));
        let limit = config::STORE_LIMIT;
        let groups = Arc::new(Groups::new(Arc::clone(&directory), store.clone(), Arc::clone(&heads), limit));
        let state = web::Data::new(AppState {
            writer: MessageWriter::new(
                Arc::clone(&groups),
                store.clone(),
                Arc::clone(&heads),
                WriterSettings::new(limit),
                WriterMetrics::register(&registry)?,
            ),
            reader: MessageReader::new(Arc::clone(&groups), store.clone(), Arc::clone(&heads), limit),
            groups,
            directory,
            database: Arc::default(),
            registry,
            contract: routes::contract::render(config.public_url.as_ref().map(Url::as_str)),
            is_draining: AtomicBool::new(false),
        });
        let (main_listener, port) = listen(config.host, config.port)?;
        let (admin_listener, admin_port) = listen(config.admin_host, config.admin_port)?;
        let connections = TaskTracker::new();
        let main = serve_main(main_listener, config, &state, &authenticator, http_metrics, &connections)?;
        let admin = serve_admin(admin_listener, &state, &authenticator)?;
        Ok(Self { main, admin, port, admin_port, state, authenticator, store, heads, connections })
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

    /// Serves until `stop` resolves, then lets open requests end and stores what is left to store.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let tokens = self.authenticator.start();
        let jobs = Jobs::start(&self.state.directory, &self.heads, &self.store, &self.state.database);
        let (main_handle, admin_handle) = (self.main.handle(), self.admin.handle());
        let admin = tokio::spawn(self.admin);
        let mut main = tokio::spawn(self.main);
        tracing::info!(port = self.port, admin_port = self.admin_port, "serving");

        let outcome = tokio::select! {
            outcome = &mut main => outcome,
            () = stop => {
                tracing::info!("draining");
                self.state.is_draining.store(true, Ordering::Relaxed);
                lead_callers_elsewhere(&self.connections).await;
                main_handle.stop(true).await;
                main.await
            }
        };
        drop(tokens);
        jobs.stop().await;
        match tokio::time::timeout(LAST_SAVE_LIMIT, self.heads.save_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last heads were not stored"),
            Err(_elapsed) => tracing::warn!("the last heads were not stored in time"),
        }
        admin_handle.stop(false).await;
        // The admin listener has nothing to say about how the service ended.
        let _ = admin.await;
        tracing::info!("stopped");
        outcome.map_err(io::Error::other)?
    }
}

/// Until every caller with an open connection was told to connect anew, or had the time for a request that would have told it.
async fn lead_callers_elsewhere(connections: &TaskTracker) {
    connections.close();
    let _ = tokio::time::timeout(config::LAME_DUCK, connections.wait()).await;
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

fn serve_main(
    listener: TcpListener,
    config: &Config,
    state: &web::Data<AppState>,
    authenticator: &web::Data<Authenticator>,
    http_metrics: web::Data<HttpMetrics>,
    connections: &TaskTracker,
) -> Result<Server, BuildError> {
    let (host, port) = (config.host, config.port);
    let origins = config.allowed_origins.clone();
    let (state, authenticator, connections) = (state.clone(), authenticator.clone(), connections.clone());
    let server = HttpServer::new(move || {
        ActixApp::new()
            .app_data(state.clone())
            .app_data(authenticator.clone())
            .app_data(http_metrics.clone())
            .wrap(cors(&origins))
            .wrap(from_fn(close_while_draining))
            .wrap(from_fn(telemetry::measure))
            .wrap(TracingLogger::<RequestSpan>::new())
            .wrap(from_fn(problem::request_id))
            .configure(routes::configure)
    })
    // What an answer writes last would wait for the peer's delayed acknowledgement.
    .tcp_nodelay(true)
    .disable_signals()
    .on_connect(move |_, connection| {
        connection.insert(connections.token());
    })
    .keep_alive(config::KEEP_ALIVE)
    .shutdown_timeout(config::DRAIN_LIMIT.as_secs())
    .listen(listener)
    .map_err(|error| BuildError::Listen { host, port, error })?;
    Ok(server.run())
}

fn serve_admin(
    listener: TcpListener,
    state: &web::Data<AppState>,
    authenticator: &web::Data<Authenticator>,
) -> Result<Server, BuildError> {
    let (state, authenticator) = (state.clone(), authenticator.clone());
    let address = listener.local_addr();
    let server = HttpServer::new(move || {
        ActixApp::new()
            .app_data(state.clone())
            .app_data(authenticator.clone())
            .configure(routes::configure_admin)
    })
    .workers(1)
    .disable_signals()
    .listen(listener)
    .map_err(|error| match address {
        Ok(address) => BuildError::Listen { host: address.ip(), port: address.port(), error },
        Err(error) => BuildError::Listen { host: std::net::Ipv4Addr::UNSPECIFIED.into(), port: 0, error },
    })?;
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

fn cors(origins: &Origins) -> Cors {
    origins
        .0
        .iter()
        .fold(Cors::default(), |cors, origin| cors.allowed_origin(origin))
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE, problem::REQUEST_ID_HEADER])
        .expose_headers([problem::REQUEST_ID_HEADER, header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(3600)
}

fn authenticator(
    config: &Config,
    registry: &Registry,
    tokens: &Arc<ServiceTokenManager>,
    background: &reqwest::Client,
    quick: reqwest::Client,
) -> Result<Authenticator, BuildError> {
    let metrics = AuthMetrics::register(registry)?;
    if !config.use_oauth2_auth {
        let url = Url::parse(&config.auth_api("/oauth/introspect"))?;
        let introspector = Introspector::new(
            quick,
            url,
            &config.jwt_audience,
            Arc::clone(tokens),
            config::INTROSPECTION_LIMIT,
            Arc::clone(&metrics),
        );
        return Ok(Authenticator::introspection(introspector));
    }
    let keys = Arc::new(JwksManager::new(
        HttpJwksSource::new(background.clone(), Url::parse(&config.jwks_url())?),
        JwksSettings { refresh: config.jwks_refresh, ..JwksSettings::default() },
        Arc::clone(&metrics),
    ));
    let feed = HttpRevocationSource::new(
        http_client(config::CONNECT_LIMIT, config::BACKGROUND_CALL_LIMIT)?,
        Url::parse(&config.auth_api("/oauth/revocations"))?,
        Arc::clone(tokens),
    );
    let revocations = Arc::new(RevocationWatcher::new(feed, Arc::clone(&metrics)));
    let settings = VerifierSettings::new(&config.auth_api_issuer, &config.jwt_audience);
    let verifier = Verifier::new(settings, keys, revocations, Arc::clone(&metrics));
    Ok(Authenticator::local(Arc::new(verifier)))
}

fn directory_settings(config: &Config) -> DirectorySettings {
    DirectorySettings {
        max_stale: config.directory_max_stale,
        max_orgs: usize::try_from(config.directory_max_orgs).unwrap_or(usize::MAX),
        loads_per_caller: 60,
        wait: config::DIRECTORY_WAIT_LIMIT,
        poll: config::DIRECTORY_POLL_WAIT,
    }
}

fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        uri: config.mongodb_uri.expose_secret().to_owned(),
        database: config.mongodb_database.clone(),
        connect: config::CONNECT_LIMIT,
        server_selection: config::SERVER_SELECTION_LIMIT,
        operation: config::OPERATION_LIMIT,
    }
}
