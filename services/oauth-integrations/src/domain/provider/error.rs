//! Why a provider did not do what it was asked, in words that hold for all of them.

use std::time::Duration;

/// Why a provider did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// For good: the code, the refresh token or the grant does not count. The provider's own word for it.
    #[error("refused: {code}")]
    Refused { code: String },
    /// The installation is suspended; a person at the provider can undo it.
    #[error("suspended")]
    Suspended,
    /// The installation is gone.
    #[error("not found")]
    NotFound,
    /// The person may see the installation, and owns it not.
    #[error("not the owner")]
    NotOwner,
    /// Consent was given for no site, workspace or account.
    #[error("nothing was granted")]
    NothingGranted,
    /// More was asked for than the installation has.
    #[error("not granted")]
    NotGranted,
    /// This service's own credentials or settings are wrong there; the operator has to look.
    #[error("misconfigured: {code}")]
    Misconfigured { code: String },
    /// It may go well soon.
    #[error("unavailable: {detail}")]
    Unavailable { retry_after: Option<Duration>, detail: &'static str },
    /// This provider has no such operation.
    #[error("unsupported")]
    Unsupported,
}

impl ProviderError {
    /// Something that passes.
    pub fn unavailable(detail: &'static str) -> Self {
        Self::Unavailable { retry_after: None, detail }
    }

    /// A refusal, in the provider's word. What is no plain word is not repeated.
    pub fn refused(code: &str) -> Self {
        Self::Refused { code: plain_word(code) }
    }

    /// A refusal of this service itself, in the provider's word.
    pub fn misconfigured(code: &str) -> Self {
        Self::Misconfigured { code: plain_word(code) }
    }

    /// Whether the same call may go well later without anybody doing anything.
    #[cfg(test)]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Misconfigured { .. })
    }

    /// The word for metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Suspended => "suspended",
            Self::NotFound => "not_found",
            Self::NotOwner => "not_owner",
            Self::NothingGranted => "nothing_granted",
            Self::NotGranted => "not_granted",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Unavailable { .. } => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Codes come from outside and go into logs, rows and answers: a word of the usual form, or `unknown`.
fn plain_word(code: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !code.is_empty() && code.len() <= 64 && code.bytes().all(is_plain) {
        code.to_owned()
    } else {
        "unknown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_repeated() {
        assert_eq!(ProviderError::refused("bad_refresh_token").to_string(), "refused: bad_refresh_token");
        for code in ["", "<script>", "two words", &"x".repeat(65)] {
            assert_eq!(ProviderError::refused(code).to_string(), "refused: unknown");
        }
    }
}
