//! Webhooks: signed as the providers do, by hand and by themselves.

use std::{sync::Arc, time::Duration};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use simulator::{Settings, Simulator, Webhook};
use tokio::sync::Mutex;

use crate::helpers::World;

type Received = Arc<Mutex<Vec<(String, String, Value)>>>;

fn header<'a>(webhook: &'a Webhook, name: &str) -> &'a str {
    webhook.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap()
}

fn hmac(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[tokio::test]
async fn signatures_are_over_the_raw_body() {
    let world = World::start();
    let id = {
        let mut state = world.sim.world();
        let org = state.github.account_id("example-corp").unwrap();
        state.github.install(org, None, 0)
    };
    let created = world.sim.github_installation_webhook("created", id).unwrap();
    let secret = &world.sim.settings().github_app.webhook_secret;
    assert_eq!(header(&created, "x-hub-signature-256"), format!("sha256={}", hmac(secret, &[&created.body])));
    assert_eq!(header(&created, "x-github-event"), "installation");
    let body: Value = serde_json::from_slice(&created.body).unwrap();
    assert_eq!((body["action"].as_str(), body["installation"]["id"].as_u64()), (Some("created"), Some(id)));
    let other = world.sim.github_installation_webhook("created", id).unwrap();
    assert_ne!(header(&created, "x-github-delivery"), header(&other, "x-github-delivery"));

    let gone = world.sim.slack_revoked_webhook("T0EXAMPLE", 1_700_000_000, &["U0ALICE"], &[]);
    let (at, secret) =
        (header(&gone, "x-slack-request-timestamp"), &world.sim.settings().slack_signing_secret);
    let expected = format!("v0={}", hmac(secret, &[format!("v0:{at}:").as_bytes(), &gone.body]));
    assert_eq!(header(&gone, "x-slack-signature"), expected);
    let body: Value = serde_json::from_slice(&gone.body).unwrap();
    assert_eq!(body["event"]["tokens"]["oauth"][0], "U0ALICE");
    assert_eq!(body["event_time"], 1_700_000_000);
}

async fn receive(
    request: HttpRequest,
    body: String,
    received: web::Data<Mutex<Vec<(String, String, Value)>>>,
) -> HttpResponse {
    let event = request.headers().get("x-github-event").map(|value| value.to_str().unwrap().to_owned());
    let body: Value = serde_json::from_str(&body).unwrap();
    received.lock().await.push((request.path().to_owned(), event.unwrap_or_default(), body));
    HttpResponse::Ok().finish()
}

#[tokio::test]
async fn what_happens_is_told_by_itself() {
    let received: Received = Arc::default();
    let data = web::Data::from(Arc::clone(&received));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(receive)));
    let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).unwrap().run();
    let handle = server.handle();
    let serving = std::thread::spawn(|| actix_web::rt::System::new().block_on(server));
    let sim = Simulator::start(Settings { webhook_base: Some(base), ..Settings::default() }).unwrap();
    let id = {
        let mut state = sim.world();
        let org = state.github.account_id("example-corp").unwrap();
        state.github.install(org, None, 0)
    };
    assert!(sim.suspend_github_installation(id, true));
    assert!(sim.suspend_github_installation(id, false));
    assert!(sim.delete_github_installation(id));
    assert!(!sim.delete_github_installation(id));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while received.lock().await.len() < 3 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let actions: Vec<_> = received.lock().await.iter().map(|(_, _, body)| body["action"].clone()).collect();
    assert_eq!(actions, ["suspend", "unsuspend", "deleted"]);
    assert_eq!(received.lock().await[0].0, "/oauth/webhooks/github");
    handle.stop(false).await;
    serving.join().unwrap().unwrap();
}
