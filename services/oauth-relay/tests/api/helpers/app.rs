//! A relay of one's own, and a browser that calls it.

use std::{collections::BTreeMap, path::PathBuf, sync::atomic::AtomicUsize, sync::atomic::Ordering};

use oauth_relay::{app::App, config::Config};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{Folder, Wire, eventually, install_crypto_provider};

/// A relay that runs inside the test.
pub(crate) struct TestApp {
    pub(crate) http: Http,
    pub(crate) folder: Folder,
    pub(crate) tcp_port: Option<u16>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
}

/// Calls a relay: its callback as a browser does, and its admin listener.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    pub(crate) url: String,
    pub(crate) admin_url: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// A state that no other test uses, long enough to raise no warning.
pub(crate) fn state(name: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{name}-{}-0123456789abcdef", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl TestApp {
    /// A relay with its socket in a folder of its own.
    pub(crate) async fn spawn() -> Self {
        Self::spawn_with(&[]).await
    }

    /// The same over TCP.
    pub(crate) async fn spawn_tcp(settings: &[(&str, &str)]) -> Self {
        let tcp = [("OAUTH_USE_TCP", "true"), ("OAUTH_TCP_FALLBACK_PORT", "0")];
        Self::spawn_with(&[&tcp, settings].concat()).await
    }

    /// A relay with these settings besides the usual ones, which they win over.
    pub(crate) async fn spawn_with(settings: &[(&str, &str)]) -> Self {
        Self::try_spawn(Folder::new(), settings).await.unwrap()
    }

    /// As [`TestApp::spawn_with`] in a given folder; the reason why it does not start.
    pub(crate) async fn try_spawn(folder: Folder, settings: &[(&str, &str)]) -> Result<Self, String> {
        install_crypto_provider();
        let socket = folder.socket();
        let usual = [
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("ADMIN_PORT", "0"),
            ("OAUTH_ENABLED", "true"),
            ("OAUTH_SOCKET_PATH", socket.to_str().unwrap()),
        ];
        let pairs: BTreeMap<&str, &str> = usual.iter().chain(settings).copied().collect();
        let config = Config::from_pairs(pairs).map_err(|error| error.to_string())?;
        let app = App::build(&config).await.map_err(|error| error.to_string())?;
        let http = Http::new(
            format!("http://127.0.0.1:{}", app.port()),
            format!("http://127.0.0.1:{}", app.admin_port()),
        );
        let tcp_port = app.tcp_port();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run_until_stopped(async {
            let _ = stopped.await;
        }));
        let app = Self { http, folder, tcp_port, stop: Some(stop), running };
        eventually("the relay is ready", async || app.http.admin("/readyz").await.status == 200).await;
        Ok(app)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.socket()
    }

    /// Parts with its folder, which then outlives it.
    pub(crate) fn with_folder(mut self) -> (Self, Folder) {
        let folder = std::mem::replace(&mut self.folder, Folder::new());
        (self, folder)
    }

    /// Connects as a client does, over what the relay listens on.
    pub(crate) async fn connect(&self) -> Wire {
        match self.tcp_port {
            Some(port) => Wire::tcp(port).await,
            None => Wire::unix(&self.socket()).await,
        }
    }

    /// Registers as the original's client does, and waits until the relay holds the slot.
    pub(crate) async fn wait_plain(&self, state: Option<&str>) -> Wire {
        let mut frame = json!({ "type": "REGISTER" });
        if let Some(state) = state {
            frame["state"] = json!(state);
        }
        self.register(&frame).await
    }

    /// Sends this `REGISTER` of a client that is told nothing of it, and waits until the relay holds the slot.
    pub(crate) async fn register(&self, frame: &Value) -> Wire {
        let before = self.http.metric("waiters_registered_total").await;
        let mut wire = self.connect().await;
        wire.send(frame).await;
        eventually("the slot is held", async || self.http.metric("waiters_registered_total").await > before)
            .await;
        wire
    }

    /// Registers with the project's additions, which include a word about the slot.
    pub(crate) async fn wait_extended(&self, state: &str) -> Wire {
        self.register_extended(json!({ "state": state })).await
    }

    /// The same with these members of the `REGISTER`.
    pub(crate) async fn register_extended(&self, mut frame: Value) -> Wire {
        frame["type"] = json!("REGISTER");
        frame["extended"] = json!(true);
        let mut wire = self.connect().await;
        wire.send(&frame).await;
        let answer = wire.frame().await.expect("an answer to REGISTER");
        let mut registered = json!({ "type": "REGISTERED" });
        if let Some(state) = frame.get("state") {
            registered["state"] = state.clone();
        }
        assert_eq!(answer, registered);
        wire
    }

    /// A delivery to a fresh waiter shows that the relay is well.
    pub(crate) async fn works(&self) {
        let state = state("alive");
        let mut waiter = self.wait_extended(&state).await;
        let delivered = tokio::spawn(async move { waiter.acknowledge().await });
        self.http.callback(&[("code", "well"), ("state", &state)]).await.is_complete();
        assert_eq!(delivered.await.unwrap()["code"], "well");
    }

    /// Tells the relay to stop, without waiting for it.
    pub(crate) fn begin_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Stops the relay as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        if self.stop.is_some() {
            self.begin_stop();
        }
        super::soon("the end", &mut self.running).await.unwrap().unwrap();
    }
}

