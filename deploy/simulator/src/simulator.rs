//! The simulator as a value: started in process, stopped when it is dropped, and steered by its methods.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, MutexGuard, mpsc},
    thread::{self, JoinHandle},
};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web};
use anyhow::{Context, anyhow};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc as queue, oneshot},
};

use crate::{
    atlassian, control,
    fault::Fault,
    fields::Fields,
    github,
    journal::{Call, Provider},
    origin::observe,
    settings::Settings,
    slack,
    webhook::Webhook,
    world::{Shared, Urls, World},
};

/// The running origins. Dropping it ends them.
pub struct Simulator {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Opens the ports and answers, on a thread of its own.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        // Where the crates of this process do not agree on one, rustls has no default.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ports = settings.ports;
        let mut listeners = Vec::new();
        for port in [ports.github, ports.atlassian, ports.slack, ports.control] {
            let address = SocketAddr::new(settings.host, port);
            listeners
                .push(TcpListener::bind(address).with_context(|| format!("{address} cannot be opened"))?);
        }
        let listeners: [TcpListener; 4] = listeners.try_into().map_err(|_| anyhow!("four origins"))?;
        let [github, atlassian, slack, control] = listeners.each_ref().map(base);
        let urls = Urls { github: github?, atlassian: atlassian?, slack: slack?, control: control? };
        let (webhooks, queue) = queue::unbounded_channel();
        let shared = Arc::new(Shared::new(settings, urls, webhooks));
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let data = web::Data::from(Arc::clone(&shared));
        let thread = thread::spawn(move || {
            let outcome = actix_web::rt::System::new().block_on(run(listeners, data, queue, stopped, &ready));
            if let Err(error) = outcome {
                tracing::error!(%error, "the simulator ended");
            }
        });
        started.recv().context("the simulator did not start")?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// GitHub's origin, without a slash at its end.
    pub fn github_url(&self) -> &str {
        &self.shared.urls.github
    }

    /// Atlassian's origin.
    pub fn atlassian_url(&self) -> &str {
        &self.shared.urls.atlassian
    }

    /// Slack's origin.
    pub fn slack_url(&self) -> &str {
        &self.shared.urls.slack
    }

