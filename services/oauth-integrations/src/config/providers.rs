//! The settings of each provider. One without credentials is not offered.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    ConfigError,
    parse::{is_loopback, parse_base_url, parse_scopes},
};
use crate::clients::providers::{
    atlassian::AtlassianSettings,
    github::{GithubApp, GithubSettings},
    slack::SlackSettings,
};

/// The settings of the providers.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the environment")]
pub struct ProviderConfig {
    /// Client id of the GitHub App or OAuth App; GitHub is not offered where it is not given.
    #[arg(long, env)]
    github_client_id: Option<String>,
    /// Its client secret.
    #[arg(long, env)]
    github_client_secret: Option<SecretString>,
    /// Number of the GitHub App; an OAuth App where it is not given.
    #[arg(long, env)]
    github_app_id: Option<String>,
    /// Name of the GitHub App in its URL.
    #[arg(long, env)]
    github_app_slug: Option<String>,
    /// File with the GitHub App's private key (PEM).
    #[arg(long, env)]
    github_private_key_path: Option<PathBuf>,
    /// Secret that GitHub signs its webhooks with; none are taken where it is not given.
    #[arg(long, env)]
    github_webhook_secret: Option<SecretString>,
    /// Where users are sent.
    #[arg(long, env, default_value = "https://github.com", value_parser = parse_base_url)]
    github_browser_url: Url,
    /// Where GitHub's REST API is reached.
    #[arg(long, env, default_value = "https://api.github.com", value_parser = parse_base_url)]
    github_api_url: Url,
    /// Whether GitHub is sent a PKCE challenge.
    #[arg(long, env, default_value_t = true, action = clap::ArgAction::Set)]
    github_pkce: bool,
    /// Scopes asked of GitHub by an OAuth App; a GitHub App has permissions instead.
    #[arg(long, env, default_value = "repo read:org")]
    github_scopes: String,
    /// Client id of the Atlassian app; Jira and Confluence are not offered where it is not given.
    #[arg(long, env)]
    jira_client_id: Option<String>,
    /// Its client secret.
    #[arg(long, env)]
    jira_client_secret: Option<SecretString>,
    /// Where users are sent, and where tokens are had.
    #[arg(long, env, default_value = "https://auth.atlassian.com", value_parser = parse_base_url)]
    jira_browser_url: Url,
    /// Where Atlassian's API is reached.
    #[arg(long, env, default_value = "https://api.atlassian.com", value_parser = parse_base_url)]
    jira_api_url: Url,
    /// Whether Atlassian is sent a PKCE challenge; the client secret is used in any case.
    #[arg(long, env, default_value_t = true, action = clap::ArgAction::Set)]
    jira_pkce: bool,
    /// Scopes asked of Atlassian; without `offline_access` a connection lasts an hour.
    #[arg(long, env, default_value = "read:jira-work read:jira-user read:me offline_access")]
    jira_scopes: String,
    /// Client id of the Slack app; Slack is not offered where it is not given.
    #[arg(long, env)]
    slack_client_id: Option<String>,
    /// Its client secret.
    #[arg(long, env)]
    slack_client_secret: Option<SecretString>,
    /// Secret that Slack signs its events with; none are taken where it is not given.
    #[arg(long, env)]
    slack_signing_secret: Option<SecretString>,
    /// Where users are sent.
    #[arg(long, env, default_value = "https://slack.com", value_parser = parse_base_url)]
    slack_browser_url: Url,
    /// Where Slack's API is reached.
    #[arg(long, env, default_value = "https://slack.com", value_parser = parse_base_url)]
    slack_api_url: Url,
    /// Whether Slack is sent a PKCE challenge. That makes the app a public client for good: leave it off unless it is one.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set)]
    slack_pkce: bool,
    /// Scopes asked of Slack for the bot.
    #[arg(long, env, default_value = "channels:read chat:write")]
    slack_scopes: String,
    /// Scopes asked of Slack for the user who connects it.
    #[arg(long, env, default_value = "")]
    slack_user_scopes: String,
    /// Lets providers be reached over plain http elsewhere than on loopback: for a simulator in a test cluster, never for real ones.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set)]
    allow_insecure_providers: bool,
    /// GitHub, if it is offered.
    #[arg(skip)]
    pub github: Option<GithubSettings>,
    /// Jira and Confluence, if they are offered.
    #[arg(skip)]
    pub jira: Option<AtlassianSettings>,
    /// Slack, if it is offered.
    #[arg(skip)]
    pub slack: Option<SlackSettings>,
}

impl ProviderConfig {
    /// The secret of GitHub's webhooks.
    pub fn github_webhook_secret(&self) -> Option<&SecretString> {
        given_secret(self.github_webhook_secret.as_ref())
    }

