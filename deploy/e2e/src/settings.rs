//! Which stack is meant, and who lives on it: the variables of `.local/demo.env`.

use anyhow::{Context, Result};
use uuid::Uuid;

/// Base URLs, demo data and credentials.
#[derive(Clone, Debug)]
pub struct Settings {
    pub auth_api_url: String,
    pub auth_api_admin_url: String,
    pub chat_api_url: String,
    pub chat_api_admin_url: String,
    pub oauth_integrations_url: String,
    pub oauth_integrations_admin_url: String,
    pub oauth_relay_url: String,
    pub oauth_relay_admin_url: String,
    pub mongodb_uri: Option<String>,
    pub mongodb_database: String,
    pub org_id: Uuid,
    pub app_id: Uuid,
    pub group_id: Uuid,
    /// Admin of the demo organization.
    pub alice: Person,
    /// Member of the demo organization.
    pub bob: Person,
    /// Owner of another organization.
    pub carol: Person,
    pub carol_group_id: Uuid,
    pub chat_api_service: ClientCredentials,
    pub oauth_integrations_service: ClientCredentials,
    /// Bound to no organization in particular; its tokens are for auth-api, chat-api and others.
    pub mozaiks_runtime_service: ClientCredentials,
    /// Bound to the demo organization.
    pub indexer_worker: ClientCredentials,
    /// Bound to the demo organization, and without the right to read tokens.
    pub dashboard_api: ClientCredentials,
    /// Where the simulated GitHub is.
    pub sim_github_url: String,
    /// The application at GitHub of a program that uses oauth-relay.
    pub github_oauth_app: Option<ClientCredentials>,
}

/// Somebody who logs in.
#[derive(Clone, Debug)]
pub struct Person {
    pub user_id: Option<Uuid>,
    pub email: String,
    pub password: String,
}

/// A program that gets tokens.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    pub client_id: String,
    pub client_secret: String,
}

impl Settings {
    /// Reads the process environment.
    pub fn from_env() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables through `lookup`.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let optional = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str| {
            optional(name).with_context(|| {
                format!(
                    "{name} is not set: start the stack with `make up`, then run `set -a; . .local/demo.env`"
                )
            })
        };
        let id = |name: &str| {
            text(name).and_then(|value| {
                Uuid::parse_str(&value).with_context(|| format!("{name} is no UUID: {value}"))
            })
        };
        let url = |name: &str| text(name).map(|value| value.trim_end_matches('/').to_owned());
        let person = |name: &str| {
            Ok::<_, anyhow::Error>(Person {
                user_id: optional(&format!("{name}_ID")).map(|id| Uuid::parse_str(&id)).transpose()?,
                email: text(&format!("{name}_EMAIL"))?,
                password: text(&format!("{name}_PASSWORD"))?,
            })
        };
        // A part of a stack is a stack too: these are asked for only where they are used.
        let url_or = |name: &str, default: &str| url(name).unwrap_or_else(|_| default.to_owned());
        let client = |name: &str| {
            Ok::<_, anyhow::Error>(ClientCredentials {
                client_id: text(&format!("{name}_CLIENT_ID"))?,
                client_secret: text(&format!("{name}_CLIENT_SECRET"))?,
            })
        };
        Ok(Self {
            auth_api_url: url("AUTH_API_URL")?,
            auth_api_admin_url: url_or("AUTH_API_ADMIN_URL", "http://127.0.0.1:9000"),
            chat_api_url: url("CHAT_API_URL")?,
            chat_api_admin_url: url_or("CHAT_API_ADMIN_URL", "http://127.0.0.1:9001"),
            oauth_integrations_url: url_or("OAUTH_INTEGRATIONS_URL", "http://127.0.0.1:8010"),
            oauth_integrations_admin_url: url_or("OAUTH_INTEGRATIONS_ADMIN_URL", "http://127.0.0.1:9010"),
            oauth_relay_url: url_or("OAUTH_RELAY_URL", "http://127.0.0.1:8020"),
            oauth_relay_admin_url: url_or("OAUTH_RELAY_ADMIN_URL", "http://127.0.0.1:9020"),
            mongodb_uri: optional("MONGODB_URI"),
            mongodb_database: optional("MONGODB_DATABASE").unwrap_or_else(|| "chat_api".to_owned()),
            org_id: id("ORG_ID")?,
            app_id: id("APP_ID")?,
            group_id: id("GROUP_ID")?,
            alice: person("ALICE")?,
            bob: person("BOB")?,
            carol: person("CAROL")?,
            carol_group_id: id("CAROL_GROUP_ID")?,
            chat_api_service: client("CHAT_API_SERVICE")?,
            oauth_integrations_service: client("OAUTH_INTEGRATIONS_SERVICE")?,
            mozaiks_runtime_service: client("MOZAIKS_RUNTIME_SERVICE")?,
            indexer_worker: client("INDEXER_WORKER")?,
            dashboard_api: client("DASHBOARD_API")?,
            sim_github_url: url_or("SIM_GITHUB_URL", "http://127.0.0.1:18101"),
            github_oauth_app: client("GITHUB_OAUTH_APP").ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn a_missing_variable_is_named() {
        let error = Settings::read(|_| None).unwrap_err().to_string();
        assert!(error.contains("AUTH_API_URL is not set"), "{error}");
        assert!(error.contains("make up"), "{error}");
    }
}
