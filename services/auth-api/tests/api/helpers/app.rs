//! The service as a test uses it: started on a port of its own and a database of its own, one method per endpoint.

use std::{sync::Arc, thread, time::Duration};

use auth_api::{
    app::App,
    config::Config,
    domain::{Identity, key_rotation},
};
use prometheus::Registry;
use reqwest::{Client, Method, RequestBuilder};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    answer::Answer,
    database::{self, TestDatabase},
    fixtures::{ClientCredentials, Person, person_id},
    process::base_settings,
    proxy::CutProxy,
    wait::until,
};

/// Longer than any answer may take, long polls included.
const TIMEOUT: Duration = Duration::from_secs(40);

/// One running replica.
pub struct TestApp {
    pub url: String,
    pub admin_url: String,
    pub database: Arc<TestDatabase>,
    pub http: Client,
    stop: CancellationToken,
}

/// A replica that is about to be started.
pub struct Builder {
    database: Option<Arc<TestDatabase>>,
    port: Option<u16>,
    settings: Vec<(&'static str, String)>,
    is_ready: bool,
}

/// What a login brought.
#[derive(Clone, Debug)]
pub struct Session {
    pub access_token: String,
    pub refresh_token: String,
    /// The session cookie as `name=value`.
    pub cookie: String,
    pub answer: Answer,
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
        self.settings.push((variable, format!("{value}")));
        self
    }

    /// Uses this database.
    pub fn on(mut self, database: &Arc<TestDatabase>) -> Self {
        self.database = Some(Arc::clone(database));
        self
    }

    /// Reaches the database through a wire that the test can cut.
    pub fn through(mut self, proxy: &CutProxy) -> Self {
        self.port = Some(proxy.port);
        self
    }

    /// Does not wait until it is ready.
    pub fn unready(mut self) -> Self {
        self.is_ready = false;
        self
    }

    /// Starts it.
    pub async fn spawn(self) -> TestApp {
        let database = match self.database {
            Some(database) => database,
            None => Arc::new(TestDatabase::create().await),
        };
        let mut settings = base_settings();
        settings.extend(database.settings(self.port));
        for (variable, value) in self.settings {
            settings.retain(|(known, _)| *known != variable);
            settings.push((variable, value));
        }
        let http = http();
        let stop = CancellationToken::new();
        let (url, admin_url) = run(settings, stop.clone());
        let app = TestApp { url, admin_url, database, http, stop };
        if self.is_ready {
            until("the replica is ready", async || app.readyz().await.status == 200).await;
        }
        app
    }
}

/// Runs a replica on a thread of its own; its two base URLs.
fn run(settings: Vec<(&'static str, String)>, stop: CancellationToken) -> (String, String) {
    let (sender, ports) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let pairs = settings.iter().map(|(variable, value)| (*variable, value.as_str()));
        let config = Config::from_pairs(pairs).expect("usable settings");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let app = App::build(&config).expect("a replica");
            sender.send((app.port(), app.admin_port())).expect("a test that waits");
            app.run_until_stopped(stop.cancelled_owned()).await.expect("a clean end");
        });
    });
    let (port, admin_port) = ports.recv().expect("a replica that starts");
    (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{admin_port}"))
}

impl TestApp {
    /// A replica with default settings on a database of its own.
    pub async fn spawn() -> Self {
        Self::with().spawn().await
    }

    /// A replica that is set up further.
    pub fn with() -> Builder {
        Builder { database: None, port: None, settings: Vec::new(), is_ready: true }
    }

    /// Stops it and waits until its port is closed.
    pub async fn stop(self) {
        self.stop.cancel();
        until("the port is closed", async || self.http.get(&self.admin_url).send().await.is_err()).await;
    }

    /// The use cases on the same database and with the same keys, without a server around them.
    pub async fn identity(&self) -> Identity {
        let mut settings = base_settings();
        settings.extend(self.database.settings(None));
        let pairs = settings.iter().map(|(variable, value)| (*variable, value.as_str()));
        let config = Config::from_pairs(pairs).expect("usable settings");
        let identity = Identity::new(&config, &Registry::new()).expect("an identity");
        key_rotation::reload(&identity).await.expect("the keys");
        identity
    }

    /// A request to the main port.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.call(Method::POST, path)
    }

    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.call(Method::DELETE, path)
    }

    /// Somebody of `seed-demo`: `ALICE`, `BOB` or `CAROL`.
    pub async fn demo_person(&self, name: &str) -> Person {
        let value = async |suffix: &str| database::seeded(&format!("{name}_{suffix}")).await;
        let id = value("ID").await.parse().expect("an id");
        Person { id, email: value("EMAIL").await, password: value("PASSWORD").await }
    }

    /// Admin of the demo organization, member of its group.
    pub async fn alice(&self) -> Person {
        self.demo_person("ALICE").await
    }

    /// Member of the demo organization and of its group.
    pub async fn bob(&self) -> Person {
        self.demo_person("BOB").await
    }

    /// Owner of another organization.
    pub async fn carol(&self) -> Person {
        self.demo_person("CAROL").await
    }

    /// Somebody of the fixtures.
    pub async fn person(&self, email: &str) -> Person {
        Person {
            id: person_id(email),
            email: email.to_owned(),
            password: database::seeded("BOB_PASSWORD").await,
        }
    }

    /// The demo organization.
    pub async fn org_id(&self) -> Uuid {
        database::seeded("ORG_ID").await.parse().expect("an id")
    }

    /// Carol's organization.
    pub async fn other_org_id(&self) -> Uuid {
        database::seeded("CAROL_ORG_ID").await.parse().expect("an id")
    }

    /// The demo organization's group.
    pub async fn group_id(&self) -> Uuid {
        database::seeded("GROUP_ID").await.parse().expect("an id")
    }

    /// The group in Carol's organization.
    pub async fn carols_group_id(&self) -> Uuid {
        database::seeded("CAROL_GROUP_ID").await.parse().expect("an id")
    }

    /// A client of `seed-demo`, such as `chat-api-service`.
    pub async fn demo_client(&self, id: &str) -> ClientCredentials {
        let variable = format!("{}_CLIENT_SECRET", id.to_uppercase().replace('-', "_"));
        ClientCredentials { id: id.to_owned(), secret: database::seeded(&variable).await }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // Open connections would keep the replica from ending at once.
        self.http = Client::new();
        self.stop.cancel();
    }
}

impl Session {
    pub fn of(answer: Answer) -> Self {
        let cookie = answer
            .cookies()
            .first()
            .expect("a session cookie")
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        Self {
            access_token: answer.text_at("/access_token").to_owned(),
            refresh_token: answer.text_at("/refresh_token").to_owned(),
            cookie,
            answer,
        }
    }
}
