//! An app of one's own, and a client with one method per endpoint.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chat_api::{app::App, config::Config};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use uuid::Uuid;

use super::{AuthApi, CutProxy, eventually};

/// What a user may do in these tests.
pub(crate) const PERMISSIONS: [&str; 3] = ["groups:read", "messages:read", "messages:send"];

/// A running app, two people of one organization, and a group that they are in.
pub(crate) struct TestApp {
    pub(crate) auth_api: Arc<AuthApi>,
    pub(crate) client: Client,
    pub(crate) admin_url: String,
    pub(crate) org_id: Uuid,
    pub(crate) alice: Uuid,
    pub(crate) bob: Uuid,
    pub(crate) group_id: Uuid,
    pub(crate) database: String,
    /// In front of the database.
    pub(crate) mongodb: CutProxy,
    /// In front of auth-api.
    pub(crate) peer: CutProxy,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
}

/// How an app differs from the usual one.
#[derive(Default)]
pub(crate) struct TestAppOptions {
    pub(crate) settings: Vec<(&'static str, String)>,
    /// The database is out of reach at first.
    pub(crate) starts_without_database: bool,
    /// So is auth-api.
    pub(crate) starts_without_auth_api: bool,
}

/// Calls a chat-api as one caller.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) url: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// The server that holds the tests' databases.
pub(crate) fn mongodb_uri() -> String {
    std::env::var("TEST_MONGODB_URI").expect("TEST_MONGODB_URI names a MongoDB server for the tests")
}

/// `host:port` of that server.
fn mongodb_address() -> String {
    let uri = mongodb_uri();
    let rest = uri.split_once("://").expect("a connection string").1;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    host.split(['/', '?']).next().unwrap().to_owned()
}

/// The connection string with another address in it.
fn mongodb_uri_by(port: u16) -> String {
    let uri = mongodb_uri().replacen(&mongodb_address(), &format!("127.0.0.1:{port}"), 1);
    // A replica set would tell its members' own addresses, which lead around the proxy.
    match uri.split_once('?') {
        Some((base, query)) => format!("{base}?{query}&directConnection=true"),
        None => format!("{}/?directConnection=true", uri.trim_end_matches('/')),
    }
}

impl TestApp {
    /// Starts an app and waits until it is ready.
    pub(crate) async fn spawn() -> Self {
        Self::spawn_with(TestAppOptions::default()).await
    }

    /// Starts an app that differs from the usual one.
    pub(crate) async fn spawn_with(options: TestAppOptions) -> Self {
        install_crypto_provider();
        let auth_api = AuthApi::start();
        let (org_id, alice, bob) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let group_id = auth_api.create_group(org_id, &[alice, bob]);
        let mongodb = CutProxy::start(mongodb_address()).await;
        let peer = CutProxy::start(auth_api.address()).await;
        if options.starts_without_database {
            mongodb.cut();
        }
        if options.starts_without_auth_api {
            peer.cut();
        }
        let database = format!("chat_test_{}", Uuid::now_v7().simple());
        let mut settings = vec![
            ("PORT", "0".to_owned()),
            ("ADMIN_PORT", "0".to_owned()),
            ("AUTH_API_ISSUER", auth_api.url().to_owned()),
            ("AUTH_API_URL", format!("http://127.0.0.1:{}", peer.port())),
            ("CLIENT_SECRET", "secret".to_owned()),
            ("MONGODB_URI", mongodb_uri_by(mongodb.port())),
            ("MONGODB_DATABASE", database.clone()),
        ];
        settings.extend(options.settings);
        let config =
            Config::from_pairs(settings.iter().map(|(name, value)| (*name, value.as_str()))).unwrap();
        let app = App::build(&config).await.unwrap();
        let client = Client::new(format!("http://127.0.0.1:{}", app.port()));
        let admin_url = format!("http://127.0.0.1:{}", app.admin_port());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run_until_stopped(async {
            let _ = stopped.await;
        }));
        let stop = Some(stop);
        let app = Self {
            auth_api,
            client,
            admin_url,
            org_id,
            alice,
            bob,
            group_id,
            database,
            mongodb,
            peer,
            stop,
            running,
        };
        if !options.starts_without_database && !options.starts_without_auth_api {
            app.wait_until_ready().await;
        }
        app
    }

    /// Waits for a 200 of `/readyz`.
    pub(crate) async fn wait_until_ready(&self) {
        eventually("the app is ready", Duration::from_secs(20), async || self.is_ready().await).await;
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.admin("/readyz").await.status == StatusCode::OK
    }

