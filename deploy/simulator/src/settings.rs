//! Where the simulator listens, and the applications that are registered at the providers.

use std::{fs, net::IpAddr, path::PathBuf, sync::OnceLock};

use anyhow::{Context, bail};
use clap::Parser;
use josekit::jws::{RS256, alg::rsassa::RsassaJwsAlgorithm};

static GENERATED_KEY: OnceLock<(String, String)> = OnceLock::new();

/// Everything that is fixed at start.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host: IpAddr,
    /// 0 for any port.
    pub ports: Ports,
    /// The base of every registered callback, as `http://127.0.0.1:8010`.
    pub callback_base: String,
    /// Where webhooks are sent by themselves; nowhere without it.
    pub webhook_base: Option<String>,
    pub github_app: GitHubApp,
    /// A second registration at GitHub, an OAuth App.
    pub github_oauth_app: Client,
    /// The OAuth App's registered callback; what is sent may go on below it.
    pub github_oauth_app_callback: String,
    pub atlassian: Client,
    pub slack: Client,
    pub slack_signing_secret: String,
}

/// One port for each origin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    pub github: u16,
    pub atlassian: u16,
    pub slack: u16,
    pub control: u16,
}

/// The credentials of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub secret: String,
}

/// A registered GitHub App.
#[derive(Clone, Debug)]
pub struct GitHubApp {
    pub id: u64,
    pub slug: String,
    pub client: Client,
    /// The key that its JSON Web Tokens are verified with.
    pub public_key_pem: String,
    pub webhook_secret: String,
}

/// The settings as the binary takes them from its environment.
#[derive(Parser)]
#[command(version, about = "GitHub, Atlassian and Slack, simulated")]
struct Variables {
    #[arg(long, env = "SIM_HOST", default_value = "127.0.0.1")]
    host: IpAddr,
    #[arg(long, env = "SIM_GITHUB_PORT", default_value_t = 18101)]
    github_port: u16,
    #[arg(long, env = "SIM_ATLASSIAN_PORT", default_value_t = 18102)]
    atlassian_port: u16,
    #[arg(long, env = "SIM_SLACK_PORT", default_value_t = 18103)]
    slack_port: u16,
    #[arg(long, env = "SIM_CONTROL_PORT", default_value_t = 18104)]
    control_port: u16,
    #[arg(long, env = "OAUTH_CALLBACK_BASE", default_value = "http://127.0.0.1:8010")]
    callback_base: String,
    /// Where webhooks go by themselves, as `http://127.0.0.1:8010`.
    #[arg(long, env = "OAUTH_INTEGRATIONS_URL")]
    webhook_base: Option<String>,
    #[arg(long, env = "GITHUB_APP_ID", default_value_t = 4711)]
    github_app_id: u64,
    #[arg(long, env = "GITHUB_APP_SLUG", default_value = "example-app")]
    github_app_slug: String,
    #[arg(long, env = "GITHUB_CLIENT_ID", default_value = "Iv23liSimulated")]
    github_client_id: String,
    #[arg(
        long,
        env = "GITHUB_CLIENT_SECRET",
        hide_env_values = true,
        default_value = "github-client-secret"
    )]
    github_client_secret: String,
    #[arg(long, env = "GITHUB_APP_PUBLIC_KEY_PATH")]
    github_public_key_path: Option<PathBuf>,
    /// Instead of the public key: the service's own key file.
    #[arg(long, env = "GITHUB_PRIVATE_KEY_PATH")]
    github_private_key_path: Option<PathBuf>,
    #[arg(
        long,
        env = "GITHUB_WEBHOOK_SECRET",
        hide_env_values = true,
        default_value = "github-webhook-secret"
    )]
    github_webhook_secret: String,
    #[arg(long, env = "GITHUB_OAUTH_APP_CLIENT_ID", default_value = "Ov23liSimulated")]
    github_oauth_app_client_id: String,
    #[arg(
        long,
        env = "GITHUB_OAUTH_APP_CLIENT_SECRET",
        hide_env_values = true,
        default_value = "github-oauth-app-secret"
    )]
    github_oauth_app_client_secret: String,
    /// Its callback; by default that of the App.
    #[arg(long, env = "GITHUB_OAUTH_APP_CALLBACK_BASE")]
    github_oauth_app_callback: Option<String>,
    #[arg(long, env = "JIRA_CLIENT_ID", default_value = "atlassian-client")]
    jira_client_id: String,
    #[arg(
        long,
        env = "JIRA_CLIENT_SECRET",
        hide_env_values = true,
        default_value = "atlassian-client-secret"
    )]
    jira_client_secret: String,
    #[arg(long, env = "SLACK_CLIENT_ID", default_value = "1111.2222")]
    slack_client_id: String,
    #[arg(long, env = "SLACK_CLIENT_SECRET", hide_env_values = true, default_value = "slack-client-secret")]
    slack_client_secret: String,
    #[arg(
        long,
        env = "SLACK_SIGNING_SECRET",
        hide_env_values = true,
        default_value = "slack-signing-secret"
    )]
    slack_signing_secret: String,
}

