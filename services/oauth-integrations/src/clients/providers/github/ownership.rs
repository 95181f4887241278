//! Who owns an installation. The id that comes back through the browser is the browser's word, and an App's JWT reads any
//! installation, so only a person's own token says it; and since a plain member sees an organization's installations too, seeing one
//! is not enough.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Github;
use crate::{
    clients::{http::unreadable, providers::reply::text},
    domain::provider::{InstallationInfo, OAuthTokens, ProviderError},
};

/// Installations on one page, which is GitHub's most, and pages at most.
const PAGE_SIZE: usize = 100;
const MAX_PAGES: usize = 50;
/// Organizations whose membership is looked up when no installation was named.
const MAX_LOOK_UPS: usize = 30;

/// The person whose token it is.
pub(super) struct Person {
    pub(super) id: String,
    pub(super) login: String,
}

/// Whose token it is.
pub(super) async fn find_person(github: &Github, token: &SecretString) -> Result<Person, ProviderError> {
    let user = github.get_as_user("user", &["user"], &[], token).await?;
    let id = text(&user, "/id").ok_or_else(unreadable)?;
    Ok(Person { id, login: text(&user, "/login").unwrap_or_default() })
}

/// What the tokens were granted for: installations that their person owns, or with an OAuth App the person's own account.
pub(super) async fn connected(
    github: &Github,
    tokens: &OAuthTokens,
    claimed: Option<&str>,
) -> Result<Vec<InstallationInfo>, ProviderError> {
    let credential = tokens.credentials.first().ok_or_else(unreadable)?;
    let token = &credential.access_token;
    let known = (text(&tokens.metadata, "/github_user_id"), text(&tokens.metadata, "/github_login"));
    let person = match known {
        (Some(id), Some(login)) => Person { id, login },
        _ => find_person(github, token).await?,
    };
    if let Some(app) = &github.settings.app {
        return owned_installations(github, &app.id, token, &person, claimed).await;
    }
    Ok(vec![InstallationInfo {
        external_org_id: person.id.clone(),
        external_org_name: Some(person.login.clone()),
        external_install_id: None,
        scopes: credential.scopes.clone(),
        permissions: json!({}),
        metadata: json!({ "github_user_id": person.id, "github_login": person.login }),
        aliases: Vec::new(),
    }])
}

/// The installations that the person owns; with a claim that one, or [`ProviderError::NotOwner`].
async fn owned_installations(
    github: &Github,
    app_id: &str,
    token: &SecretString,
    person: &Person,
    claimed: Option<&str>,
) -> Result<Vec<InstallationInfo>, ProviderError> {
    let mut candidates = visible_installations(github, app_id, token, claimed).await?;
    if claimed.is_some() && candidates.is_empty() {
        return Err(ProviderError::NotOwner);
    }
    candidates.truncate(MAX_LOOK_UPS);
    let mut owned = Vec::new();
    for candidate in candidates {
        if is_owner(github, token, person, &candidate).await? {
            owned.push(describe(&candidate, person)?);
        } else if claimed.is_some() {
            return Err(ProviderError::NotOwner);
        }
    }
    Ok(owned)
}

/// Every installation of this app that the person sees, on all pages; with a claim only that one.
async fn visible_installations(
    github: &Github,
    app_id: &str,
    token: &SecretString,
    claimed: Option<&str>,
) -> Result<Vec<Value>, ProviderError> {
    let (mut found, mut seen) = (Vec::new(), 0);
    for page in 1..=MAX_PAGES {
        let query = [("per_page", PAGE_SIZE.to_string()), ("page", page.to_string())];
        let answer =
            github.get_as_user("user_installations", &["user", "installations"], &query, token).await?;
        let listed = answer.get("installations").and_then(Value::as_array).ok_or_else(unreadable)?;
        found.extend(listed.iter().filter(|it| is_ours(it, app_id, claimed)).cloned());
        seen += listed.len();
        // A page may hold less than was asked for, and more may follow.
        let total = answer.get("total_count").and_then(Value::as_u64).and_then(|it| usize::try_from(it).ok());
        let is_last = listed.is_empty() || total.map_or(listed.len() < PAGE_SIZE, |total| seen >= total);
        if is_last || (claimed.is_some() && !found.is_empty()) {
            break;
        }
    }
    Ok(found)
}

fn is_ours(installation: &Value, app_id: &str, claimed: Option<&str>) -> bool {
    text(installation, "/app_id").as_deref() == Some(app_id)
        && claimed.is_none_or(|claimed| text(installation, "/id").as_deref() == Some(claimed))
}

/// Whether it is the person's own account, or an organization that the person administers.
async fn is_owner(
    github: &Github,
    token: &SecretString,
    person: &Person,
    installation: &Value,
) -> Result<bool, ProviderError> {
    let Some(login) = text(installation, "/account/login") else { return Ok(false) };
    if text(installation, "/account/type").as_deref() != Some("Organization") {
        return Ok(text(installation, "/account/id").is_some_and(|id| id == person.id));
    }
    let path = ["user", "memberships", "orgs", &login];
    match github.get_as_user("org_membership", &path, &[], token).await {
        Ok(membership) => Ok(text(&membership, "/state").as_deref() == Some("active")
            && text(&membership, "/role").as_deref() == Some("admin")
            && is_same_account(&membership, installation)),
        // No member, or an App that may not see members: neither proves anything.
        Err(ProviderError::NotFound | ProviderError::Refused { .. } | ProviderError::NotGranted) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Logins change hands; the ids do not.
fn is_same_account(membership: &Value, installation: &Value) -> bool {
    let id = text(membership, "/organization/id");
    id.is_some() && id == text(installation, "/account/id")
}

fn describe(installation: &Value, person: &Person) -> Result<InstallationInfo, ProviderError> {
    Ok(InstallationInfo {
        external_org_id: text(installation, "/account/id").ok_or_else(unreadable)?,
        external_org_name: text(installation, "/account/login"),
        external_install_id: Some(text(installation, "/id").ok_or_else(unreadable)?),
        scopes: Vec::new(),
        permissions: installation.get("permissions").cloned().unwrap_or_else(|| json!({})),
        metadata: json!({
            "github_user_id": person.id,
            "github_login": person.login,
            "account_type": installation.pointer("/account/type"),
            "repository_selection": installation.get("repository_selection"),
        }),
        aliases: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s15_a_membership_counts_for_the_very_account_that_it_names() {
        let installation = json!({ "account": { "id": 7, "login": "corp" } });
        assert!(is_same_account(&json!({ "organization": { "id": 7 } }), &installation));
        assert!(!is_same_account(&json!({ "organization": { "id": 8 } }), &installation));
        assert!(!is_same_account(&json!({ "organization": {} }), &installation));
        assert!(!is_same_account(&json!({ "organization": {} }), &json!({ "account": {} })));
    }
}
