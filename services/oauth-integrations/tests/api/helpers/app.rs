//! The service as a test uses it: on ports and a database of its own, the outside world simulated.

use std::{sync::Arc, thread, time::Duration};

use oauth_integrations::{app::App, config::Config, domain::Integrations};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use simulator::{Fields, Provider, Settings, Simulator};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    answer::{Answer, Ask},
    auth_api::AuthApi,
    browser::Browser,
    database::TestDatabase,
    process::{CALLBACK_BASE, base_settings, provider_settings},
    wait::until,
};

/// Longer than any answer may take.
const TIMEOUT: Duration = Duration::from_secs(40);

/// One running replica and its world.
pub struct TestApp {
    pub url: String,
    pub admin_url: String,
    pub database: Arc<TestDatabase>,
    pub sim: Arc<Simulator>,
    pub auth_api: Arc<AuthApi>,
    pub http: Client,
    /// Alice and her organization.
    pub alice: Uuid,
    pub org_id: Uuid,
    pub integrations: Arc<Integrations>,
    stop: CancellationToken,
}

/// A replica that is about to be started.
pub struct Builder {
    settings: Vec<(&'static str, String)>,
    database: Option<Arc<TestDatabase>>,
    has_runtime: bool,
    is_ready: bool,
}

/// A client like any other program's: no redirects, no cookies kept.
pub fn http() -> Client {
    // The second test finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(TIMEOUT);
    builder.build().expect("an HTTP client")
}

impl Builder {
    /// Sets a variable.
    pub fn set(mut self, variable: &'static str, value: impl std::fmt::Display) -> Self {
        self.settings.push((variable, value.to_string()));
        self
    }

    /// Uses this database.
    pub fn on(mut self, database: &Arc<TestDatabase>) -> Self {
        self.database = Some(Arc::clone(database));
        self
    }

    /// Tells a runtime, which is simulated as well.
    pub fn with_runtime(mut self) -> Self {
        self.has_runtime = true;
        self
    }

    /// Does not wait until it is ready.
    pub fn unready(mut self) -> Self {
        self.is_ready = false;
        self
    }

    /// Starts it.
    pub async fn spawn(mut self) -> TestApp {
        let database = match self.database {
            Some(database) => database,
            None => TestDatabase::create().await,
        };
        let sim = Arc::new(Simulator::start(Settings::default()).expect("the providers"));
        let auth_api = AuthApi::start();
        if self.has_runtime {
            self.settings.push(("RUNTIME_URL", auth_api.url().to_owned()));
        }
        let settings = settings(&sim, &auth_api, &database, &self.settings);
        let stop = CancellationToken::new();
        let (ports, integrations) = run(settings, stop.clone());
        let app = TestApp {
            url: format!("http://127.0.0.1:{}", ports.0),
            admin_url: format!("http://127.0.0.1:{}", ports.1),
            database,
            sim,
            auth_api,
            http: http(),
            alice: Uuid::now_v7(),
            org_id: Uuid::now_v7(),
            integrations,
            stop,
        };
        if self.is_ready {
            until("the replica is ready", async || app.admin("/readyz").await.status == 200).await;
        }
        app
    }
}

/// Everything that a replica in this world is started with, the later values counting.
pub fn settings(
    sim: &Simulator,
    auth_api: &AuthApi,
    database: &TestDatabase,
    more: &[(&'static str, String)],
) -> Vec<(&'static str, String)> {
    let mut settings = base_settings(auth_api.url());
    settings.extend(provider_settings(sim));
    for (variable, value) in database.settings(None).into_iter().chain(more.iter().cloned()) {
        settings.retain(|(known, _)| *known != variable);
        settings.push((variable, value));
    }
    settings
}

/// Runs a replica on a thread of its own; its two ports, and what its use cases work with.
fn run(settings: Vec<(&'static str, String)>, stop: CancellationToken) -> ((u16, u16), Arc<Integrations>) {
    let (sender, started) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let pairs = settings.iter().map(|(variable, value)| (*variable, value.as_str()));
        let config = Config::from_pairs(pairs).expect("usable settings");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let app = App::build(&config).expect("a replica");
            let ports = (app.port(), app.admin_port());
            sender.send((ports, app.integrations())).expect("a test that waits");
            app.run_until_stopped(stop.cancelled_owned()).await.expect("a clean end");
        });
    });
    started.recv().expect("a replica that starts")
}

impl TestApp {
    /// A replica with default settings.
    pub async fn spawn() -> Self {
        Self::with().spawn().await
    }

    /// A replica that is set up further.
    pub fn with() -> Builder {
        Builder { settings: Vec::new(), database: None, has_runtime: false, is_ready: true }
    }

    /// Stops it and waits until its port is closed.
    pub async fn stop(&self) {
        self.stop.cancel();
        until("the port is closed", async || self.http.get(&self.admin_url).send().await.is_err()).await;
    }

    /// A page of the admin port.
    pub async fn admin(&self, path: &str) -> Answer {
        match self.http.get(format!("{}{path}", self.admin_url)).try_ask().await {
            Ok(answer) => answer,
            Err(error) => panic!("no answer of {path}: {error}"),
        }
    }

    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Alice's token, who may connect and disconnect.
    pub fn manager(&self) -> String {
        self.auth_api.manager(self.alice, self.org_id)
    }

