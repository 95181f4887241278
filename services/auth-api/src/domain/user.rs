//! Users: their addresses and names, and disabling them.

use std::str::FromStr;

use super::{
    Identity,
    audit::{self, Circumstances, Event},
    change::{Change, ChangeKind},
    feed,
    revocation::Revocation,
};
use crate::store::{self, StoreError};

/// An e-mail address as it is looked up: trimmed and in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

/// The text is no e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no e-mail address")]
pub struct InvalidEmail;

/// What came of disabling a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabling {
    Done,
    /// The user was disabled before.
    Nothing,
    UnknownUser,
}

/// RFC 5321, section 4.5.3.1.3, without the brackets.
const MAX_EMAIL_BYTES: usize = 254;

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim().to_lowercase();
        let (name, host) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        let is_plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if name.is_empty() || host.is_empty() || !is_plain || text.len() > MAX_EMAIL_BYTES {
            return Err(InvalidEmail);
        }
        Ok(Self(text))
    }
}

impl Email {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Disables a user: no login, no refresh, and the tokens that are out are revoked.
pub async fn disable(
    identity: &Identity,
    email: &Email,
    circumstances: &Circumstances,
) -> Result<Disabling, StoreError> {
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let Some(user) = store::user::find_by_email(&transaction, email.as_str()).await? else {
        return Ok(Disabling::UnknownUser);
    };
    let now = store::clock(&transaction).await?;
    if !store::user::update_disabled(&transaction, user.id, now).await? {
        return Ok(Disabling::Nothing);
    }
    store::family::update_revoked_of_user(&transaction, user.id, None, "user_disabled", now).await?;
    let orgs = store::org_member::list_of_user(&transaction, user.id).await?;
    let event = Event::new("user_disabled").target(user.id);
    audit::record(&transaction, event, circumstances, now).await?;
    let changes =
        orgs.iter().map(|org| Change::of_user(ChangeKind::UserDisabled, org.org_id, user.id)).collect();
    feed::publish(transaction, identity, vec![Revocation::subject(user.id, None)], changes).await?;
    Ok(Disabling::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        assert_eq!(" Alice.Admin@Example.COM ".parse::<Email>().unwrap().as_str(), "alice.admin@example.com");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "alice",
            "@example.com",
            "alice@",
            "a b@example.com",
            &format!("{}@example.com", "a".repeat(250)),
        ] {
            assert_eq!(text.parse::<Email>(), Err(InvalidEmail), "{text}");
        }
    }
}
