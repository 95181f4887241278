//! What chat-api needs of auth-api, on a port of its own, with a count of every call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common_auth::testing::TestIssuer;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

const CREATED_AT: &str = "2026-01-02T03:04:05.678Z";

/// The simulated auth-api.
pub(crate) struct AuthApi {
    pub(crate) issuer: TestIssuer,
    url: String,
    world: Mutex<World>,
    /// The newest cursor; long polls wait for it to move.
    head: watch::Sender<u64>,
}

#[derive(Default)]
struct World {
    groups: Vec<Value>,
    members: HashMap<Uuid, Vec<(Uuid, String)>>,
    changes: Vec<Value>,
    revocations: Vec<Value>,
    calls: HashMap<String, usize>,
    /// Cursors up to this one answer 410.
    forgotten: u64,
    /// Groups per page of the directory.
    page: usize,
    /// A group that answers 500 where it is asked for by itself.
    broken: Option<Uuid>,
    /// What reading a group by itself takes.
    slowness: Duration,
    /// Nobody is kept waiting any more.
    is_closing: bool,
}

#[derive(Deserialize)]
struct FeedQuery {
    after: Option<String>,
    wait: Option<u64>,
}

#[derive(Deserialize)]
struct DirectoryQuery {
    org_id: Uuid,
    page: Option<usize>,
}

impl AuthApi {
    /// Starts it, knowing nobody.
    pub(crate) fn start() -> Arc<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let auth_api = Arc::new(Self {
            issuer: TestIssuer::new(url.clone()),
            url,
            world: Mutex::new(World { page: 100, ..World::default() }),
            head: watch::Sender::new(1),
        });
        let data = web::Data::from(Arc::clone(&auth_api));
        let server = HttpServer::new(move || App::new().app_data(data.clone()).configure(routes))
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

    /// `host:port`, for a proxy.
    pub(crate) fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// How often a path was called.
    pub(crate) fn calls(&self, path: &str) -> usize {
        self.world().calls.get(path).copied().unwrap_or_default()
    }

    /// Every call so far but the long polls, which go on by themselves.
    pub(crate) fn calls_but_polls(&self) -> usize {
        let is_poll = |path: &str| ["/api/auth/changes", "/oauth/revocations"].contains(&path);
        self.world().calls.iter().filter(|(path, _)| !is_poll(path)).map(|(_, count)| count).sum()
    }

    /// How many groups a page of the directory holds.
    pub(crate) fn set_page(&self, page: usize) {
        self.world().page = page;
    }

    /// Creates a group with these members.
    pub(crate) fn create_group(&self, org_id: Uuid, members: &[Uuid]) -> Uuid {
        let id = Uuid::now_v7();
        let group = json!({
            "id": id, "org_id": org_id, "name": format!("Group {id}"), "description": "For tests",
            "created_by": members.first(), "created_at": CREATED_AT, "updated_at": CREATED_AT,
        });
        {
            let mut world = self.world();
            world.groups.push(group);
            world.members.insert(id, members.iter().map(|user| (*user, "member".to_owned())).collect());
        }
        self.note("group.created", org_id, Some(id), None);
        id
    }

    /// Renames a group.
    pub(crate) fn rename_group(&self, org_id: Uuid, group_id: Uuid, name: &str) {
        for group in &mut self.world().groups {
            if group["id"] == json!(group_id) {
                group["name"] = json!(name);
            }
        }
        self.note("group.updated", org_id, Some(group_id), None);
    }

    /// Fails from now on when this group is asked for by itself.
    pub(crate) fn break_group(&self, group_id: Uuid) {
        self.world().broken = Some(group_id);
    }

    /// Takes so long from now on when a group is asked for by itself.
    pub(crate) fn slow_down(&self, slowness: Duration) {
        self.world().slowness = slowness;
    }

    pub(crate) fn delete_group(&self, org_id: Uuid, group_id: Uuid) {
        self.world().groups.retain(|group| group["id"] != json!(group_id));
        self.note("group.deleted", org_id, Some(group_id), None);
    }

    pub(crate) fn add_member(&self, org_id: Uuid, group_id: Uuid, user_id: Uuid) {
        self.world().members.entry(group_id).or_default().push((user_id, "member".to_owned()));
        self.note("member.added", org_id, Some(group_id), Some(user_id));
    }

    pub(crate) fn remove_member(&self, org_id: Uuid, group_id: Uuid, user_id: Uuid) {
        self.world().members.entry(group_id).or_default().retain(|(member, _)| *member != user_id);
        self.note("member.removed", org_id, Some(group_id), Some(user_id));
    }

    /// Takes a user out of the organization and of all its groups.
    pub(crate) fn remove_org_member(&self, org_id: Uuid, user_id: Uuid) {
        for members in self.world().members.values_mut() {
            members.retain(|(member, _)| *member != user_id);
        }
        self.note("org_member.removed", org_id, None, Some(user_id));
    }