impl Http {
    pub(crate) fn new(url: String, admin_url: String) -> Self {
        install_crypto_provider();
        let client = reqwest::Client::builder()
            .timeout(std::time::Duration::from_mins(1))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { client, url, admin_url }
    }

    /// A callback by `GET`.
    pub(crate) async fn callback(&self, parameters: &[(&str, &str)]) -> Answer {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        self.callback_query(&query).await
    }

    /// A callback by `GET`, with this query as it is.
    pub(crate) async fn callback_query(&self, query: &str) -> Answer {
        self.ask(Method::GET, &format!("/oauth/callback?{query}")).await
    }

    /// A callback by `POST`.
    pub(crate) async fn post(&self, content_type: Option<&str>, body: impl Into<Vec<u8>>) -> Answer {
        let request = self.request(Method::POST, "/oauth/callback").body(body.into());
        Answer::read(match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        })
        .await
    }

    pub(crate) async fn post_json(&self, body: &Value) -> Answer {
        self.post(Some("application/json"), body.to_string()).await
    }

    pub(crate) async fn post_form(&self, parameters: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        self.post(Some("application/x-www-form-urlencoded"), body).await
    }

    /// A request to the main listener, to be finished.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        Answer::read(self.request(method, path)).await
    }

    /// Asks the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Answer::read(self.client.get(format!("{}{path}", self.admin_url))).await
    }

    /// A counter of the relay: `oauth_relay_` goes before the name.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").await.text;
        let prefix = format!("oauth_relay_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {prefix}in {text}")).parse().unwrap()
    }

    /// How many slots are held.
    pub(crate) async fn waiters(&self) -> u64 {
        let text = self.admin("/metrics").await.text;
        let line = text.lines().find_map(|line| line.strip_prefix("oauth_relay_waiters "));
        line.unwrap_or_else(|| panic!("no gauge in {text}")).parse().unwrap()
    }
}

impl Answer {
    pub(crate) async fn read(request: reqwest::RequestBuilder) -> Self {
        Self::try_read(request).await.unwrap()
    }

    /// As [`Answer::read`], from a server that may be gone.
    pub(crate) async fn try_read(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Self { status, headers, text: response.text().await? })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The status, and the stable code of a problem.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    /// The text of the page's only heading of the first level.
    pub(crate) fn heading(&self) -> &str {
        let headings: Vec<&str> = self.text.split("<h1").skip(1).collect();
        assert_eq!(headings.len(), 1, "{}", self.text);
        let text = headings[0].split_once('>').unwrap().1;
        text.split_once("</h1>").unwrap().0.trim()
    }

    /// A page for people, whatever it says.
    #[track_caller]
    pub(crate) fn is_page(&self, status: u16, heading: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.header("content-type").starts_with("text/html"), "{self:?}");
        assert_eq!(self.heading(), heading);
    }

    /// The page after a delivery.
    #[track_caller]
    pub(crate) fn is_complete(&self) {
        self.is_page(200, "Authorization Complete");
    }

    /// The page after a delivered denial.
    #[track_caller]
    pub(crate) fn is_denied(&self) {
        self.is_page(200, "Authorization Failed");
        assert!(!self.text.contains("Authorization Complete"), "{}", self.text);
    }

    /// The page where nobody took it.
    #[track_caller]
    pub(crate) fn is_unmatched(&self) {
        self.is_page(404, "Authorization Failed");
        assert!(self.text.contains("No client waiting"), "{}", self.text);
        assert!(!self.text.contains("Authorization Complete"), "{}", self.text);
    }
}
