//! Real processes of chat-api, as many as a test wants, on one group and one database.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use mongodb::bson::Document;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AuthApi, Client, eventually, mongodb_uri};

const PERMISSIONS: [&str; 3] = ["groups:read", "messages:read", "messages:send"];

/// A group on a database of its own, and what a replica needs to serve it.
pub(crate) struct World {
    pub(crate) auth_api: Arc<AuthApi>,
    pub(crate) database: String,
    pub(crate) org_id: Uuid,
    pub(crate) group_id: Uuid,
    pub(crate) members: Vec<Uuid>,
}

/// A process of chat-api.
pub(crate) struct Replica {
    pub(crate) process: Child,
    pub(crate) client: Client,
    pub(crate) admin: Client,
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl World {
    pub(crate) fn new(members: usize) -> Self {
        let auth_api = AuthApi::start();
        let org_id = Uuid::now_v7();
        let members: Vec<Uuid> = (0..members).map(|_| Uuid::now_v7()).collect();
        let group_id = auth_api.create_group(org_id, &members);
        Self {
            auth_api,
            database: format!("chat_test_{}", Uuid::now_v7().simple()),
            org_id,
            group_id,
            members,
        }
    }

    /// Starts a process and waits until it is ready.
    pub(crate) async fn replica(&self) -> Replica {
        let mut process = Command::new(env!("CARGO_BIN_EXE_chat-api"))
            .env_clear()
            .envs([
                ("PORT", "0".to_owned()),
                ("ADMIN_PORT", "0".to_owned()),
                ("AUTH_API_ISSUER", self.auth_api.url().to_owned()),
                ("CLIENT_SECRET", "secret".to_owned()),
                ("MONGODB_URI", mongodb_uri()),
                ("MONGODB_DATABASE", self.database.clone()),
                ("RUST_LOG", "error,chat_api::app=info".to_owned()),
                ("LOG_FORMAT", "json".to_owned()),
            ])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (port, admin_port) = ports(process.stdout.take().unwrap()).await;
        let client = |port| Client::new(format!("http://127.0.0.1:{port}"));
        let replica = Replica { process, client: client(port), admin: client(admin_port) };
        eventually("the replica is ready", Duration::from_secs(20), async || {
            let ready = replica.admin.try_request(Method::GET, "/readyz", None, None).await;
            ready.is_ok_and(|answer| answer.status == StatusCode::OK)
        })
        .await;
        replica
    }

    pub(crate) fn token(&self, member: usize) -> String {
        self.auth_api.issuer.user(self.members[member], self.org_id).permissions(&PERMISSIONS).sign()
    }

    pub(crate) fn path(&self) -> String {
        format!("/api/chat/groups/{}/messages", self.group_id)
    }

    /// The whole history, through the API of one replica.
    pub(crate) async fn history(&self, replica: &Replica) -> Vec<Value> {
        let (token, mut messages) = (self.token(0), Vec::new());
        loop {
            let query = format!("?after_seq={}&limit=200", messages.len());
            let page = replica.client.list_messages(&token, self.group_id, &query).await;
            messages.extend(page.body["messages"].as_array().unwrap_or_else(|| panic!("{page:?}")).clone());
            if page.body["has_more"] == json!(false) {
                assert_eq!(page.body["last_seq"], json!(messages.len()));
                return messages;
            }
        }
    }

    pub(crate) async fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        let client = mongodb::Client::with_uri_str(mongodb_uri()).await.unwrap();
        client.database(&self.database).collection(name)
    }
}

/// The two ports that a process says it serves on; what it writes after that is read and forgotten.
async fn ports(output: ChildStdout) -> (u16, u16) {
    let mut lines = BufReader::new(output).lines();
    let reading = tokio::task::spawn_blocking(move || {
        let serving = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["message"] == "serving")
            .expect("a process that serves");
        std::thread::spawn(move || lines.for_each(drop));
        let port = |name: &str| serving[name].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
        (port("port"), port("admin_port"))
    });
    reading.await.unwrap()
}