    /// Answers every poll at once from now on, as an auth-api does that is shutting down.
    pub(crate) fn close(&self) {
        self.world().is_closing = true;
        self.head.send_modify(|_| {});
    }

    /// Forgets the feed's past: readers with an older cursor have to load anew.
    pub(crate) fn forget_changes(&self) {
        let mut world = self.world();
        world.forgotten = *self.head.borrow();
        world.changes.clear();
    }

    /// Changes a group without a word in the feed, as a change that fell into a gap does.
    pub(crate) fn remove_member_silently(&self, group_id: Uuid, user_id: Uuid) {
        self.world().members.entry(group_id).or_default().retain(|(member, _)| *member != user_id);
        self.head.send_modify(|head| *head += 1);
    }

    /// Revokes every token of a user that was issued before now.
    pub(crate) fn revoke_subject(&self, user_id: Uuid) {
        let cursor = *self.head.borrow() + 1;
        let in_an_hour = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
        let in_a_second = time::OffsetDateTime::now_utc() + time::Duration::seconds(1);
        let format =
            |at: time::OffsetDateTime| at.format(&time::format_description::well_known::Rfc3339).unwrap();
        self.world().revocations.push(json!({
            "cursor": cursor.to_string(), "at": CREATED_AT, "kind": "subject", "value": user_id,
            "issued_before": format(in_a_second), "expires_at": format(in_an_hour),
        }));
        self.head.send_replace(cursor);
    }

    fn note(&self, kind: &str, org_id: Uuid, group_id: Option<Uuid>, user_id: Option<Uuid>) {
        let cursor = *self.head.borrow() + 1;
        self.world().changes.push(json!({
            "cursor": cursor.to_string(), "at": CREATED_AT, "type": kind, "org_id": org_id,
            "group_id": group_id, "user_id": user_id, "role": user_id.map(|_| "member"),
        }));
        self.head.send_replace(cursor);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn group(&self, group_id: Uuid) -> Option<Value> {
        self.world().groups.iter().find(|group| group["id"] == json!(group_id)).cloned()
    }

    fn members(&self, group_id: Uuid) -> Value {
        let world = self.world();
        let members = world.members.get(&group_id).cloned().unwrap_or_default();
        members
            .iter()
            .map(|(user_id, role)| {
                json!({ "user_id": user_id, "role": role, "username": "tester", "email": "t@example.com", "joined_at": CREATED_AT })
            })
            .collect()
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/.well-known/jwks.json", web::get().to(jwks))
        .route("/oauth/token", web::post().to(token))
        .route("/oauth/introspect", web::post().to(introspect))
        .route("/oauth/revocations", web::get().to(revocations))
        .route("/api/auth/directory", web::get().to(directory))
        .route("/api/auth/changes", web::get().to(changes))
        .route("/api/auth/groups/{id}", web::get().to(group))
        .route("/api/auth/groups/{id}/members", web::get().to(members));
}

/// Counts the call, and says whether it comes with the service's token.
fn enter(request: &HttpRequest, auth_api: &AuthApi, scope: Option<&str>) -> bool {
    let path = request.match_pattern().unwrap_or_default();
    *auth_api.world().calls.entry(path).or_default() += 1;
    let Some(scope) = scope else { return true };
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
    let claims = claims(header.trim_start_matches("Bearer ")).unwrap_or_default();
    let has_scope = claims["scope"].as_str().is_some_and(|scopes| scopes.split(' ').any(|it| it == scope));
    has_scope && claims["aud"] == json!(["auth-api"])
}

fn claims(token: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}

async fn jwks(request: HttpRequest, auth_api: web::Data<AuthApi>) -> HttpResponse {
    enter(&request, &auth_api, None);
    HttpResponse::Ok().json(auth_api.issuer.jwks())
}

async fn token(
    request: HttpRequest,
    auth_api: web::Data<AuthApi>,
    form: web::Form<HashMap<String, String>>,
) -> HttpResponse {
    enter(&request, &auth_api, None);
    let scope = form.get("scope").map_or("", String::as_str);
    let token = auth_api.issuer.service("chat-api-service", scope).claim("aud", json!(["auth-api"])).sign();
    HttpResponse::Ok().json(json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": scope,
    }))
}