    /// The origin from which all of it is steered.
    pub fn control_url(&self) -> &str {
        &self.shared.urls.control
    }

    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The providers' states, to look at and to change; to be dropped before the next request.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// The providers' time in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.shared.clock.now()
    }

    /// Puts the providers' clock forward. Signatures and JSON Web Tokens are held against the wall clock still.
    pub fn advance_clock(&self, seconds: i64) {
        self.shared.clock.advance(seconds);
    }

    /// Back to the demo world; the canaries stay.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Lets something go wrong.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Forgets the faults that wait still.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Answers the provider's next consent page in advance, with the fields of its form. Each preset is used once.
    pub fn preset_consent(&self, provider: Provider, answer: impl Into<Fields>) {
        self.shared.preset_consent(provider, answer.into());
    }

    /// Forgets the answers to consent pages that were not asked for.
    pub fn reset_consents(&self) {
        self.shared.reset_consents();
    }

    /// Where webhooks go by themselves from now on.
    pub fn set_webhook_base(&self, base: Option<String>) {
        self.shared.set_webhook_base(base);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.journal.calls()
    }

    /// How often each endpoint was called, as `POST /oauth/token`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.shared.journal.counts()
    }

    /// How many calls of an endpoint were taken for this: `refresh_token`, `authorization_code`, or anything with an empty note.
    pub fn count(&self, provider: Provider, endpoint: &str, note: &str) -> usize {
        let is_meant = |call: &&Call| {
            call.provider == provider && call.endpoint == endpoint && (note.is_empty() || call.note == note)
        };
        self.calls().iter().filter(is_meant).count()
    }

    /// Every token, code, verifier, state and secret that a provider gave or was given.
    pub fn canaries(&self) -> Vec<String> {
        self.shared.journal.canaries()
    }

    /// Approves the installation that somebody asked for: where the owner's browser is sent to, without a state.
    pub fn approve_github_request(&self, account: &str) -> Option<String> {
        github::approve_request(&self.shared, account)
    }

    /// Suspends or unsuspends an installation, as its owner does.
    pub fn suspend_github_installation(&self, id: u64, is_suspended: bool) -> bool {
        let at = is_suspended.then(|| self.now());
        let is_known =
            self.world().github.installation_mut(id).map(|known| known.suspended_at = at).is_some();
        let action = if is_suspended { "suspend" } else { "unsuspend" };
        if let Some(webhook) = self.github_installation_webhook(action, id) {
            self.shared.announce(webhook);
        }
        is_known
    }

    /// Uninstalls the App, as its owner does.
    pub fn delete_github_installation(&self, id: u64) -> bool {
        let webhook = self.github_installation_webhook("deleted", id);
        let is_known = self.world().github.uninstall(id);
        if let Some(webhook) = webhook {
            self.shared.announce(webhook);
        }
        is_known
    }

    /// An `installation` webhook about an installation that is there: `created`, `deleted`, `suspend`, `unsuspend`,
    /// `new_permissions_accepted`.
    pub fn github_installation_webhook(&self, action: &str, id: u64) -> Option<Webhook> {
        let body = github::installation_event(&self.shared, action, id, None)?;
        Some(self.github_webhook("installation", &body))
    }

    /// A `github_app_authorization` webhook: the user took the App's authorization away.
    pub fn github_authorization_webhook(&self, user_id: u64) -> Webhook {
        self.github_webhook("github_app_authorization", &github::authorization_revoked(&self.shared, user_id))
    }

    /// Any GitHub webhook, signed.
    pub fn github_webhook(&self, event: &str, body: &Value) -> Webhook {
        github::webhook(&self.shared, event, body)
    }

    /// Slack's `app_uninstalled` for a workspace or an enterprise, which happened at this time.
    pub fn slack_uninstalled_webhook(&self, place_id: &str, at: i64) -> Webhook {
        slack::webhook(&self.shared, &slack::app_uninstalled(&self.shared, place_id, at))
    }

    /// Slack's `tokens_revoked`, which names users and bot users.
    pub fn slack_revoked_webhook(&self, place_id: &str, at: i64, users: &[&str], bots: &[&str]) -> Webhook {
        slack::webhook(&self.shared, &slack::tokens_revoked(&self.shared, place_id, at, users, bots))
    }

    /// Any Slack event, signed at this time.
    pub fn slack_webhook(&self, signed_at: i64, body: &Value) -> Webhook {
        Webhook::slack(&self.shared.settings.slack_signing_secret, signed_at, body)
    }

    /// Answers until the process is told to end.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that it panicked.
            let _ = thread.join();
        }
    }
}

fn base(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

async fn run(
    listeners: [TcpListener; 4],
    data: web::Data<Shared>,
    webhooks: queue::UnboundedReceiver<Webhook>,
    stopped: oneshot::Receiver<()>,
    ready: &mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let [github, atlassian, slack, control] = listeners;
    let servers = [
        serve(github, data.clone(), Some(Provider::Github), github::routes)?,
        serve(atlassian, data.clone(), Some(Provider::Atlassian), atlassian::routes)?,
        serve(slack, data.clone(), Some(Provider::Slack), slack::routes)?,
        serve(control, data.clone(), None, control::routes)?,
    ];
    let handles: Vec<_> = servers.iter().map(Server::handle).collect();
    actix_web::rt::spawn(deliver(data, webhooks));
    // The one who starts it waits for this.
    let _ = ready.send(());
    let serving = actix_web::rt::spawn(try_join_all(servers));
    let _ = stopped.await;
    for handle in handles {
        handle.stop(false).await;
    }
    serving.await??;
    Ok(())
}

fn serve(
    listener: TcpListener,
    data: web::Data<Shared>,
    provider: Option<Provider>,
    routes: fn(&mut web::ServiceConfig),
) -> anyhow::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(move |request, next| async move {
                match provider {
                    Some(provider) => observe(provider, request, next).await,
                    None => next.call(request).await,
                }
            }))
            .app_data(data.clone())
            .configure(routes)
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(0).listen(listener)?.run())
}

/// Sends what goes by itself, in order; what fails is lost, as it is with GitHub.
async fn deliver(data: web::Data<Shared>, mut webhooks: queue::UnboundedReceiver<Webhook>) {
    let http = reqwest::Client::new();
    while let Some(webhook) = webhooks.recv().await {
        let Some(base) = data.webhook_base() else { continue };
        let name = match webhook.provider {
            Provider::Slack => "slack",
            _ => "github",
        };
        match webhook.post(&http, &format!("{base}/oauth/webhooks/{name}")).await {
            Ok(status) => tracing::info!(status, provider = name, "webhook delivered"),
            Err(error) => tracing::warn!(%error, provider = name, "webhook lost"),
        }
    }
}
