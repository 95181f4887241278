//! The service as a test uses it: started on a port of its own and a database of its own, one method per endpoint.

use std::{sync::Arc, thread, time::Duration};

use auth_api::{app::App, config::Config};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    answer::{Answer, Ask},
    database::{self, TestDatabase},
    fixtures::{ClientCredentials, Person, person_id, secret_of},
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
    http: Client,
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
    pub fn set(mut self, variable: &'static str, value: impl ToString) -> Self {
        self.settings.push((variable, value.to_string()));
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
            app.run_until_stopped(stop).await.expect("a clean end");
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
        let email = value("EMAIL").await;
        let id = self.database.text(&format!("SELECT id::text FROM users WHERE email = '{email}'")).await;
        Person { id: id.parse().expect("an id"), email, password: value("PASSWORD").await }
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
        let group = database::seeded("CAROL_GROUP_ID").await;
        let org = self.database.text(&format!("SELECT org_id::text FROM groups WHERE id = '{group}'")).await;
        org.parse().expect("an id")
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

    /// A client of the fixtures.
    pub fn client(&self, id: &str) -> ClientCredentials {
        ClientCredentials { id: id.to_owned(), secret: secret_of(id) }
    }

    /// `POST /auth/login`, which has to succeed.
    pub async fn login(&self, person: &Person) -> Session {
        let answer = self.try_login(person).await.expect(200);
        Session::of(answer)
    }

    /// `POST /auth/login`, whatever comes of it.
    pub async fn try_login(&self, person: &Person) -> Answer {
        self.login_with(&json!({ "email": person.email, "password": person.password })).await
    }

    /// `POST /auth/login` with this body.
    pub async fn login_with(&self, body: &Value) -> Answer {
        self.post("/auth/login").json(body).ask().await
    }

    /// `POST /auth/refresh`.
    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/auth/refresh").json(&json!({ "refresh_token": refresh_token })).ask().await
    }

    /// `POST /auth/logout`.
    pub async fn logout(&self, access_token: &str) -> Answer {
        self.post("/auth/logout").bearer_auth(access_token).json(&json!({})).ask().await
    }

    /// `GET /auth/me`.
    pub async fn me(&self, access_token: &str) -> Answer {
        self.get("/auth/me").bearer_auth(access_token).ask().await
    }

    /// `POST /oauth/token` with this form.
    pub async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.post("/oauth/token").form(form).ask().await
    }

    /// The client credentials grant with more fields, by HTTP Basic.
    pub async fn grant(&self, client: &ClientCredentials, fields: &[(&str, &str)]) -> Answer {
        let form: Vec<(&str, &str)> =
            [("grant_type", "client_credentials")].iter().chain(fields).copied().collect();
        self.post("/oauth/token").basic_auth(&client.id, Some(&client.secret)).form(&form).ask().await
    }

    /// A service's token with everything it may have.
    pub async fn service_token(&self, client: &ClientCredentials) -> String {
        self.grant(client, &[]).await.expect(200).text_at("/access_token").to_owned()
    }

    /// A service's token with this scope.
    pub async fn scoped_token(&self, client: &ClientCredentials, scope: &str) -> String {
        self.grant(client, &[("scope", scope)]).await.expect(200).text_at("/access_token").to_owned()
    }

    /// `POST /oauth/introspect` by a client.
    pub async fn introspect(&self, client: &ClientCredentials, token: &str) -> Answer {
        let request = self.post("/oauth/introspect").basic_auth(&client.id, Some(&client.secret));
        request.form(&[("token", token)]).ask().await
    }

    /// `POST /oauth/revoke` by a client.
    pub async fn revoke(&self, client: &ClientCredentials, token: &str) -> Answer {
        let request = self.post("/oauth/revoke").basic_auth(&client.id, Some(&client.secret));
        request.form(&[("token", token)]).ask().await
    }

    /// `GET /.well-known/jwks.json`.
    pub async fn jwks(&self) -> Answer {
        self.get("/.well-known/jwks.json").ask().await
    }

    /// The ids of the published keys, sorted.
    pub async fn kids(&self) -> Vec<String> {
        self.jwks().await.expect(200).each("/keys", "/kid")
    }

    /// `GET /api/auth/groups/{id}`.
    pub async fn group(&self, token: &str, group_id: Uuid) -> Answer {
        self.get(&format!("/api/auth/groups/{group_id}")).bearer_auth(token).ask().await
    }

    /// `GET /api/auth/groups/{id}/members`.
    pub async fn members(&self, token: &str, group_id: Uuid) -> Answer {
        self.get(&format!("/api/auth/groups/{group_id}/members")).bearer_auth(token).ask().await
    }

    /// `POST /api/auth/groups`.
    pub async fn create_group(&self, token: &str, body: &Value) -> Answer {
        self.post("/api/auth/groups").bearer_auth(token).json(body).ask().await
    }

    /// `POST /api/auth/groups/{id}/members`.
    pub async fn add_member(&self, token: &str, group_id: Uuid, body: &Value) -> Answer {
        self.post(&format!("/api/auth/groups/{group_id}/members")).bearer_auth(token).json(body).ask().await
    }

    /// `DELETE /api/auth/groups/{id}/members/{user_id}`.
    pub async fn remove_member(&self, token: &str, group_id: Uuid, user_id: Uuid) -> Answer {
        self.delete(&format!("/api/auth/groups/{group_id}/members/{user_id}")).bearer_auth(token).ask().await
    }

    /// `DELETE /api/auth/orgs/{id}/members/{user_id}`.
    pub async fn remove_org_member(&self, token: &str, org_id: Uuid, user_id: Uuid) -> Answer {
        self.delete(&format!("/api/auth/orgs/{org_id}/members/{user_id}")).bearer_auth(token).ask().await
    }

    /// `GET /api/auth/directory`.
    pub async fn directory(&self, token: &str, query: &str) -> Answer {
        self.get(&format!("/api/auth/directory?{query}")).bearer_auth(token).ask().await
    }

    /// `GET /api/auth/changes`.
    pub async fn changes(&self, token: &str, query: &str) -> Answer {
        self.get(&format!("/api/auth/changes?{query}")).bearer_auth(token).ask().await
    }

    /// `GET /oauth/revocations`.
    pub async fn revocations(&self, token: &str, query: &str) -> Answer {
        self.get(&format!("/oauth/revocations?{query}")).bearer_auth(token).ask().await
    }

    /// `GET /readyz` of the admin port.
    pub async fn readyz(&self) -> Answer {
        self.admin("/readyz").await
    }

    /// `GET` of the admin port.
    pub async fn admin(&self, path: &str) -> Answer {
        self.http.get(format!("{}{path}", self.admin_url)).ask().await
    }

    /// The value of a metric whose line starts so; 0 where there is none.
    pub async fn metric(&self, start: &str) -> f64 {
        let metrics = self.admin("/metrics").await.expect(200).text;
        let values =
            metrics.lines().filter(|line| line.starts_with(start)).filter_map(|line| line.rsplit_once(' '));
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
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
    fn of(answer: Answer) -> Self {
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