async fn introspect(
    request: HttpRequest,
    auth_api: web::Data<AuthApi>,
    form: web::Form<HashMap<String, String>>,
) -> HttpResponse {
    if !enter(&request, &auth_api, Some("tokens:introspect")) {
        return HttpResponse::Unauthorized().finish();
    }
    let Some(mut claims) = form.get("token").and_then(|token| claims(token)) else {
        return HttpResponse::Ok().json(json!({ "active": false }));
    };
    let is_current = claims["exp"].as_i64().unwrap() > time::OffsetDateTime::now_utc().unix_timestamp();
    let is_ours = claims["iss"] == json!(auth_api.issuer.issuer());
    let is_revoked = auth_api.world().revocations.iter().any(|entry| entry["value"] == claims["sub"]);
    if is_current && is_ours && !is_revoked {
        claims["active"] = json!(true);
        HttpResponse::Ok().json(claims)
    } else {
        HttpResponse::Ok().json(json!({ "active": false }))
    }
}

async fn revocations(
    request: HttpRequest,
    auth_api: web::Data<AuthApi>,
    query: web::Query<FeedQuery>,
) -> HttpResponse {
    if !enter(&request, &auth_api, Some("revocations:read")) {
        return HttpResponse::Unauthorized().finish();
    }
    feed(&auth_api, &query, |world| &world.revocations, true).await
}

async fn changes(
    request: HttpRequest,
    auth_api: web::Data<AuthApi>,
    query: web::Query<FeedQuery>,
) -> HttpResponse {
    if !enter(&request, &auth_api, Some("groups:read")) {
        return HttpResponse::Unauthorized().finish();
    }
    feed(&auth_api, &query, |world| &world.changes, false).await
}

/// Entries after the cursor, waiting for one if there is none. Without a cursor: all, or none and where the feed stands.
async fn feed(
    auth_api: &AuthApi,
    query: &FeedQuery,
    entries: impl Fn(&World) -> &Vec<Value>,
    is_whole: bool,
) -> HttpResponse {
    let mut head = auth_api.head.subscribe();
    let after: Option<u64> = query.after.as_ref().map(|after| after.parse().unwrap());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(query.wait.unwrap_or(0));
    loop {
        let next = *head.borrow_and_update();
        let items: Vec<Value> = {
            let world = auth_api.world();
            if !is_whole && after.is_some_and(|after| after < world.forgotten) {
                return HttpResponse::Gone().finish();
            }
            let is_new = |entry: &&Value| {
                entry["cursor"].as_str().unwrap().parse::<u64>().unwrap() > after.unwrap_or_default()
            };
            if after.is_none() && !is_whole {
                Vec::new()
            } else {
                entries(&world).iter().filter(is_new).cloned().collect()
            }
        };
        let is_over = after.is_none() || !items.is_empty() || auth_api.world().is_closing;
        if is_over || tokio::time::timeout_at(deadline, head.changed()).await.is_err() {
            return HttpResponse::Ok().json(json!({ "items": items, "next": next.to_string() }));
        }
    }
}

async fn directory(
    request: HttpRequest,
    auth_api: web::Data<AuthApi>,
    query: web::Query<DirectoryQuery>,
) -> HttpResponse {
    if !enter(&request, &auth_api, Some("groups:read")) {
        return HttpResponse::Unauthorized().finish();
    }
    let cursor = query.page.is_none().then(|| auth_api.head.borrow().to_string());
    let (groups, size) = {
        let world = auth_api.world();
        let is_in = |group: &&Value| group["org_id"] == json!(query.org_id);
        (world.groups.iter().filter(is_in).cloned().collect::<Vec<_>>(), world.page)
    };
    let start = query.page.unwrap_or_default();
    let items: Vec<Value> = groups
        .iter()
        .skip(start)
        .take(size)
        .map(|group| {
            let mut group = group.clone();
            group["members"] = auth_api.members(Uuid::parse_str(group["id"].as_str().unwrap()).unwrap());
            group
        })
        .collect();
    let next = (start + size < groups.len()).then(|| (start + size).to_string());
    HttpResponse::Ok().json(json!({ "items": items, "next": next, "cursor": cursor }))
}

async fn group(request: HttpRequest, auth_api: web::Data<AuthApi>, id: web::Path<Uuid>) -> HttpResponse {
    if !enter(&request, &auth_api, Some("groups:read")) {
        return HttpResponse::Unauthorized().finish();
    }
    let slowness = auth_api.world().slowness;
    tokio::time::sleep(slowness).await;
    if auth_api.world().broken == Some(*id) {
        return HttpResponse::InternalServerError().finish();
    }
    match auth_api.group(*id) {
        Some(group) => HttpResponse::Ok().json(group),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn members(request: HttpRequest, auth_api: web::Data<AuthApi>, id: web::Path<Uuid>) -> HttpResponse {
    if !enter(&request, &auth_api, Some("groups:read")) {
        return HttpResponse::Unauthorized().finish();
    }
    match auth_api.group(*id) {
        Some(_) => HttpResponse::Ok().json(auth_api.members(*id)),
        None => HttpResponse::NotFound().finish(),
    }
}