    /// Waits until the app knows a group that was just created.
    pub(crate) async fn wait_for_group(&self, group_id: Uuid) {
        let token = self.service_token("groups:read");
        let query = format!("?org_id={}", self.org_id);
        eventually("the group is known", Duration::from_secs(5), async || {
            self.client.get_group(&token, group_id, &query).await.status == StatusCode::OK
        })
        .await;
    }

    /// Asks the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let response = self.client.http.get(format!("{}{path}", self.admin_url)).send().await.unwrap();
        Answer::read(response).await
    }

    /// A token of a member of the organization, with every permission that chat-api knows.
    pub(crate) fn token(&self, user_id: Uuid) -> String {
        self.auth_api.issuer.user(user_id, self.org_id).permissions(&PERMISSIONS).sign()
    }

    /// A token of a service, bound to every organization.
    pub(crate) fn service_token(&self, scope: &str) -> String {
        self.auth_api.issuer.service("mozaiks-runtime-service", scope).sign()
    }

    /// Sends a message to the usual group.
    pub(crate) async fn send(&self, user_id: Uuid, body: Value) -> Answer {
        self.client.send_message(&self.token(user_id), self.group_id, body).await
    }

    /// Sends that many messages of Alice's and returns their ids.
    pub(crate) async fn send_many(&self, count: usize) -> Vec<String> {
        let token = self.token(self.alice);
        let sends = (0..count).map(|number| {
            let (client, token) = (self.client.clone(), token.clone());
            let body = json!({ "content": format!("message {number}") });
            let group_id = self.group_id;
            tokio::spawn(async move { client.send_message(&token, group_id, body).await })
        });
        let mut ids = Vec::new();
        for send in sends.collect::<Vec<_>>() {
            let answer = send.await.unwrap();
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
            ids.push(answer.body["id"].as_str().unwrap().to_owned());
        }
        ids
    }

    /// Reads a page of the usual group as Bob.
    pub(crate) async fn history(&self, query: &str) -> Answer {
        self.client.list_messages(&self.token(self.bob), self.group_id, query).await
    }

    /// Tells the app to stop, without waiting for it.
    pub(crate) fn begin_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Stops the app as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        if self.stop.is_some() {
            self.begin_stop();
        }
        // Its connections would be waited for.
        drop(self.client);
        self.running.await.unwrap().unwrap();
    }

    /// The app's database, past every proxy.
    pub(crate) async fn raw_database(&self) -> mongodb::Database {
        mongodb::Client::with_uri_str(mongodb_uri()).await.unwrap().database(&self.database)
    }
}

impl Client {
    pub(crate) fn new(url: String) -> Self {
        install_crypto_provider();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { http, url }
    }

    pub(crate) async fn list_groups(&self, token: &str, query: &str) -> Answer {
        self.request(Method::GET, &format!("/api/chat/groups{query}"), Some(token), None).await
    }

    pub(crate) async fn get_group(&self, token: &str, group_id: Uuid, query: &str) -> Answer {
        self.request(Method::GET, &format!("/api/chat/groups/{group_id}{query}"), Some(token), None).await
    }

    pub(crate) async fn list_messages(&self, token: &str, group_id: Uuid, query: &str) -> Answer {
        let path = format!("/api/chat/groups/{group_id}/messages{query}");
        self.request(Method::GET, &path, Some(token), None).await
    }

    pub(crate) async fn send_message(&self, token: &str, group_id: Uuid, body: Value) -> Answer {
        self.post(token, &format!("/api/chat/groups/{group_id}/messages"), body).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, Some(token), Some(body)).await
    }

    pub(crate) async fn get_message(&self, token: &str, group_id: Uuid, message_id: &str) -> Answer {
        let path = format!("/api/chat/groups/{group_id}/messages/{message_id}");
        self.request(Method::GET, &path, Some(token), None).await
    }

    pub(crate) async fn put_read_mark(&self, token: &str, group_id: Uuid, seq: i64) -> Answer {
        let path = format!("/api/chat/groups/{group_id}/read");
        self.request(Method::PUT, &path, Some(token), Some(json!({ "seq": seq }))).await
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        self.try_request(method, path, token, body).await.unwrap()
    }

    /// As [`Client::request`], for a server that may be gone.
    pub(crate) async fn try_request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(Answer::read(request.send().await?).await)
    }

    /// The bare HTTP client, for what no method covers.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap_or_default();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Self { status, headers, body }
    }

    /// The status, and the stable code of an error.
    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["error"].as_str().unwrap_or_default())
    }

    /// The numbers of a page of messages.
    pub(crate) fn seqs(&self) -> Vec<i64> {
        let messages = self.body["messages"].as_array().unwrap_or_else(|| panic!("no page: {self:?}"));
        messages.iter().map(|message| message["seq"].as_i64().unwrap()).collect()
    }
}

fn install_crypto_provider() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