    /// The secret of Slack's events.
    pub fn slack_signing_secret(&self) -> Option<&SecretString> {
        given_secret(self.slack_signing_secret.as_ref())
    }

    /// Checks what only fits together, and puts each provider's settings together.
    pub(super) fn settle(&mut self) -> Result<(), ConfigError> {
        for (variable, url) in [
            ("GITHUB_BROWSER_URL", &self.github_browser_url),
            ("GITHUB_API_URL", &self.github_api_url),
            ("JIRA_BROWSER_URL", &self.jira_browser_url),
            ("JIRA_API_URL", &self.jira_api_url),
            ("SLACK_BROWSER_URL", &self.slack_browser_url),
            ("SLACK_API_URL", &self.slack_api_url),
        ] {
            if url.scheme() != "https" && !is_loopback(url) && !self.allow_insecure_providers {
                return Err(ConfigError::invalid(variable, "it is not https, and not on loopback"));
            }
        }
        self.github = self.github()?;
        self.jira = self.jira()?;
        self.slack = self.slack()?;
        Ok(())
    }

    fn github(&self) -> Result<Option<GithubSettings>, ConfigError> {
        let pair = credentials("GITHUB", self.github_client_id.as_ref(), self.github_client_secret.as_ref())?;
        let Some((client_id, client_secret)) = pair else { return Ok(None) };
        Ok(Some(GithubSettings {
            browser_url: self.github_browser_url.clone(),
            api_url: self.github_api_url.clone(),
            client_id,
            client_secret,
            app: self.github_app()?,
            use_pkce: self.github_pkce,
            scopes: parse_scopes(&self.github_scopes),
        }))
    }

    fn github_app(&self) -> Result<Option<GithubApp>, ConfigError> {
        let Some(id) = given(self.github_app_id.as_ref()) else { return Ok(None) };
        let missing = |variable: &str| ConfigError::Missing(variable.to_owned());
        let slug = given(self.github_app_slug.as_ref()).ok_or_else(|| missing("GITHUB_APP_SLUG"))?;
        let path = self.github_private_key_path.as_ref().filter(|path| !path.as_os_str().is_empty());
        let path = path.ok_or_else(|| missing("GITHUB_PRIVATE_KEY_PATH"))?;
        let pem = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::invalid(
                "GITHUB_PRIVATE_KEY_PATH",
                format!("the file cannot be read ({})", error.kind()),
            )
        })?;
        if josekit::jws::RS256.signer_from_pem(&pem).is_err() {
            let reason = "the file holds no RSA private key in PEM of 2048 bits or more";
            return Err(ConfigError::invalid("GITHUB_PRIVATE_KEY_PATH", reason));
        }
        Ok(Some(GithubApp { id, slug, private_key_pem: SecretString::from(pem) }))
    }

    fn jira(&self) -> Result<Option<AtlassianSettings>, ConfigError> {
        let pair = credentials("JIRA", self.jira_client_id.as_ref(), self.jira_client_secret.as_ref())?;
        Ok(pair.map(|(client_id, client_secret)| AtlassianSettings {
            browser_url: self.jira_browser_url.clone(),
            api_url: self.jira_api_url.clone(),
            client_id,
            client_secret,
            use_pkce: self.jira_pkce,
            scopes: parse_scopes(&self.jira_scopes),
        }))
    }

    fn slack(&self) -> Result<Option<SlackSettings>, ConfigError> {
        let pair = credentials("SLACK", self.slack_client_id.as_ref(), self.slack_client_secret.as_ref())?;
        Ok(pair.map(|(client_id, client_secret)| SlackSettings {
            browser_url: self.slack_browser_url.clone(),
            api_url: self.slack_api_url.clone(),
            client_id,
            client_secret,
            use_pkce: self.slack_pkce,
            bot_scopes: parse_scopes(&self.slack_scopes),
            user_scopes: parse_scopes(&self.slack_user_scopes),
        }))
    }
}

/// Both or none: half of the credentials is a mistake.
fn credentials(
    provider: &str,
    client_id: Option<&String>,
    client_secret: Option<&SecretString>,
) -> Result<Option<(String, SecretString)>, ConfigError> {
    match (given(client_id), given_secret(client_secret)) {
        (None, None) => Ok(None),
        (Some(client_id), Some(secret)) => Ok(Some((client_id, secret.clone()))),
        (Some(_), None) => Err(ConfigError::Missing(format!("{provider}_CLIENT_SECRET"))),
        (None, Some(_)) => Err(ConfigError::Missing(format!("{provider}_CLIENT_ID"))),
    }
}

/// What is empty counts as not given: charts and shells set variables that way.
fn given(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}

fn given_secret(value: Option<&SecretString>) -> Option<&SecretString> {
    value.filter(|value| !value.expose_secret().is_empty())
}
