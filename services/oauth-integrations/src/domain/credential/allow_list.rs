//! Which platforms' tokens a client may be handed, where an operator narrows that.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use crate::domain::provider::Platform;

/// Platforms by client; a client that is not named may have all that its scope and its organizations allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOutPlatforms(Arc<BTreeMap<String, Vec<Platform>>>);

/// The text is no such list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOutPlatformsError {
    #[error("an entry is not of the form client=platform+platform")]
    Form,
    #[error("a platform is none of github, jira, slack")]
    Platform,
    #[error("a client is named twice")]
    Twice,
}

impl HandOutPlatforms {
    /// Whether the client may be handed tokens of the platform.
    pub fn allow(&self, client_id: &str, platform: Platform) -> bool {
        self.0.get(client_id).is_none_or(|platforms| platforms.contains(&platform))
    }
}

impl FromStr for HandOutPlatforms {
    type Err = HandOutPlatformsError;

    fn from_str(text: &str) -> Result<Self, HandOutPlatformsError> {
        let mut clients = BTreeMap::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (client_id, platforms) = entry.split_once('=').ok_or(HandOutPlatformsError::Form)?;
            if client_id.is_empty() {
                return Err(HandOutPlatformsError::Form);
            }
            let named = platforms.split('+').filter(|name| !name.is_empty());
            let platforms: Result<Vec<Platform>, _> = named.map(str::parse).collect();
            let platforms = platforms.map_err(|_| HandOutPlatformsError::Platform)?;
            if clients.insert(client_id.to_owned(), platforms).is_some() {
                return Err(HandOutPlatformsError::Twice);
            }
        }
        Ok(Self(Arc::new(clients)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_client_has_what_is_named() {
        let list: HandOutPlatforms = "indexer-worker=github+jira, nobody=".parse().unwrap();
        assert!(list.allow("indexer-worker", Platform::Github));
        assert!(!list.allow("indexer-worker", Platform::Slack));
        assert!(!list.allow("nobody", Platform::Github));
        assert!(list.allow("another", Platform::Slack));
    }

    #[test]
    fn bad_lists_are_refused() {
        for (text, error) in [
            ("indexer", HandOutPlatformsError::Form),
            ("=github", HandOutPlatformsError::Form),
            ("a=gitlab", HandOutPlatformsError::Platform),
            ("a=github,a=jira", HandOutPlatformsError::Twice),
        ] {
            assert_eq!(text.parse::<HandOutPlatforms>().unwrap_err(), error);
        }
    }
}
