//! GitHub: people, organizations, installations of an App, and both kinds of registration, on one origin.

mod app;
mod applications;
mod authorize;
mod install;
mod notice;
mod rest;
mod token;
mod user;

use actix_web::web::{ServiceConfig, delete, get, post, put};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::world::Shared;

pub(crate) use install::approve_request;
pub(crate) use notice::{authorization_revoked, installation_event, tell, webhook};

/// GitHub's state.
#[derive(Clone, Debug, Default)]
pub struct GitHub {
    pub options: Options,
    /// The App's callback URLs; installs return to the first.
    pub callback_urls: Vec<String>,
    /// The OAuth App's one callback URL.
    pub oauth_app_callback_url: String,
    /// Where installs return to when they bring no code.
    pub setup_url: String,
    pub users: Vec<User>,
    pub orgs: Vec<Org>,
    pub repositories: Vec<Repository>,
    pub installations: Vec<Installation>,
    /// Installations that somebody asked for who may not install.
    pub requests: Vec<Request>,
    /// What the App asks for when it is installed.
    pub permissions: Map<String, Value>,
    pub(crate) codes: Vec<Code>,
    pub(crate) user_tokens: Vec<UserToken>,
    pub(crate) installation_tokens: Vec<InstallationToken>,
    serial: u64,
}

/// How the App is registered, and which of GitHub's staged changes it sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a check box in GitHub's settings")]
pub struct Options {
    /// "Request user authorization (OAuth) during installation".
    pub authorize_during_install: bool,
    /// Whether a return after an update brings a code as well.
    pub authorize_during_update: bool,
    /// "Expire user authorization tokens".
    pub expire_user_tokens: bool,
    /// Installation tokens in the long form with dots.
    pub stateless_tokens: bool,
    pub user_token_seconds: i64,
    pub installation_token_seconds: i64,
    /// The most that a page of a list holds, whatever `per_page` asks for.
    pub page_size: usize,
}

/// Somebody who may sign in.
#[derive(Clone, Debug)]
pub struct User {
    pub id: u64,
    pub login: String,
    pub name: String,
}

/// An organization and who belongs to it.
#[derive(Clone, Debug)]
pub struct Org {
    pub id: u64,
    pub login: String,
    pub members: Vec<(u64, OrgRole)>,
}

/// What a member of an organization is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrgRole {
    Admin,
    Member,
}

/// A repository of a user or an organization.
#[derive(Clone, Debug)]
pub struct Repository {
    pub id: u64,
    pub owner_id: u64,
    pub name: String,
}

/// The App at an account.
#[derive(Clone, Debug)]
pub struct Installation {
    pub id: u64,
    pub account_id: u64,
    /// The ids of the selected repositories; all without.
    pub repositories: Option<Vec<u64>>,
    pub permissions: Map<String, Value>,
    pub created_at: i64,
    pub updated_at: i64,
    pub suspended_at: Option<i64>,
}

/// An installation that waits for an owner.
#[derive(Clone, Debug)]
pub struct Request {
    pub account_id: u64,
    pub requester_id: u64,
}

/// An authorization code.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) value: String,
    pub(crate) client_id: String,
    pub(crate) user_id: u64,
    pub(crate) redirect_uri: Option<String>,
    pub(crate) challenge: Option<String>,
    pub(crate) scope: String,
    pub(crate) at: i64,
    pub(crate) is_used: bool,
}

/// A user's token and its refresh token.
#[derive(Clone, Debug)]
pub(crate) struct UserToken {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) client_id: String,
    pub(crate) user_id: u64,
    pub(crate) scope: String,
    pub(crate) expires_at: Option<i64>,
    pub(crate) refresh_expires_at: Option<i64>,
    pub(crate) is_revoked: bool,
}

/// A token of an installation.
#[derive(Clone, Debug)]
pub(crate) struct InstallationToken {
    pub(crate) token: String,
    pub(crate) installation_id: u64,
    pub(crate) expires_at: i64,
    pub(crate) repositories: Option<Vec<u64>>,
    pub(crate) permissions: Map<String, Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            authorize_during_install: true,
            authorize_during_update: false,
            expire_user_tokens: true,
            stateless_tokens: false,
            user_token_seconds: 28_800,
            installation_token_seconds: 3600,
            page_size: 100,
        }
    }
}

impl GitHub {
    /// Alice, an owner of `example-corp`; Bob, a member of it; Mallory, who belongs nowhere.
    pub(crate) fn demo(callback_base: &str, oauth_app_callback_url: &str) -> Self {
        let callback = format!("{callback_base}/oauth/callback/github");
        let permissions =
            [("contents", "read"), ("issues", "write"), ("metadata", "read"), ("members", "read")];
        let mut github = Self {
            callback_urls: vec![callback.clone()],
            setup_url: callback,
            oauth_app_callback_url: oauth_app_callback_url.to_owned(),
            permissions: permissions
                .map(|(name, level)| (name.to_owned(), json!(level)))
                .into_iter()
                .collect(),
            serial: 1000,
            ..Self::default()
        };
        let [alice, bob] = ["alice", "bob"].map(|login| github.add_user(login));
        github.add_user("mallory");
        let corp = github.add_org("example-corp", &[(alice, OrgRole::Admin), (bob, OrgRole::Member)]);
        for (owner, name) in [(corp, "platform"), (corp, "website"), (alice, "dotfiles"), (bob, "notes")] {
            github.add_repository(owner, name);
        }
        github
    }

