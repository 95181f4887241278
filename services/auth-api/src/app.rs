//! Builds the service out of its settings, runs it, and drains it when it is told to stop.

use std::{net::TcpListener, sync::Arc};

use actix_cors::Cors;
use actix_web::{
    App as ActixApp, Error, HttpServer,
    body::MessageBody,
    dev::{Server, ServerHandle, ServiceRequest, ServiceResponse},
    http::{ConnectionType, header},
    middleware::{Next, from_fn},
    web::{self, Data},
};
use common_auth::{
    AuthMetrics, Authenticator, Verifier, VerifierSettings,
    keys::{JwksManager, JwksSettings},
    problem::request_id,
    revocation::RevocationWatcher,
};
use prometheus::Registry;
use tokio_util::task::TaskTracker;
use tracing_actix_web::TracingLogger;

use crate::{
    config::{Config, DRAIN_LIMIT, KEEP_ALIVE, LAME_DUCK, Origins},
    domain::{
        Identity, SetupError, discovery,
        jwks::{Document, OwnKeys},
        key_rotation,
        network::TrustedProxies,
        revocation::OwnRevocations,
    },
    jobs::{Jobs, flush_client_usage},
    routes::{self, SessionCookie, health::Health},
    telemetry::{HttpMetrics, RequestSpan, measure},
};

/// The name under which this service accepts tokens.
const AUDIENCE: &str = "auth-api";

/// The service, its ports open, not yet answering.
pub struct App {
    main: TcpListener,
    admin: TcpListener,
    state: State,
}

/// What the handlers work with.
#[derive(Clone)]
struct State {
    identity: Arc<Identity>,
    authenticator: Data<Authenticator>,
    health: Arc<Health>,
    cookie: Data<SessionCookie>,
    metadata: Data<Document>,
    contract: Data<utoipa::openapi::OpenApi>,
    registry: Data<Registry>,
    http_metrics: Data<HttpMetrics>,
    origins: Origins,
    connections: TaskTracker,
    proxies: Data<TrustedProxies>,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{variable} {address} cannot be listened on: {error}")]
    Listen { variable: &'static str, address: String, error: std::io::Error },
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl App {
    /// Opens the ports. Nothing else is waited for: without a database the service starts and says so.
    pub fn build(config: &Config) -> Result<Self, BuildError> {
        let registry = Registry::new();
        let identity = Arc::new(Identity::new(config, &registry)?);
        let metrics = AuthMetrics::register(&registry)?;
        let keys = OwnKeys(Arc::clone(&identity.keys));
        let keys = Arc::new(JwksManager::new(keys, JwksSettings::default(), Arc::clone(&metrics)));
        let revocations = RevocationWatcher::new(OwnRevocations(Arc::clone(&identity)), Arc::clone(&metrics));
        let settings = VerifierSettings::new(&config.auth_api_issuer, AUDIENCE);
        let verifier = Verifier::new(settings, keys, Arc::new(revocations), Arc::clone(&metrics));
        let metadata = discovery::metadata(&config.auth_api_issuer, &config.public_url());
        let state = State {
            identity,
            authenticator: Data::new(Authenticator::local(Arc::new(verifier))),
            health: Arc::default(),
            cookie: Data::new(SessionCookie::new(config)),
            metadata: Data::new(Document::of_json(&metadata)),
            contract: Data::new(routes::contract::build()),
            http_metrics: Data::new(HttpMetrics::register(&registry)?),
            registry: Data::new(registry),
            origins: config.allowed_origins.clone(),
            connections: TaskTracker::new(),
            proxies: Data::new(config.trusted_proxies.clone()),
        };
        Ok(Self {
            main: listen("HOST and PORT", config.host, config.port)?,
            admin: listen("ADMIN_HOST and ADMIN_PORT", config.admin_host, config.admin_port)?,
            state,
        })
    }

    /// The port of the main listener.
    pub fn port(&self) -> u16 {
        self.main.local_addr().map_or(0, |address| address.port())
    }

    /// The port of the admin listener.
    pub fn admin_port(&self) -> u16 {
        self.admin.local_addr().map_or(0, |address| address.port())
    }

    /// What the use cases work with.
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.state.identity)
    }

