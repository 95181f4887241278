//! Who gets through each guard.

use actix_web::{
    App, HttpResponse,
    http::{Method, StatusCode, header::HeaderMap},
    middleware::from_fn,
    test::TestRequest,
    web::{self, Data},
};
use common_auth::{
    AuthContext,
    extract::{
        CurrentUser, RequireAllPermissions, RequireAnyPermission, RequireAnyRole, RequirePermission,
        RequirePermissionOrScope, RequireRole, RequireScope, Right, get_auth_context, get_current_user,
        require_permission,
    },
    problem::request_id,
};
use serde_json::{Value, json};

use crate::helpers::{ALICE, World};

struct GroupsRead;
impl Right for GroupsRead {
    const NAME: &'static str = "groups:read";
}
struct MessagesSend;
impl Right for MessagesSend {
    const NAME: &'static str = "messages:send";
}
struct Member;
impl Right for Member {
    const NAME: &'static str = "member";
}
struct Admin;
impl Right for Admin {
    const NAME: &'static str = "admin";
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn ok<G>(_: G) -> HttpResponse {
    HttpResponse::Ok().json(json!({}))
}

async fn by_functions(request: actix_web::HttpRequest) -> Result<HttpResponse, common_auth::AuthError> {
    let auth = get_auth_context(&request).await?;
    require_permission(&auth, "groups:read")?;
    let user = get_current_user(&request).await?;
    Ok(HttpResponse::Ok().json(json!({ "user_id": user.user_id })))
}

pub(crate) async fn send(world: &World, request: TestRequest) -> Reply {
    let routes = |config: &mut web::ServiceConfig| {
        config
            .route("/any", web::get().to(ok::<AuthContext>))
            .route("/user", web::get().to(ok::<CurrentUser>))
            .route("/permission", web::get().to(ok::<RequirePermission<GroupsRead>>))
            .route("/any-permission", web::get().to(ok::<RequireAnyPermission<(GroupsRead, MessagesSend)>>))
            .route("/all-permissions", web::get().to(ok::<RequireAllPermissions<(GroupsRead, MessagesSend)>>))
            .route("/role", web::get().to(ok::<RequireRole<Admin>>))
            .route("/any-role", web::get().to(ok::<RequireAnyRole<(Admin, Member)>>))
            .route("/scope", web::get().to(ok::<RequireScope<GroupsRead>>))
            .route("/either", web::get().to(ok::<RequirePermissionOrScope<GroupsRead>>))
            .route("/functions", web::get().to(by_functions));
    };
    let app =
        App::new().app_data(Data::new(world.authenticator())).wrap(from_fn(request_id)).configure(routes);
    let app = actix_web::test::init_service(app).await;
    let response = actix_web::test::call_service(&app, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = actix_web::test::read_body(response).await;
    Reply { status, headers, body: serde_json::from_slice(&body).unwrap() }
}

pub(crate) fn get(path: &str) -> TestRequest {
    TestRequest::with_uri(path).method(Method::GET)
}

pub(crate) fn bearer(path: &str, token: &str) -> TestRequest {
    get(path).insert_header(("Authorization", format!("Bearer {token}")))
}

async fn status(world: &World, path: &str, token: &str) -> u16 {
    send(world, bearer(path, token)).await.status.as_u16()
}

#[actix_web::test]
async fn each_guard_lets_the_right_users_through() {
    let world = World::new().await;
    let with = |permissions: &[&str]| world.alice().permissions(permissions).sign();
    let (nothing, read, both) = (with(&[]), with(&["groups:read"]), with(&["messages:send", "groups:read"]));
    let admin = world.alice().claim("roles", json!(["guest", "member", "admin"])).sign();
    let guest = world.alice().claim("roles", json!(["guest"])).sign();
    for (path, allowed, refused) in [
        ("/permission", vec![&read, &both], vec![&nothing, &admin]),
        ("/any-permission", vec![&read, &both], vec![&nothing, &admin]),
        ("/all-permissions", vec![&both], vec![&nothing, &read, &admin]),
        ("/role", vec![&admin], vec![&nothing, &both, &guest]),
        ("/any-role", vec![&admin, &nothing], vec![&guest]),
        ("/either", vec![&read], vec![&nothing]),
        ("/functions", vec![&read], vec![&nothing]),
        ("/any", vec![&nothing], vec![]),
        ("/user", vec![&nothing], vec![]),
        ("/scope", vec![], vec![&both, &admin]),
    ] {
        for token in allowed {
            // The first time in full, then from the cache.
            assert_eq!(status(&world, path, token).await, 200, "{path}");
            assert_eq!(status(&world, path, token).await, 200, "{path}");
        }
        for token in refused {
            assert_eq!(status(&world, path, token).await, 403, "{path}");
            assert_eq!(status(&world, path, token).await, 403, "{path}");
        }
    }
}

#[actix_web::test]
async fn each_guard_lets_the_right_services_through() {
    let world = World::new().await;
    let reader = world.issuer.service("relay", "messages:send groups:read").sign();
    let other = world.issuer.service("relay", "groups:rea groups:readx Groups:read").sign();
    // Permissions and roles are a user's, whatever a service's token says.
    let pretender =
        world.issuer.service("relay", "").claim("permissions", json!(["groups:read", "messages:send"]));
    let pretender = pretender.claim("roles", json!(["admin", "member"])).sign();
    for path in ["/scope", "/either", "/any"] {
        assert_eq!(status(&world, path, &reader).await, 200, "{path}");
    }
    for path in
        ["/permission", "/any-permission", "/all-permissions", "/role", "/any-role", "/user", "/functions"]
    {
        assert_eq!(status(&world, path, &reader).await, 403, "{path}");
        assert_eq!(status(&world, path, &pretender).await, 403, "{path}");
    }
    for path in ["/scope", "/either"] {
        assert_eq!(status(&world, path, &other).await, 403, "{path}");
        assert_eq!(status(&world, path, &pretender).await, 403, "{path}");
    }
}

#[actix_web::test]
async fn a_users_scope_is_no_services_scope() {
    let world = World::new().await;
    let token = world.alice().claim("scope", json!("groups:read")).sign();
    assert_eq!(status(&world, "/scope", &token).await, 403);
    assert_eq!(status(&world, "/either", &token).await, 403);
}

#[actix_web::test]
async fn an_application_without_an_authenticator_lets_nobody_in() {
    let app = App::new().route("/any", web::get().to(ok::<AuthContext>));
    let app = actix_web::test::init_service(app).await;
    let world = World::new().await;
    let request = bearer("/any", &world.alice().sign()).to_request();
    assert_eq!(actix_web::test::call_service(&app, request).await.status(), 503);
}

#[actix_web::test]
async fn one_request_looks_into_the_cache_once() {
    let world = World::new().await;
    let token = world.alice().sign();
    let metrics = &world.metrics;
    send(&world, bearer("/any", &token)).await;
    assert_eq!((metrics.token_cache_hits.get(), metrics.token_cache_misses.get()), (0, 1));
    send(&world, bearer("/any", &token)).await;
    assert_eq!((metrics.token_cache_hits.get(), metrics.token_cache_misses.get()), (1, 1));
    assert_eq!(metrics.validation_duration.count(), 2);
}

#[actix_web::test]
async fn a_known_token_with_more_behind_it_is_none() {
    let world = World::new().await;
    let token = world.alice().sign();
    assert_eq!(status(&world, "/any", &token).await, 200);
    for more in [" ", " x", "\t", "\u{e9}", "=x", ","] {
        assert_eq!(status(&world, "/any", &format!("{token}{more}")).await, 400, "{more:?}");
        assert_eq!(status(&world, "/any", &format!(" {token}{more}")).await, 400, "{more:?}");
    }
    assert_eq!(status(&world, "/any", &format!("{token}=")).await, 401);
    assert_eq!(world.metrics.token_cache_misses.get(), 2, "what is no b64token is not verified");
}

#[actix_web::test]
async fn checks_of_rights_are_counted() {
    let world = World::new().await;
    let token = world.alice().permissions(&["groups:read"]).sign();
    send(&world, bearer("/permission", &token)).await;
    send(&world, bearer("/role", &token)).await;
    send(&world, bearer("/any", &token)).await;
    let metrics = &world.metrics;
    assert_eq!((metrics.permission_checks.get(), metrics.permission_denied.get()), (2, 1));
    send(&world, bearer("/user", &token)).await;
    send(&world, bearer("/user", &world.issuer.service("relay", "x").sign())).await;
    assert_eq!((metrics.permission_checks.get(), metrics.permission_denied.get()), (4, 2));
}

#[actix_web::test]
async fn a_guard_is_a_context_too() {
    async fn who(guard: RequirePermission<GroupsRead>, also: AuthContext) -> HttpResponse {
        let user = guard.user().unwrap();
        assert!(guard.has_permission("groups:read") && !guard.has_permission("messages:send"));
        assert!(guard.has_role("member") && !guard.has_role("owner") && !guard.has_scope("openid"));
        assert!(guard.service().is_none());
        assert_eq!(guard.token().jti, also.token().jti);
        HttpResponse::Ok().json(json!({ "user_id": user.user_id }))
    }
    let world = World::new().await;
    let app = App::new().app_data(Data::new(world.authenticator())).route("/", web::get().to(who));
    let app = actix_web::test::init_service(app).await;
    let token = world.alice().permissions(&["groups:read"]).sign();
    let response = actix_web::test::call_service(&app, bearer("/", &token).to_request()).await;
    let body: Value = actix_web::test::read_body_json(response).await;
    assert_eq!(body, json!({ "user_id": ALICE }));
}

#[actix_web::test]
async fn a_context_can_come_from_elsewhere() {
    let world = World::new().await;
    let verified = world.accept(&world.alice().permissions(&["groups:read"]).sign()).await;
    let auth = AuthContext::new(verified);
    assert!(require_permission(&auth, "groups:read").is_ok());
    assert!(require_permission(&auth, "messages:send").is_err());
}
