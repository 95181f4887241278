//! auth-api, chat-api and the demo data, on databases of their own: made for one test, gone after it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use anyhow::{Context, Result};
use e2e::{Settings, Stack};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{cut_proxy::CutProxy, databases::Databases, ports::free_port, service::Service};

/// Encrypts the keys of databases that are dropped a minute later.
const KEY_ENCRYPTION_KEYS: &str = "chaos:Y2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MgISE=";

/// How a world differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Settings of auth-api.
    pub auth_api: Vec<(&'static str, String)>,
    /// Settings of every chat-api.
    pub chat_api: Vec<(&'static str, String)>,
}

/// Everything that runs for one test.
pub struct World {
    pub auth: Service,
    pub chat: Service,
    /// Between auth-api and PostgreSQL.
    pub postgres: CutProxy,
    /// Between every chat-api and MongoDB.
    pub mongodb: CutProxy,
    /// The same as seen from outside, with the demo people.
    pub stack: Stack,
    pub databases: Databases,
    options: Options,
    folder: PathBuf,
    chats: usize,
    _alone: OwnedMutexGuard<()>,
}

impl Options {
    /// With a setting of auth-api.
    #[must_use]
    pub fn auth_api(mut self, name: &'static str, value: &str) -> Self {
        self.auth_api.push((name, value.to_owned()));
        self
    }

    /// With a setting of every chat-api.
    #[must_use]
    pub fn chat_api(mut self, name: &'static str, value: &str) -> Self {
        self.chat_api.push((name, value.to_owned()));
        self
    }
}

impl World {
    /// Starts auth-api, puts the demo data in, and starts one chat-api. Worlds exist one after the other, so that a test does not
    /// measure another one's load.
    pub async fn start(options: Options) -> Result<Self> {
        let alone = Arc::clone(one_at_a_time()).lock_owned().await;
        let databases = Databases::create().await?;
        let folder = std::env::temp_dir().join(&databases.name);
        std::fs::create_dir_all(&folder)?;
        let postgres = CutProxy::to(databases.postgres_address()).await?;
        let mongodb = CutProxy::to(databases.mongodb_address()?).await?;
        let mut auth = auth_api(&databases, &folder, &postgres, &options)?;
        auth.run(&["migrate"]).await?;
        let demo = shell_lines(&auth.run(&["seed-demo"]).await?);
        auth.start().await?;
        let settings = settings(&demo, &auth, &databases)?;
        let mut stack = Stack::new(settings)?;
        let mut chat = chat_api(1, &stack, &databases, &folder, &mongodb, &options)?;
        chat.start().await?;
        stack.chat.peer = chat.peer.clone();
        stack.chat.admin = chat.admin.clone();
        Ok(Self { auth, chat, postgres, mongodb, stack, databases, options, folder, chats: 1, _alone: alone })
    }

    /// Starts another chat-api on the same database, with these settings besides.
    pub async fn another_chat_api(&mut self, settings: &[(&str, &str)]) -> Result<Service> {
        self.chats += 1;
        let mut chat =
            chat_api(self.chats, &self.stack, &self.databases, &self.folder, &self.mongodb, &self.options)?;
        for (name, value) in settings {
            chat.set(name, value);
        }
        chat.start().await?;
        Ok(chat)
    }

    /// Ends everything and drops the databases; a test that fails before leaves its databases and logs to be looked at.
    pub async fn end(mut self) -> Result<()> {
        for service in [&mut self.chat, &mut self.auth] {
            if service.pid().is_some() {
                service.stop().await?;
            }
        }
        self.databases.drop().await?;
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

fn one_at_a_time() -> &'static Arc<Mutex<()>> {
    static LOCK: OnceLock<Arc<Mutex<()>>> = OnceLock::new();
    LOCK.get_or_init(Arc::default)
}

fn auth_api(
    databases: &Databases,
    folder: &std::path::Path,
    postgres: &CutProxy,
    options: &Options,
) -> Result<Service> {
    let ports = (free_port()?, free_port()?);
    let url = format!("http://127.0.0.1:{}", ports.0);
    let (user, password) = databases.postgres_login();
    let settings = [
        ("PUBLIC_URL", url.as_str()),
        ("AUTH_API_ISSUER", &url),
        ("POSTGRES_HOST", "127.0.0.1"),
        ("POSTGRES_PORT", &postgres.port().to_string()),
        ("POSTGRES_USER", &user),
        ("POSTGRES_PASSWORD", &password),
        ("POSTGRES_DB", &databases.name),
        ("KEY_ENCRYPTION_KEYS", KEY_ENCRYPTION_KEYS),
    ];
    let mut service = Service::new("auth-api", "auth-api", folder, ports, &settings)?;
    for (name, value) in &options.auth_api {
        service.set(name, value);
    }
    Ok(service)
}

fn chat_api(
    number: usize,
    stack: &Stack,
    databases: &Databases,
    folder: &std::path::Path,
    mongodb: &CutProxy,
    options: &Options,
) -> Result<Service> {
    let ports = (free_port()?, free_port()?);
    let auth = stack.auth.peer.base();
    let client = &stack.settings.chat_api_service;
    let settings = [
        ("PUBLIC_URL", format!("http://127.0.0.1:{}", ports.0)),
        ("AUTH_API_ISSUER", auth.to_owned()),
        ("AUTH_API_URL", auth.to_owned()),
        ("AUTH_API_JWKS_URL", format!("{auth}/.well-known/jwks.json")),
        ("JWT_AUDIENCE", "chat-api".to_owned()),
        ("CLIENT_ID", client.client_id.clone()),
        ("CLIENT_SECRET", client.client_secret.clone()),
        ("MONGODB_URI", databases.mongodb_uri_through(mongodb.port())?),
        ("MONGODB_DATABASE", databases.name.clone()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut service = Service::new("chat-api", &format!("chat-api-{number}"), folder, ports, &settings)?;
    for (name, value) in &options.chat_api {
        service.set(name, value);
    }
    Ok(service)
}

fn settings(demo: &HashMap<String, String>, auth: &Service, databases: &Databases) -> Result<Settings> {
    let lookup = |name: &str| match name {
        "AUTH_API_URL" => Some(auth.peer.base().to_owned()),
        "AUTH_API_ADMIN_URL" => Some(auth.admin.base().to_owned()),
        // Known once it is started; the peers of the stack are set then.
        "CHAT_API_URL" | "CHAT_API_ADMIN_URL" => Some("http://127.0.0.1:1".to_owned()),
        "MONGODB_URI" => Some(databases.mongodb_uri.clone()),
        "MONGODB_DATABASE" => Some(databases.name.clone()),
        _ => demo.get(name).cloned(),
    };
    Settings::read(lookup).context("auth-api seed-demo did not print it")
}

/// The `NAME=value` lines that `seed-demo` prints for a shell.
fn shell_lines(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            let plain = value.trim().trim_matches('\'').replace(r"'\''", "'").replace('\\', "");
            (name.trim_start_matches("export ").to_owned(), plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::shell_lines;

    #[test]
    fn quoted_lines_are_read_as_a_shell_does() {
        let lines = shell_lines("A=1\nB='two words!'\nC=Pass123\\!x\n\n# comment\n");
        let read = |name: &str| lines.get(name).map(String::as_str);
        assert_eq!((read("A"), read("B"), read("C")), (Some("1"), Some("two words!"), Some("Pass123!x")));
    }
}