    /// Serves until `stop` resolves, then drains.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        let (port, admin_port) = (self.port(), self.admin_port());
        let state = self.state;
        let admin = serve_admin(state.clone(), self.admin)?;
        let main = serve_main(state.clone(), self.main)?;
        let (admin_handle, main_handle) = (admin.handle(), main.handle());
        let admin = tokio::spawn(admin);
        let mut main = tokio::spawn(main);
        let jobs = Jobs::start(&state.identity, &state.health);
        let verifying = state.authenticator.start();
        tracing::info!(port, admin_port, "listening");

        let outcome = tokio::select! {
            () = stop => {
                drain(&state, &main_handle).await;
                main.await
            }
            // A listener ends by itself only if it failed.
            outcome = &mut main => outcome,
        };
        drop(verifying);
        jobs.stop().await;
        flush_client_usage::flush(&state.identity).await;
        key_rotation::leave(&state.identity).await;
        state.identity.db.close();
        admin_handle.stop(false).await;
        let _ = admin.await;
        tracing::info!("stopped");
        outcome.map_err(std::io::Error::other)?
    }
}

/// Leads callers elsewhere, lets open requests end, and sends home whoever waits for news.
async fn drain(state: &State, main: &ServerHandle) {
    tracing::info!("draining");
    state.health.drain();
    state.identity.feeds.close();
    lead_callers_elsewhere(&state.connections).await;
    main.stop(true).await;
}

/// Until every caller with an open connection was told to connect anew, or had the time for a request that would have told it.
async fn lead_callers_elsewhere(connections: &TaskTracker) {
    connections.close();
    let _ = tokio::time::timeout(LAME_DUCK, connections.wait()).await;
}

fn serve_main(state: State, listener: TcpListener) -> std::io::Result<Server> {
    let connections = state.connections.clone();
    let server = HttpServer::new(move || {
        ActixApp::new()
            .app_data(Data::from(Arc::clone(&state.identity)))
            .app_data(Data::from(Arc::clone(&state.health)))
            .app_data(state.authenticator.clone())
            .app_data(state.cookie.clone())
            .app_data(state.proxies.clone())
            .app_data(state.metadata.clone())
            .app_data(state.contract.clone())
            .app_data(state.http_metrics.clone())
            .configure(routes::configure)
            .wrap(cors(state.origins.clone()))
            .wrap(from_fn(measure))
            .wrap(TracingLogger::<RequestSpan>::new())
            .wrap(from_fn(request_id))
            .wrap(from_fn(close_while_draining))
    });
    let server = server
        .on_connect(move |_, connection| {
            connection.insert(connections.token());
        })
        .keep_alive(KEEP_ALIVE)
        // What an answer writes last would wait for the peer's delayed acknowledgement.
        .tcp_nodelay(true)
        .listen(listener)?;
    Ok(server.disable_signals().shutdown_timeout(DRAIN_LIMIT.as_secs()).run())
}

fn serve_admin(state: State, listener: TcpListener) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        ActixApp::new()
            .app_data(Data::from(Arc::clone(&state.health)))
            .app_data(state.authenticator.clone())
            .app_data(state.registry.clone())
            .configure(routes::configure_admin)
    });
    Ok(server.workers(1).listen(listener)?.disable_signals().run())
}

/// Middleware: while draining, every response asks the caller to connect anew, which leads it elsewhere.
async fn close_while_draining<B: MessageBody + 'static>(
    health: web::Data<Health>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    if health.is_draining() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// `ALLOWED_ORIGINS` may call with a bearer token, never with the cookie; nobody else may read an answer.
fn cors(origins: Origins) -> Cors {
    Cors::default()
        .allowed_origin_fn(move |origin, _| origin.to_str().is_ok_and(|origin| origins.allow(origin)))
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            common_auth::problem::REQUEST_ID_HEADER,
        ])
        .expose_headers([
            common_auth::problem::REQUEST_ID_HEADER,
            header::WWW_AUTHENTICATE,
            header::RETRY_AFTER,
        ])
        .max_age(600)
}

fn listen(variable: &'static str, host: std::net::IpAddr, port: u16) -> Result<TcpListener, BuildError> {
    let address = std::net::SocketAddr::new(host, port);
    TcpListener::bind(address).map_err(|error| BuildError::Listen {
        variable,
        address: address.to_string(),
        error,
    })
}