    /// The token of a service that is bound to Alice's organization and may read tokens.
    pub fn indexer(&self) -> String {
        self.auth_api.service("indexer-worker", "integrations:read integrations:token:read", &[self.org_id])
    }

    /// Asks as Alice.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).bearer_auth(self.manager()).ask().await
    }

    /// Asks as Alice.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).bearer_auth(self.manager()).ask().await
    }

    /// Asks as Alice.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path).bearer_auth(self.manager()).json(body).ask().await
    }

    /// A token for the indexer.
    pub async fn hand_out(&self, platform: &str) -> Answer {
        self.hand_out_with(platform, "").await
    }

    /// A token for the indexer, with more of a query.
    pub async fn hand_out_with(&self, platform: &str, more: &str) -> Answer {
        let path = format!("/oauth/token/{platform}?org_id={}{more}", self.org_id);
        self.call(Method::GET, &path).bearer_auth(self.indexer()).ask().await
    }

    /// Answers the provider's next consent page.
    pub fn consent<const LENGTH: usize>(&self, provider: Provider, answer: [(&str, &str); LENGTH]) {
        self.sim.preset_consent(provider, Fields::from(answer));
    }

    /// Connects the platform for Alice, from the start to the page that says how it went.
    pub async fn connect<const LENGTH: usize>(
        &self,
        platform: &str,
        answer: [(&str, &str); LENGTH],
    ) -> Answer {
        let browser = Browser::new(self);
        self.connect_in(&browser, platform, answer).await
    }

    /// The same in a given browser.
    pub async fn connect_in<const LENGTH: usize>(
        &self,
        browser: &Browser,
        platform: &str,
        answer: [(&str, &str); LENGTH],
    ) -> Answer {
        self.consent(provider(platform), answer);
        let started = browser.start(&format!("/oauth/install/{platform}"), &self.manager()).await.expect(302);
        browser.follow(started).await
    }

    /// The address of a callback that Alice's browser is about to visit.
    pub async fn callback<const LENGTH: usize>(
        &self,
        browser: &Browser,
        platform: &str,
        answer: [(&str, &str); LENGTH],
    ) -> String {
        self.consent(provider(platform), answer);
        let started = browser.start(&format!("/oauth/install/{platform}"), &self.manager()).await.expect(302);
        browser.until_callback(started).await
    }

    /// GitHub, connected to Example Corp; the installation's id.
    pub async fn connect_github(&self) -> Uuid {
        self.connect("github", [("user", "alice"), ("account", "example-corp")])
            .await
            .page(200, "GitHub connected");
        self.only_installation("github").await
    }

    /// Jira, connected to the first site.
    pub async fn connect_jira(&self) -> Uuid {
        self.connect("jira", [("site", SITE_1)]).await.expect(200);
        self.only_installation("jira").await
    }

    /// Slack, connected to the first workspace.
    pub async fn connect_slack(&self) -> Uuid {
        self.connect("slack", [("workspace", "T0EXAMPLE")]).await.page(200, "Slack connected");
        self.only_installation("slack").await
    }

    /// The one installation of the platform that Alice sees.
    pub async fn only_installation(&self, platform: &str) -> Uuid {
        let installations = self.installations(platform).await;
        assert_eq!(installations.len(), 1, "{installations:?}");
        installations[0]["id"].as_str().expect("an id").parse().expect("a UUID")
    }

    /// The installations that Alice sees and that are not revoked.
    pub async fn installations(&self, platform: &str) -> Vec<Value> {
        let listed = self.get(&format!("/oauth/installations?platform={platform}")).await.expect(200);
        listed.items().iter().filter(|item| item["status"] != "revoked").cloned().collect()
    }

    /// An installation as Alice sees it.
    pub async fn installation(&self, id: Uuid) -> Answer {
        self.get(&format!("/oauth/installations/{id}")).await.expect(200)
    }

    /// Lets every stored token end a minute ago, as far as the service can tell.
    pub async fn expire_tokens(&self) {
        self.database
            .execute("UPDATE installation_credentials SET token_expires_at = now() - interval '1 minute'")
            .await;
    }

    /// How often the provider was asked to refresh.
    pub fn refreshes(&self, platform: &str) -> usize {
        let (provider, endpoint) = token_endpoint(platform);
        self.sim.count(provider, endpoint, "refresh_token")
    }

    /// How often a code was exchanged.
    pub fn exchanges(&self, platform: &str) -> usize {
        let (provider, endpoint) = token_endpoint(platform);
        self.sim.count(provider, endpoint, "authorization_code")
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // Open connections would keep the replica from ending at once.
        self.http = Client::new();
        self.stop.cancel();
    }
}

/// The first of Atlassian's sites.
pub const SITE_1: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
/// The second.
pub const SITE_2: &str = "11111111-aaaa-4bbb-8ccc-000000000002";

pub fn provider(platform: &str) -> Provider {
    match platform {
        "github" => Provider::Github,
        "slack" => Provider::Slack,
        _ => Provider::Atlassian,
    }
}

fn token_endpoint(platform: &str) -> (Provider, &'static str) {
    match platform {
        "github" => (Provider::Github, "POST /login/oauth/access_token"),
        "slack" => (Provider::Slack, "POST /api/oauth.v2.access"),
        _ => (Provider::Atlassian, "POST /oauth/token"),
    }
}

/// Where the callback of a platform is registered.
pub fn callback_url(platform: &str) -> String {
    format!("{CALLBACK_BASE}/oauth/callback/{platform}")
}