impl Default for Settings {
    /// Any ports, credentials that only a test can want, and a key pair made in this process.
    fn default() -> Self {
        let client = |name: &str| Client {
            id: format!("{name}-client"),
            secret: format!("{name}-CanarySecret-0123456789"),
        };
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            ports: Ports::default(),
            callback_base: "http://127.0.0.1:8010".to_owned(),
            webhook_base: None,
            github_app: GitHubApp {
                id: 4711,
                slug: "example-app".to_owned(),
                client: client("github"),
                public_key_pem: generated_key().1.clone(),
                webhook_secret: "github-webhook-CanarySecret-0123456789".to_owned(),
            },
            github_oauth_app: client("github-oauth"),
            github_oauth_app_callback: "http://127.0.0.1:8010/oauth/callback/github".to_owned(),
            atlassian: client("atlassian"),
            slack: client("slack"),
            slack_signing_secret: "slack-signing-CanarySecret-0123456789".to_owned(),
        }
    }
}

impl Settings {
    /// From arguments and environment; prints help and ends the process where that is asked for.
    pub fn from_env() -> anyhow::Result<Self> {
        let variables = Variables::parse();
        let public_key_pem = match (&variables.github_public_key_path, &variables.github_private_key_path) {
            (Some(path), _) => read(path)?,
            (None, Some(path)) => public_key(&read(path)?)?,
            (None, None) => bail!("GITHUB_PRIVATE_KEY_PATH or GITHUB_APP_PUBLIC_KEY_PATH is needed."),
        };
        let callback_base = variables.callback_base.trim_end_matches('/').to_owned();
        let github_callback = format!("{callback_base}/oauth/callback/github");
        Ok(Self {
            host: variables.host,
            ports: Ports {
                github: variables.github_port,
                atlassian: variables.atlassian_port,
                slack: variables.slack_port,
                control: variables.control_port,
            },
            callback_base,
            webhook_base: variables.webhook_base,
            github_app: GitHubApp {
                id: variables.github_app_id,
                slug: variables.github_app_slug,
                client: Client { id: variables.github_client_id, secret: variables.github_client_secret },
                public_key_pem,
                webhook_secret: variables.github_webhook_secret,
            },
            github_oauth_app: Client {
                id: variables.github_oauth_app_client_id,
                secret: variables.github_oauth_app_client_secret,
            },
            github_oauth_app_callback: variables.github_oauth_app_callback.unwrap_or(github_callback),
            atlassian: Client { id: variables.jira_client_id, secret: variables.jira_client_secret },
            slack: Client { id: variables.slack_client_id, secret: variables.slack_client_secret },
            slack_signing_secret: variables.slack_signing_secret,
        })
    }
}

/// The private key, as PEM (PKCS#8), of the GitHub App in [`Settings::default`].
pub fn github_private_key_pem() -> &'static str {
    &generated_key().0
}

fn generated_key() -> &'static (String, String) {
    GENERATED_KEY.get_or_init(|| match algorithm().generate_key_pair(2048) {
        Ok(pair) => (text(&pair.to_pem_private_key()), text(&pair.to_pem_public_key())),
        Err(_) => Default::default(),
    })
}

fn public_key(private_pem: &str) -> anyhow::Result<String> {
    let pair =
        algorithm().key_pair_from_pem(private_pem).context("GITHUB_PRIVATE_KEY_PATH holds no RSA key")?;
    Ok(text(&pair.to_pem_public_key()))
}

fn algorithm() -> RsassaJwsAlgorithm {
    RS256
}

fn text(pem: &[u8]) -> String {
    String::from_utf8_lossy(pem).into_owned()
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