    /// Adds somebody; the id.
    pub fn add_user(&mut self, login: &str) -> u64 {
        let id = self.next_id();
        self.users.push(User { id, login: login.to_owned(), name: format!("The user {login}") });
        id
    }

    /// Adds an organization; the id.
    pub fn add_org(&mut self, login: &str, members: &[(u64, OrgRole)]) -> u64 {
        let id = self.next_id();
        self.orgs.push(Org { id, login: login.to_owned(), members: members.to_vec() });
        id
    }

    /// Adds a repository; the id.
    pub fn add_repository(&mut self, owner_id: u64, name: &str) -> u64 {
        let id = self.next_id();
        self.repositories.push(Repository { id, owner_id, name: name.to_owned() });
        id
    }

    /// Installs the App without anybody's browser; the id.
    pub fn install(&mut self, account_id: u64, repositories: Option<Vec<u64>>, now: i64) -> u64 {
        let id = 50_000_000 + self.next_id();
        let permissions = self.permissions.clone();
        self.installations.push(Installation {
            id,
            account_id,
            repositories,
            permissions,
            created_at: now,
            updated_at: now,
            suspended_at: None,
        });
        id
    }

    /// The id of a user or an organization.
    pub fn account_id(&self, login: &str) -> Option<u64> {
        let user = self.users.iter().find(|user| user.login == login).map(|user| user.id);
        user.or_else(|| self.orgs.iter().find(|org| org.login == login).map(|org| org.id))
    }

    /// What a user is to an account: an admin of their own.
    pub fn role(&self, user_id: u64, account_id: u64) -> Option<OrgRole> {
        if user_id == account_id {
            return Some(OrgRole::Admin);
        }
        let org = self.orgs.iter().find(|org| org.id == account_id)?;
        org.members.iter().find(|(member, _)| *member == user_id).map(|(_, role)| *role)
    }

    pub(crate) fn installation(&self, id: u64) -> Option<&Installation> {
        self.installations.iter().find(|installation| installation.id == id)
    }

    pub(crate) fn installation_mut(&mut self, id: u64) -> Option<&mut Installation> {
        self.installations.iter_mut().find(|installation| installation.id == id)
    }

    pub(crate) fn user(&self, id: u64) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    /// Every repository that an installation reaches.
    pub(crate) fn repositories_of(&self, installation: &Installation) -> Vec<&Repository> {
        let is_reached = |repository: &&Repository| {
            repository.owner_id == installation.account_id
                && installation.repositories.as_ref().is_none_or(|selected| selected.contains(&repository.id))
        };
        self.repositories.iter().filter(is_reached).collect()
    }

    /// Takes the App away from an account, and every token with it.
    pub(crate) fn uninstall(&mut self, id: u64) -> bool {
        let before = self.installations.len();
        self.installations.retain(|installation| installation.id != id);
        self.installation_tokens.retain(|token| token.installation_id != id);
        self.installations.len() < before
    }

    /// The callback URLs of a registration.
    fn callbacks(&self, is_app: bool) -> Vec<String> {
        if is_app { self.callback_urls.clone() } else { vec![self.oauth_app_callback_url.clone()] }
    }

    fn next_id(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .route("/apps/{slug}/installations/new", get().to(install::show))
        .route("/apps/{slug}/installations/new", post().to(install::submit))
        .route("/login/oauth/authorize", get().to(authorize::show))
        .route("/login/oauth/authorize", post().to(authorize::submit))
        .route("/login/oauth/access_token", post().to(token::exchange))
        .route("/app", get().to(app::get_app))
        .route("/app/installations", get().to(app::list_installations))
        .route("/app/installations/{id}", get().to(app::get_installation))
        .route("/app/installations/{id}", delete().to(app::delete_installation))
        .route("/app/installations/{id}/access_tokens", post().to(app::mint))
        .route("/app/installations/{id}/suspended", put().to(app::suspend))
        .route("/app/installations/{id}/suspended", delete().to(app::unsuspend))
        .route("/installation/token", delete().to(rest::revoke_token))
        .route("/installation/repositories", get().to(rest::list_repositories))
        .route("/repos/{owner}/{name}", get().to(rest::get_repository))
        .route("/user", get().to(user::get_user))
        .route("/user/installations", get().to(user::list_installations))
        .route("/user/installations/{id}/repositories", get().to(user::list_repositories))
        .route("/user/memberships/orgs", get().to(user::list_memberships))
        .route("/user/memberships/orgs/{org}", get().to(user::get_membership))
        .route("/user/orgs", get().to(user::list_orgs))
        .route("/orgs/{org}", get().to(user::get_org))
        .route("/orgs/{org}/memberships/{login}", get().to(user::get_membership_of))
        .route("/applications/{client_id}/token", post().to(applications::check_token))
        .route("/applications/{client_id}/token", delete().to(applications::delete_token))
        .route("/applications/{client_id}/grant", delete().to(applications::delete_grant));
}

/// The registration that a client id belongs to, and its secret.
fn secret_of<'a>(shared: &'a Shared, client_id: &str) -> Option<&'a str> {
    let settings = &shared.settings;
    [&settings.github_app.client, &settings.github_oauth_app]
        .into_iter()
        .find(|client| client.id == client_id)
        .map(|client| client.secret.as_str())
}

/// Whether a client id is the App's.
fn is_app(shared: &Shared, client_id: &str) -> bool {
    shared.settings.github_app.client.id == client_id
}
