//! The providers and the kinds of credential, as rows, paths and answers name them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A provider as callers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    Github,
    /// Jira and Confluence: one Atlassian app and one grant.
    Jira,
    Slack,
}

/// Which of an installation's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// A GitHub App's own token in one installation, minted with the app's key.
    Installation,
    /// Someone's consent, in their name.
    User,
    /// A Slack app's bot.
    Bot,
}

/// The text names no platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of github, jira (or confluence), slack")]
pub struct UnknownPlatform;

/// The text names no kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of installation, user, bot")]
pub struct UnknownKind;

impl Platform {
    pub const ALL: [Self; 3] = [Self::Github, Self::Jira, Self::Slack];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Jira => "jira",
            Self::Slack => "slack",
        }
    }

    /// The kinds of credential, the one that is handed out first.
    pub fn kinds(self) -> &'static [CredentialKind] {
        match self {
            Self::Github => &[CredentialKind::Installation, CredentialKind::User],
            Self::Jira => &[CredentialKind::User],
            Self::Slack => &[CredentialKind::Bot, CredentialKind::User],
        }
    }
}

impl CredentialKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::User => "user",
            Self::Bot => "bot",
        }
    }
}

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        match text {
            "github" => Ok(Self::Github),
            "jira" | "confluence" => Ok(Self::Jira),
            "slack" => Ok(Self::Slack),
            _ => Err(UnknownPlatform),
        }
    }
}

impl FromStr for CredentialKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        match text {
            "installation" => Ok(Self::Installation),
            "user" => Ok(Self::User),
            "bot" => Ok(Self::Bot),
            _ => Err(UnknownKind),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_they_are_written() {
        for platform in Platform::ALL {
            assert_eq!(platform.as_str().parse(), Ok(platform));
        }
        assert_eq!("confluence".parse(), Ok(Platform::Jira));
        assert_eq!("GitHub".parse::<Platform>(), Err(UnknownPlatform));
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in Platform::ALL.iter().flat_map(|platform| platform.kinds()) {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
    }
}
