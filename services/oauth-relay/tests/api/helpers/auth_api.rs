//! What the relay needs of auth-api, on a port of its own: keys, a token for the feed, and the feed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, web};
use common_auth::testing::TestIssuer;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::install_crypto_provider;

/// The simulated auth-api.
pub(crate) struct AuthApi {
    pub(crate) issuer: TestIssuer,
    url: String,
    revocations: Mutex<Vec<Value>>,
    head: watch::Sender<u64>,
}

#[derive(Deserialize)]
struct FeedQuery {
    after: Option<String>,
    wait: Option<u64>,
}

impl AuthApi {
    pub(crate) fn start() -> Arc<Self> {
        install_crypto_provider();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let auth_api = Arc::new(Self {
            issuer: TestIssuer::new(url.clone()),
            url,
            revocations: Mutex::default(),
            head: watch::Sender::new(1),
        });
        let data = web::Data::from(Arc::clone(&auth_api));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/.well-known/jwks.json", web::get().to(jwks))
                .route("/oauth/token", web::post().to(token))
                .route("/oauth/revocations", web::get().to(revocations))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(0)
        .listen(listener)
        .unwrap();
        tokio::spawn(server.run());
        auth_api
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A relay's settings for this auth-api.
    pub(crate) fn settings(&self) -> [(&str, &str); 2] {
        [("AUTH_API_ISSUER", &self.url), ("CLIENT_SECRET", "secret")]
    }

    /// A token of a service that may wait.
    pub(crate) fn token(&self, client_id: &str) -> String {
        let token = self.issuer.service(client_id, "relay:wait");
        token.claim("aud", json!(["oauth-relay"])).sign()
    }

    /// Revokes every token of a client.
    pub(crate) fn revoke_client(&self, client_id: &str) {
        let cursor = *self.head.borrow() + 1;
        self.revocations.lock().unwrap().push(json!({
            "cursor": cursor.to_string(), "at": "2026-01-02T03:04:05Z", "kind": "client", "value": client_id,
            "issued_before": "2099-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z",
        }));
        self.head.send_replace(cursor);
    }
}

async fn jwks(auth_api: web::Data<AuthApi>) -> HttpResponse {
    HttpResponse::Ok().json(auth_api.issuer.jwks())
}

async fn token(auth_api: web::Data<AuthApi>) -> HttpResponse {
    let token = auth_api.issuer.service("oauth-relay-service", "revocations:read");
    let token = token.claim("aud", json!(["auth-api"])).sign();
    HttpResponse::Ok().json(json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": "revocations:read",
    }))
}

async fn revocations(auth_api: web::Data<AuthApi>, query: web::Query<FeedQuery>) -> HttpResponse {
    let mut head = auth_api.head.subscribe();
    let after: Option<u64> = query.after.as_ref().map(|after| after.parse().unwrap());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(query.wait.unwrap_or(0));
    loop {
        let next = *head.borrow_and_update();
        let all = auth_api.revocations.lock().unwrap().clone();
        let number = |entry: &Value| entry["cursor"].as_str().unwrap().parse::<u64>().unwrap();
        let items: Vec<Value> = all.into_iter().filter(|entry| number(entry) > after.unwrap_or(0)).collect();
        let is_over = after.is_none() || !items.is_empty();
        if is_over || tokio::time::timeout_at(deadline, head.changed()).await.is_err() {
            return HttpResponse::Ok().json(json!({ "items": items, "next": next.to_string() }));
        }
    }
}
