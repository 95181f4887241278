//! Client secrets from a folder: added at the start, never removed.

use std::{fs, path::PathBuf, sync::Arc};

use serde_json::json;
use uuid::Uuid;

use crate::helpers::{
    app::TestApp,
    database::TestDatabase,
    fixtures::ClientCredentials,
    process::{self, base_settings},
};

const ONE: &str = "aas_first-mounted-secret-0123456789abcdefghijklm";
const TWO: &str = "aas_second-mounted-secret-0123456789abcdefghijkl";
const THREE: &str = "aas_third-mounted-secret-0123456789abcdefghijklm";

/// A folder as Kubernetes mounts it, deleted with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(secrets: &[(&str, &str)]) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("client-secrets-{}", Uuid::now_v7())));
        fs::create_dir_all(folder.0.join("..2026_11_20")).unwrap();
        for (client_id, secret) in secrets {
            fs::create_dir_all(folder.0.join(client_id)).unwrap();
            fs::write(folder.0.join(client_id).join("client_id"), client_id).unwrap();
            fs::write(folder.0.join(client_id).join("client_secret"), secret).unwrap();
        }
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn status(app: &TestApp, client: &ClientCredentials) -> u16 {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client.id.as_str()),
        ("client_secret", client.secret.as_str()),
    ];
    app.post("/oauth/token").form(&form).send().await.unwrap().status().as_u16()
}

fn client(id: &str, secret: &str) -> ClientCredentials {
    ClientCredentials { id: id.to_owned(), secret: secret.to_owned() }
}

/// How many secrets a client has.
async fn secrets(database: &TestDatabase, client_id: &str) -> i64 {
    database.number(&format!("SELECT count(*) FROM client_secrets WHERE client_id = '{client_id}'")).await
}

#[tokio::test]
async fn an_absent_secret_is_added_as_the_second_live_one() {
    let folder = Folder::new(&[("chat-api-service", &format!("{ONE}\n"))]);
    let app = TestApp::with().set("CLIENT_SECRETS_DIR", folder.0.display()).spawn().await;
    let seeded = app.demo_client("chat-api-service").await;
    assert_eq!(status(&app, &client("chat-api-service", ONE)).await, 200);
    assert_eq!(status(&app, &seeded).await, 200, "nothing is removed");
    assert_eq!(status(&app, &client("chat-api-service", &format!("{ONE}\n"))).await, 401);
    assert_eq!(secrets(&app.database, "chat-api-service").await, 2);
}

#[tokio::test]
async fn starting_again_or_together_adds_nothing() {
    let folder = Folder::new(&[("chat-api-service", ONE), ("oauth-relay-service", TWO)]);
    let database = Arc::new(TestDatabase::create().await);
    let replica = || TestApp::with().on(&database).set("CLIENT_SECRETS_DIR", folder.0.display()).spawn();
    let (first, _second) = tokio::join!(replica(), replica());
    let before = secrets(&database, "chat-api-service").await;
    first.stop().await;
    let third = replica().await;
    assert_eq!(secrets(&database, "chat-api-service").await, before);
    assert_eq!(before, 2);
    assert_eq!(status(&third, &client("oauth-relay-service", TWO)).await, 200);
}

/// The services of the platform need no demo data.
#[tokio::test]
async fn the_platforms_own_services_are_registered_and_strangers_are_not() {
    let folder = Folder::new(&[("chat-api-service", ONE), ("indexer-worker", TWO), ("stranger", THREE)]);
    let database = Arc::new(TestDatabase::empty().await);
    let app = TestApp::with().on(&database).set("CLIENT_SECRETS_DIR", folder.0.display()).spawn().await;
    assert_eq!(status(&app, &client("chat-api-service", ONE)).await, 200);
    assert_eq!(status(&app, &client("indexer-worker", TWO)).await, 401);
    assert_eq!(status(&app, &client("stranger", THREE)).await, 401);

    let mut settings = base_settings();
    settings.extend(database.settings(None));
    settings.push(("CLIENT_SECRETS_DIR", folder.0.display().to_string()));
    let seeding = process::run(&["seed-demo"], &settings).await;
    assert_eq!(seeding.code, Some(0), "{}", seeding.stderr);
    assert!(
        seeding.stdout.contains(&format!("CHAT_API_SERVICE_CLIENT_SECRET='{ONE}'")),
        "{}",
        seeding.stdout
    );
    assert!(seeding.stdout.contains(&format!("INDEXER_WORKER_CLIENT_SECRET='{TWO}'")), "{}", seeding.stdout);
    assert_eq!(secrets(&database, "indexer-worker").await, 1);
    assert_eq!(secrets(&database, "chat-api-service").await, 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named_and_its_secrets_are_not() {
    let empty = Folder::new(&[("chat-api-service", "\n")]);
    let odd = Folder::new(&[(Uuid::nil().to_string().as_str(), "hunter2")]);
    let weak = Folder::new(&[("chat-api-service", "hunter2 is 31 characters long..")]);
    for (folder, reason) in [
        ("/nowhere/at/all".to_owned(), "no readable folder"),
        (empty.0.display().to_string(), "chat-api-service/client_secret is empty"),
        (odd.0.display().to_string(), "is no client id"),
        (weak.0.display().to_string(), "chat-api-service/client_secret is shorter than 32 characters"),
    ] {
        let mut settings = base_settings();
        settings.push(("POSTGRES_PASSWORD", "p".to_owned()));
        settings.push(("CLIENT_SECRETS_DIR", folder));
        let outcome = process::run(&["check-config"], &settings).await;
        assert_eq!(outcome.code, Some(64), "{}", json!(outcome.stderr));
        let sentence = outcome.stderr.trim_end();
        assert!(sentence.starts_with("CLIENT_SECRETS_DIR is not usable: "), "{sentence}");
        assert!(sentence.contains(reason) && !sentence.contains("hunter2"), "{sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
}
