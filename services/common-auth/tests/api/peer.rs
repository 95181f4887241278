//! auth-api as an HTTP peer that says what the test wants, and remembers what it was asked.

use std::{
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use common_auth::{ServiceTokenManager, ServiceTokenSettings};
use serde_json::json;
use tokio::sync::watch;

/// A request that the peer got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

type Answer = dyn Fn(&Seen) -> HttpResponse + Send + Sync;

/// A server on a port of its own; it ends with the test.
pub(crate) struct Peer {
    inner: Arc<Inner>,
    url: String,
    handle: ServerHandle,
}

struct Inner {
    seen: Mutex<Vec<Seen>>,
    answer: Mutex<Arc<Answer>>,
    held: watch::Sender<bool>,
}

impl Peer {
    /// Serves `answer` to every request.
    pub(crate) fn start(answer: impl Fn(&Seen) -> HttpResponse + Send + Sync + 'static) -> Self {
        install_crypto();
        let inner = Arc::new(Inner {
            seen: Mutex::default(),
            answer: Mutex::new(Arc::new(answer)),
            held: watch::Sender::new(false),
        });
        let data = web::Data::from(Arc::clone(&inner));
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(serve)))
                .workers(1)
                .disable_signals()
                .bind(("127.0.0.1", 0))
                .unwrap();
        let url = format!("http://{}", server.addrs().first().unwrap());
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { inner, url, handle }
    }

    /// Hands out service tokens, `token-1`, `token-2` and so on, and answers everything else with `answer`.
    pub(crate) fn auth_api(answer: impl Fn(&Seen) -> HttpResponse + Send + Sync + 'static) -> Self {
        let grants = std::sync::atomic::AtomicUsize::new(1);
        Self::start(move |seen| {
            if seen.path == "/oauth/token" {
                let grant = grants.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                return token(&format!("token-{grant}"), 3600);
            }
            answer(seen)
        })
    }

    pub(crate) fn answer(&self, answer: impl Fn(&Seen) -> HttpResponse + Send + Sync + 'static) {
        *self.inner.answer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answer);
    }

    pub(crate) fn hold(&self) {
        self.inner.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.inner.held.send_replace(false);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A manager of this service's token at this peer.
    pub(crate) fn service_tokens(&self) -> Arc<ServiceTokenManager> {
        let settings = ServiceTokenSettings {
            token_url: self.url("/oauth/token"),
            client_id: "chat-api-service".to_owned(),
            client_secret: "s3cret:/ of %the client".to_owned().into(),
            scopes: vec!["groups:read".to_owned(), "revocations:read".to_owned()],
        };
        ServiceTokenManager::new(settings, client())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The command is sent by the call; nobody has to wait for it.
        drop(self.handle.stop(false));
    }
}

async fn serve(request: HttpRequest, body: web::Bytes, inner: web::Data<Inner>) -> HttpResponse {
    let seen = Seen {
        path: request.path().to_owned(),
        query: request.query_string().to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        headers: request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
    };
    let answer = {
        inner.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        Arc::clone(&inner.answer.lock().unwrap_or_else(PoisonError::into_inner))
    };
    let _ = inner.held.subscribe().wait_for(|held| !held).await;
    answer(&seen)
}

/// The token endpoint's answer.
pub(crate) fn token(token: &str, lifetime: u64) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime }))
}

/// The client that services use.
pub(crate) fn client() -> reqwest::Client {
    install_crypto();
    common_auth::http_client(Duration::from_secs(1), Duration::from_secs(5)).unwrap()
}

/// An address where nobody listens.
pub(crate) fn nowhere(path: &str) -> String {
    format!("http://127.0.0.1:1{path}")
}

fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
