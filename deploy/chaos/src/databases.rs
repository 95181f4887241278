//! Databases made for one world and dropped after it, on the servers that `TEST_POSTGRES_URL` and `TEST_MONGODB_URI` name.

use anyhow::{Context, Result};
use tokio_postgres::NoTls;
use url::Url;
use uuid::Uuid;

/// Where the databases of one world are.
#[derive(Clone, Debug)]
pub struct Databases {
    /// The server, with a role that may create databases.
    postgres: Url,
    /// The name of the PostgreSQL database and of the MongoDB database.
    pub name: String,
    pub mongodb_uri: String,
    /// PostgreSQL databases of further services.
    others: Vec<String>,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Databases {
    /// Makes both.
    pub async fn create() -> Result<Self> {
        let read = |name: &str| {
            std::env::var(name).with_context(|| {
                format!("{name} is not set: run `make chaos`, or `deploy/local/databases with <command>`")
            })
        };
        let postgres = Url::parse(&read("TEST_POSTGRES_URL")?).context("TEST_POSTGRES_URL is no URL")?;
        let name = format!("chaos_{}", Uuid::now_v7().simple());
        let databases = Self { postgres, name, mongodb_uri: read("TEST_MONGODB_URI")?, others: Vec::new() };
        databases.on_server(&format!("CREATE DATABASE {}", databases.name)).await?;
        Ok(databases)
    }

    /// Makes a PostgreSQL database for one more service, and returns its name.
    pub async fn create_for(&mut self, service: &str) -> Result<String> {
        let name = format!("{}_{}", self.name, service.replace('-', "_"));
        self.on_server(&format!("CREATE DATABASE {name}")).await?;
        self.others.push(name.clone());
        Ok(name)
    }

    /// Drops all of them.
    pub async fn drop(&self) -> Result<()> {
        for name in self.others.iter().chain([&self.name]) {
            self.on_server(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        }
        mongodb::Client::with_uri_str(&self.mongodb_uri).await?.database(&self.name).drop().await?;
        Ok(())
    }

    /// The PostgreSQL server.
    pub fn postgres_address(&self) -> Address {
        Address {
            host: self.postgres.host_str().unwrap_or("127.0.0.1").to_owned(),
            port: self.postgres.port().unwrap_or(5432),
        }
    }

    /// The role and its password.
    pub fn postgres_login(&self) -> (String, String) {
        let decode = |text: &str| {
            url::form_urlencoded::parse(format!("x={text}").as_bytes())
                .next()
                .map_or_else(|| text.to_owned(), |(_, value)| value.into_owned())
        };
        (decode(self.postgres.username()), decode(self.postgres.password().unwrap_or_default()))
    }

    /// The MongoDB server.
    pub fn mongodb_address(&self) -> Result<Address> {
        let url = Url::parse(&self.mongodb_uri).context("TEST_MONGODB_URI is no URL of one server")?;
        Ok(Address {
            host: url.host_str().unwrap_or("127.0.0.1").to_owned(),
            port: url.port().unwrap_or(27017),
        })
    }

    /// The MongoDB URI of the same server behind a proxy on this port.
    pub fn mongodb_uri_through(&self, port: u16) -> Result<String> {
        let mut url = Url::parse(&self.mongodb_uri)?;
        url.set_host(Some("127.0.0.1"))?;
        url.set_port(Some(port)).map_err(|()| anyhow::anyhow!("the URI takes no port"))?;
        if !url.query_pairs().any(|(name, _)| name == "directConnection") {
            // Else the driver asks a replica set for its members and goes past the proxy.
            url.query_pairs_mut().append_pair("directConnection", "true");
        }
        Ok(url.to_string())
    }

    /// A connection string of one of the PostgreSQL databases.
    pub fn postgres_url(&self, name: &str) -> String {
        let mut url = self.postgres.clone();
        url.set_path(name);
        url.into()
    }

    /// Runs a statement in the world's own PostgreSQL database.
    pub async fn execute(&self, statement: &str) -> Result<()> {
        let mut own = self.postgres.clone();
        own.set_path(&self.name);
        run(own.as_str(), statement).await
    }

    async fn on_server(&self, statement: &str) -> Result<()> {
        run(self.postgres.as_str(), statement).await
    }
}

async fn run(url: &str, statement: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("TEST_POSTGRES_URL")?;
    let driver = tokio::spawn(connection);
    let outcome = client.batch_execute(statement).await;
    drop(client);
    // The connection ends with its client; how is of no interest.
    let _ = driver.await;
    outcome.with_context(|| format!("PostgreSQL refused: {statement}"))
}
