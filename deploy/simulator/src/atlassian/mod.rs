//! Atlassian: accounts, sites, and one grant for each account, whose tokens come in families.

mod api;
mod consent;
mod token;

use actix_web::web::{ServiceConfig, get, post};
use serde::{Deserialize, Serialize};

/// Atlassian's state.
#[derive(Clone, Debug, Default)]
pub struct Atlassian {
    pub options: Options,
    /// The callback URLs of the app, matched exactly.
    pub callback_urls: Vec<String>,
    pub accounts: Vec<Account>,
    pub sites: Vec<Site>,
    pub grants: Vec<Grant>,
    pub(crate) codes: Vec<Code>,
    pub(crate) families: Vec<Family>,
    pub(crate) access_tokens: Vec<AccessToken>,
    pub(crate) refresh_tokens: Vec<RefreshToken>,
}

/// How long things live, and what replies leave out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub access_token_seconds: i64,
    /// For how long a used refresh token still works.
    pub leeway_seconds: i64,
    pub inactivity_seconds: i64,
    pub absolute_seconds: i64,
    /// Refreshing answers without a `refresh_token`; the old one goes on.
    pub omit_refresh_token: bool,
}

/// Somebody with an Atlassian account.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: String,
    pub name: String,
    pub email: String,
}

/// A cloud site.
#[derive(Clone, Debug)]
pub struct Site {
    pub cloud_id: String,
    pub url: String,
    pub name: String,
}

/// What one account has given the app: every site that was ever chosen.
#[derive(Clone, Debug)]
pub struct Grant {
    pub account_id: String,
    pub cloud_ids: Vec<String>,
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) value: String,
    pub(crate) account_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) at: i64,
    pub(crate) is_used: bool,
}

/// The tokens that came of one code.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) account_id: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) started_at: i64,
    pub(crate) is_revoked: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct AccessToken {
    pub(crate) token: String,
    pub(crate) family: usize,
    pub(crate) expires_at: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct RefreshToken {
    pub(crate) token: String,
    pub(crate) family: usize,
    pub(crate) at: i64,
    pub(crate) used_at: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        const DAY: i64 = 86_400;
        Self {
            access_token_seconds: 3600,
            leeway_seconds: 600,
            inactivity_seconds: 90 * DAY,
            absolute_seconds: 365 * DAY,
            omit_refresh_token: false,
        }
    }
}

impl Atlassian {
    /// Alice and Bob, and two sites.
    pub(crate) fn demo(callback_base: &str) -> Self {
        let account = |id: &str, name: &str| Account {
            id: id.to_owned(),
            name: name.to_owned(),
            email: format!("{}@example.com", name.to_lowercase()),
        };
        let mut atlassian = Self {
            callback_urls: vec![format!("{callback_base}/oauth/callback/jira")],
            accounts: vec![account("557058:alice", "Alice"), account("557058:bob", "Bob")],
            ..Self::default()
        };
        atlassian.add_site("11111111-aaaa-4bbb-8ccc-000000000001", "example-corp");
        atlassian.add_site("11111111-aaaa-4bbb-8ccc-000000000002", "example-labs");
        atlassian
    }

    /// Adds a site.
    pub fn add_site(&mut self, cloud_id: &str, name: &str) {
        self.sites.push(Site {
            cloud_id: cloud_id.to_owned(),
            url: format!("https://{name}.atlassian.net"),
            name: name.to_owned(),
        });
    }

    /// Ends every family of an account, as a changed password does, and forgets its grant.
    pub fn revoke(&mut self, account_id: &str) {
        self.families.iter_mut().filter(|family| family.account_id == account_id).for_each(Family::revoke);
        self.grants.retain(|grant| grant.account_id != account_id);
    }
}

impl Family {
    pub(crate) fn revoke(&mut self) {
        self.is_revoked = true;
    }
}

pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .route("/authorize", get().to(consent::show))
        .route("/authorize", post().to(consent::submit))
        .route("/oauth/token", post().to(token::exchange))
        .route("/oauth/token/accessible-resources", get().to(api::list_resources))
        .route("/me", get().to(api::get_me))
        .route("/ex/jira/{cloud_id}/rest/api/3/myself", get().to(api::get_jira_user))
        .route("/ex/jira/{cloud_id}/rest/api/2/myself", get().to(api::get_jira_user))
        .route("/ex/confluence/{cloud_id}/wiki/rest/api/user/current", get().to(api::get_confluence_user));
}
