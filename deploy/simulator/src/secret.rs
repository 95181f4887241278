//! Codes and tokens, each with a mark by which a search finds it anywhere.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// In every secret that a provider of this crate makes up.
pub const MARK: &str = "Canary";

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A secret of this length after the prefix.
pub(crate) fn secret(prefix: &str, length: usize) -> String {
    let letter = || {
        let index = rand::random_range(0..LETTERS.len());
        LETTERS.get(index).copied().map_or('A', char::from)
    };
    let rest = length.saturating_sub(MARK.len());
    prefix.chars().chain(MARK.chars()).chain((0..rest).map(|_| letter())).collect()
}

/// Whether a verifier answers a challenge (RFC 7636, section 4.6); without a challenge any does.
pub(crate) fn pkce_holds(challenge: Option<&str>, verifier: Option<&str>) -> bool {
    let Some(challenge) = challenge else { return true };
    let is_well_formed = |verifier: &&str| {
        (43..=128).contains(&verifier.len())
            && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    verifier
        .filter(is_well_formed)
        .is_some_and(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_prefix_mark_and_length() {
        let secret = secret("ghu_", 36);
        assert_eq!(secret.len(), 40);
        assert!(secret.starts_with("ghu_Canary"));
    }

    #[test]
    fn the_vector_of_rfc_7636_appendix_b_holds() {
        let challenge = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(pkce_holds(challenge, Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")));
        assert!(!pkce_holds(challenge, Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl")));
        assert!(!pkce_holds(challenge, None));
        assert!(!pkce_holds(challenge, Some("short")));
        assert!(pkce_holds(None, None));
    }
}
