//! What the service needs of auth-api, and of mozaiks-runtime, on a port of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::testing::TestIssuer;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

/// The simulated auth-api. It lives as long as the process, on a thread of its own.
pub struct AuthApi {
    pub issuer: TestIssuer,
    url: String,
    world: Mutex<World>,
    /// The newest cursor of the revocations; long polls wait for it to move.
    head: watch::Sender<u64>,
}

#[derive(Default)]
struct World {
    revocations: Vec<Value>,
    notices: Vec<Value>,
    /// How many notices are refused with 503 before one is taken.
    refusals: u32,
}

impl AuthApi {
    /// Starts it, with nothing revoked.
    pub fn start() -> Arc<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let auth_api = Arc::new(Self {
            issuer: TestIssuer::new(url.clone()),
            url,
            world: Mutex::default(),
            head: watch::Sender::new(1),
        });
        let data = web::Data::from(Arc::clone(&auth_api));
        std::thread::spawn(move || {
            let server = HttpServer::new(move || App::new().app_data(data.clone()).configure(routes));
            let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener);
            actix_web::rt::System::new().block_on(server.expect("a server").run())
        });
        auth_api
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Refuses so many notices with 503.
    pub fn refuse_notices(&self, times: u32) {
        self.world().refusals = times;
    }

    /// The notices that the runtime took, with the claims of the token they came with.
    pub fn notices(&self) -> Vec<Value> {
        self.world().notices.clone()
    }

    /// Revokes every token of a user or client that was issued before now.
    pub fn revoke_subject(&self, subject: &str) {
        let cursor = *self.head.borrow() + 1;
        let format = |at: time::OffsetDateTime| {
            at.format(&time::format_description::well_known::Rfc3339).expect("a time")
        };
        let now = time::OffsetDateTime::now_utc();
        self.world().revocations.push(json!({
            "cursor": cursor.to_string(), "at": format(now), "kind": "subject", "value": subject,
            "issued_before": format(now + time::Duration::seconds(1)), "expires_at": format(now + time::Duration::hours(1)),
        }));
        self.head.send_replace(cursor);
    }

    /// A user of the organization who may connect and disconnect.
    pub fn manager(&self, user_id: Uuid, org_id: Uuid) -> String {
        self.user(user_id, org_id, &["integrations:manage"])
    }

    pub fn user(&self, user_id: Uuid, org_id: Uuid, permissions: &[&str]) -> String {
        let token = self.issuer.user(user_id, org_id).permissions(permissions);
        token.claim("email", json!("alice.admin@example.com")).claim("aud", audience()).sign()
    }

    /// A service with these scopes, bound to these organizations.
    pub fn service(&self, client_id: &str, scopes: &str, orgs: &[Uuid]) -> String {
        let orgs: Vec<String> = orgs.iter().map(Uuid::to_string).collect();
        self.issuer.service(client_id, scopes).claim("orgs", json!(orgs)).claim("aud", audience()).sign()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no panic before")
    }
}

pub fn audience() -> Value {
    json!(["oauth-integrations"])
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/.well-known/jwks.json", web::get().to(jwks))
        .route("/oauth/token", web::post().to(token))
        .route("/oauth/introspect", web::post().to(introspect))
        .route("/oauth/revocations", web::get().to(revocations))
        .route("/api/realtime/oauth/completed", web::post().to(completed));
}

async fn jwks(auth_api: web::Data<AuthApi>) -> HttpResponse {
    HttpResponse::Ok().json(auth_api.issuer.jwks())
}

async fn token(auth_api: web::Data<AuthApi>, form: web::Form<HashMap<String, String>>) -> HttpResponse {
    let scope = form.get("scope").map_or("", String::as_str);
    let audience = ["audience", "resource"].iter().find_map(|name| form.get(*name));
    let audience: Vec<&str> =
        audience.map_or_else(|| vec!["auth-api", "mozaiks-runtime"], |text| text.split(' ').collect());
    let token =
        auth_api.issuer.service("oauth-integrations-service", scope).claim("aud", json!(audience)).sign();
    HttpResponse::Ok()
        .json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": scope }))
}

async fn introspect(auth_api: web::Data<AuthApi>, form: web::Form<HashMap<String, String>>) -> HttpResponse {
    let claims = form.get("token").and_then(|token| claims(token));
    let is_ours = |claims: &Value| claims["iss"] == json!(auth_api.issuer.issuer());
    match claims.filter(is_ours) {
        Some(mut claims) => {
            claims["active"] = json!(true);
            HttpResponse::Ok().json(claims)
        }
        None => HttpResponse::Ok().json(json!({ "active": false })),
    }
}

/// Entries after the cursor, waiting for one if there is none.
async fn revocations(
    auth_api: web::Data<AuthApi>,
    query: web::Query<HashMap<String, String>>,
) -> HttpResponse {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
    let mut head = auth_api.head.subscribe();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(number("wait").unwrap_or(0));
    loop {
        let next = *head.borrow_and_update();
        let after = number("after").unwrap_or_default();
        let is_new =
            |entry: &&Value| entry["cursor"].as_str().and_then(|it| it.parse().ok()).unwrap_or(0) > after;
        let items: Vec<Value> = auth_api.world().revocations.iter().filter(is_new).cloned().collect();
        let is_over = number("after").is_none() || !items.is_empty();
        if is_over || tokio::time::timeout_at(deadline, head.changed()).await.is_err() {
            return HttpResponse::Ok().json(json!({ "items": items, "next": next.to_string() }));
        }
    }
}

async fn completed(
    request: HttpRequest,
    auth_api: web::Data<AuthApi>,
    body: web::Json<Value>,
) -> HttpResponse {
    let mut world = auth_api.world();
    if world.refusals > 0 {
        world.refusals -= 1;
        return HttpResponse::ServiceUnavailable().finish();
    }
    let header =
        request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut notice = body.into_inner();
    notice["claims"] = claims(header.trim_start_matches("Bearer ")).unwrap_or_default();
    world.notices.push(notice);
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

fn claims(token: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}
