//! Slack: workspaces and enterprises, and for each installation a chain of tokens for the bot and one for each user.

mod api;
mod consent;
mod notice;
mod token;

use actix_web::web::{ServiceConfig, get, post};
use serde::{Deserialize, Serialize};

pub(crate) use notice::{app_uninstalled, tokens_revoked, webhook};

/// Slack's state.
#[derive(Clone, Debug, Default)]
pub struct Slack {
    pub options: Options,
    /// The redirect URLs of the app; what is sent may go on below one.
    pub callback_urls: Vec<String>,
    pub workspaces: Vec<Workspace>,
    pub enterprises: Vec<Enterprise>,
    pub users: Vec<SlackUser>,
    pub(crate) codes: Vec<Code>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) serial: u64,
}

/// How the app is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Token rotation, which Slack never turns off again.
    pub rotation: bool,
    /// The one-way switch that makes the app a public client: a challenge is then asked for, and no secret.
    pub pkce: bool,
    pub access_token_seconds: i64,
    /// For how long a used refresh token still works.
    pub grace_seconds: i64,
}

/// A workspace, perhaps of an enterprise.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub id: String,
    pub name: String,
    pub enterprise_id: Option<String>,
}

/// An enterprise organization.
#[derive(Clone, Debug)]
pub struct Enterprise {
    pub id: String,
    pub name: String,
}

/// Somebody in the workspaces.
#[derive(Clone, Debug)]
pub struct SlackUser {
    pub id: String,
    pub name: String,
    /// A deactivated account's tokens answer `account_inactive`.
    pub is_active: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) value: String,
    pub(crate) place: Place,
    pub(crate) user_id: String,
    pub(crate) scope: Option<String>,
    pub(crate) user_scope: Option<String>,
    pub(crate) redirect_uri: Option<String>,
    pub(crate) challenge: Option<String>,
    pub(crate) at: i64,
    pub(crate) is_used: bool,
}

/// Where the app is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Workspace(String),
    Enterprise(String),
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Bot,
    User(String),
}

/// The tokens of one holder in one place: what was handed out, and what continues it.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) place: Place,
    pub(crate) holder: Holder,
    pub(crate) bot_user_id: String,
    /// Who installed it.
    pub(crate) user_id: String,
    pub(crate) scope: String,
    pub(crate) access: Vec<Access>,
    pub(crate) refresh: Vec<Refresh>,
}

#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) token: String,
    pub(crate) expires_at: Option<i64>,
    pub(crate) is_revoked: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    pub(crate) token: String,
    /// When it stops to work, once it was used or replaced.
    pub(crate) ends_at: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rotation: true, pkce: false, access_token_seconds: 43_200, grace_seconds: 60 }
    }
}

impl Slack {
    /// Two workspaces, one of them of an enterprise, with Alice and Bob.
    pub(crate) fn demo(callback_base: &str) -> Self {
        let user =
            |id: &str, name: &str| SlackUser { id: id.to_owned(), name: name.to_owned(), is_active: true };
        let mut slack = Self {
            callback_urls: vec![format!("{callback_base}/oauth/callback/slack")],
            users: vec![user("U0ALICE", "alice"), user("U0BOB", "bob")],
            enterprises: vec![Enterprise { id: "E0EXAMPLE".to_owned(), name: "Example Group".to_owned() }],
            ..Self::default()
        };
        slack.add_workspace("T0EXAMPLE", "Example Corp", None);
        slack.add_workspace("T0LABS", "Example Labs", Some("E0EXAMPLE"));
        slack
    }

    /// Adds a workspace.
    pub fn add_workspace(&mut self, id: &str, name: &str, enterprise_id: Option<&str>) {
        self.workspaces.push(Workspace {
            id: id.to_owned(),
            name: name.to_owned(),
            enterprise_id: enterprise_id.map(str::to_owned),
        });
    }

    /// Takes the app away from a workspace or an enterprise, and every token with it.
    pub fn uninstall(&mut self, place_id: &str) -> bool {
        let mut chains = self.chains.iter_mut().filter(|chain| chain.place.id() == place_id).peekable();
        let is_installed = chains.peek().is_some();
        chains.for_each(Chain::revoke);
        self.chains.retain(|chain| chain.place.id() != place_id);
        is_installed
    }

    /// Revokes the tokens of a user in a workspace or an enterprise.
    pub fn revoke_user(&mut self, place_id: &str, user_id: &str) {
        let holder = Holder::User(user_id.to_owned());
        let is_meant = |chain: &&mut Chain| chain.place.id() == place_id && chain.holder == holder;
        self.chains.iter_mut().filter(is_meant).for_each(Chain::revoke);
    }
}

impl Place {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Workspace(id) | Self::Enterprise(id) => id,
        }
    }
}

impl Chain {
    pub(crate) fn revoke(&mut self) {
        self.access.iter_mut().for_each(|access| access.is_revoked = true);
        self.refresh.clear();
    }
}

pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .route("/oauth/v2/authorize", get().to(consent::show))
        .route("/oauth/v2/authorize", post().to(consent::submit))
        .route("/api/oauth.v2.access", post().to(token::access))
        .route("/api/oauth.v2.access", get().to(token::access))
        .route("/api/auth.test", post().to(api::test))
        .route("/api/auth.test", get().to(api::test))
        .route("/api/auth.revoke", post().to(api::revoke))
        .route("/api/auth.revoke", get().to(api::revoke))
        .route("/api/apps.uninstall", post().to(api::uninstall))
        .route("/api/apps.uninstall", get().to(api::uninstall));
}
