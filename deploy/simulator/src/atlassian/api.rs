//! What an access token reads: sites, the profile, and oneself on a site.

use actix_web::{HttpRequest, HttpResponse, web::Path};
use serde_json::{Value, json};

use super::{Account, Family};
use crate::world::{Shared, State, bearer, json as answer};

/// The scopes of each product, by how they begin.
const PRODUCTS: [(&str, &[&str]); 2] = [
    ("jira", &["read:jira", "write:jira", "manage:jira"]),
    ("confluence", &["read:confluence", "write:confluence", "search:confluence", "readonly:content"]),
];

/// What the bearer token stands for: the account and the scopes, and the sites of its grant.
struct Access {
    account: Account,
    scopes: Vec<String>,
    cloud_ids: Vec<String>,
}

fn authenticate(shared: &Shared, request: &HttpRequest) -> Result<Access, HttpResponse> {
    let unauthorized = || answer(401, &json!({ "code": 401, "message": "Unauthorized" }));
    let bearer = bearer(request).ok_or_else(unauthorized)?;
    let now = shared.clock.now();
    let world = shared.world();
    let atlassian = &world.atlassian;
    let is_live = |family: &&Family| !family.is_revoked;
    let token = atlassian.access_tokens.iter().find(|token| token.token == bearer && token.expires_at > now);
    let family = token.and_then(|token| atlassian.families.get(token.family)).filter(is_live);
    let family = family.ok_or_else(unauthorized)?;
    let account = atlassian.accounts.iter().find(|account| account.id == family.account_id);
    let grant = atlassian.grants.iter().find(|grant| grant.account_id == family.account_id);
    Ok(Access {
        account: account.cloned().ok_or_else(unauthorized)?,
        scopes: family.scopes.clone(),
        // The grant's, and so those of a later consent as well.
        cloud_ids: grant.map(|grant| grant.cloud_ids.clone()).unwrap_or_default(),
    })
}

impl Access {
    fn scopes_of(&self, product: &[&str]) -> Vec<&str> {
        let scopes = self.scopes.iter().map(String::as_str);
        scopes.filter(|scope| product.iter().any(|start| scope.starts_with(start))).collect()
    }
}

/// A site once for each product that the scopes reach.
pub(super) async fn list_resources(request: HttpRequest, shared: State) -> HttpResponse {
    let access = match authenticate(&shared, &request) {
        Ok(access) => access,
        Err(refusal) => return refusal,
    };
    let world = shared.world();
    let mut resources = Vec::new();
    for site in world.atlassian.sites.iter().filter(|site| access.cloud_ids.contains(&site.cloud_id)) {
        for (_, starts) in PRODUCTS {
            let scopes = access.scopes_of(starts);
            if !scopes.is_empty() {
                resources.push(json!({
                    "id": site.cloud_id, "url": site.url, "name": site.name, "scopes": scopes,
                    "avatarUrl": format!("{}/avatars/240/site.png", site.url),
                }));
            }
        }
    }
    answer(200, &Value::Array(resources))
}

pub(super) async fn get_me(request: HttpRequest, shared: State) -> HttpResponse {
    match authenticate(&shared, &request) {
        Ok(access) if access.scopes.iter().any(|scope| scope == "read:me") => {
            let account = access.account;
            let body = json!({
                "account_type": "atlassian", "account_id": account.id, "email": account.email, "name": account.name,
                "picture": "https://secure.gravatar.com/avatar/0", "account_status": "active", "nickname": account.name,
                "zoneinfo": "UTC", "locale": "en-US", "email_verified": true,
            });
            answer(200, &body)
        }
        Ok(_) => answer(403, &json!({ "code": 403, "message": "The app lacks the scope read:me" })),
        Err(refusal) => refusal,
    }
}

pub(super) async fn get_jira_user(
    request: HttpRequest,
    shared: State,
    cloud_id: Path<String>,
) -> HttpResponse {
    on_site(&shared, &request, &cloud_id, "jira", |account| {
        json!({
            "accountId": account.id, "accountType": "atlassian", "emailAddress": account.email, "active": true,
            "displayName": account.name, "timeZone": "UTC", "locale": "en_US",
        })
    })
}

pub(super) async fn get_confluence_user(
    request: HttpRequest,
    shared: State,
    cloud_id: Path<String>,
) -> HttpResponse {
    on_site(
        &shared,
        &request,
        &cloud_id,
        "confluence",
        |account| json!({ "type": "known", "accountId": account.id, "email": account.email, "displayName": account.name }),
    )
}

fn on_site(
    shared: &Shared,
    request: &HttpRequest,
    cloud_id: &str,
    product: &str,
    show: impl Fn(&Account) -> Value,
) -> HttpResponse {
    let access = match authenticate(shared, request) {
        Ok(access) => access,
        Err(refusal) => return refusal,
    };
    let starts = PRODUCTS.iter().find(|(known, _)| *known == product).map_or(&[][..], |(_, starts)| starts);
    if !access.cloud_ids.iter().any(|known| known == cloud_id) {
        return answer(404, &json!({ "code": 404, "message": "No message available" }));
    }
    if access.scopes_of(starts).is_empty() {
        return answer(401, &json!({ "code": 401, "message": "Unauthorized; scope does not match" }));
    }
    answer(200, &show(&access.account))
}
