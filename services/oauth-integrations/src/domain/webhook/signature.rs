//! HMAC-SHA256 over the raw bytes of a delivery.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How far a Slack delivery's time may be off, either way.
const SLACK_WINDOW_SECONDS: u64 = 300;

/// Whether this is GitHub's `X-Hub-Signature-256` of the body.
pub(super) fn is_of_github(secret: &SecretString, signature: &str, body: &[u8]) -> bool {
    is_same(&format!("sha256={}", hex_mac(secret, &[body])), signature)
}

/// Whether this is Slack's `X-Slack-Signature` of the body, made just now.
pub(super) fn is_of_slack(
    secret: &SecretString,
    signature: &str,
    timestamp: &str,
    body: &[u8],
    now_unix: i64,
) -> bool {
    let Ok(made) = timestamp.parse::<i64>() else { return false };
    now_unix.abs_diff(made) <= SLACK_WINDOW_SECONDS
        && is_same(&format!("v0={}", hex_mac(secret, &[b"v0:", timestamp.as_bytes(), b":", body])), signature)
}

fn is_same(expected: &str, presented: &str) -> bool {
    expected.as_bytes().ct_eq(presented.as_bytes()).into()
}

fn hex_mac(secret: &SecretString, parts: &[&[u8]]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        // HMAC takes keys of any length.
        return String::new();
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const SLACK_TIME: i64 = 1_531_420_618;
    const SLACK_SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554\
        %2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

    #[test]
    fn githubs_own_vector_passes_and_nothing_else() {
        let secret = SecretString::from("It's a Secret to Everybody");
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(is_of_github(&secret, signature, b"Hello, World!"));
        assert!(!is_of_github(&secret, signature, b"Hello, World"));
        assert!(!is_of_github(&SecretString::from("other"), signature, b"Hello, World!"));
        for wrong in ["", "sha256=", signature.trim_start_matches("sha256="), "sha1=757107ea"] {
            assert!(!is_of_github(&secret, wrong, b"Hello, World!"), "{wrong}");
        }
    }

    #[test]
    fn slacks_own_vector_passes_within_five_minutes_either_way() {
        let secret = SecretString::from(SLACK_SECRET);
        let is_good = |signature: &str, time: &str, now| {
            is_of_slack(&secret, signature, time, SLACK_BODY.as_bytes(), now)
        };
        let time = SLACK_TIME.to_string();
        for off in [0, 299, 300, -299, -300] {
            assert!(is_good(SLACK_SIGNATURE, &time, SLACK_TIME + off), "{off}");
        }
        for off in [301, -301, 86_400] {
            assert!(!is_good(SLACK_SIGNATURE, &time, SLACK_TIME + off), "{off}");
        }
        assert!(!is_good(SLACK_SIGNATURE, "soon", SLACK_TIME));
        assert!(!is_good(SLACK_SIGNATURE, &(SLACK_TIME + 1).to_string(), SLACK_TIME));
    }

    proptest! {
        #[test]
        fn a_changed_body_never_passes(body in proptest::collection::vec(any::<u8>(), 1..64), at in any::<usize>()) {
            let secret = SecretString::from("secret");
            let signature = format!("sha256={}", hex_mac(&secret, &[&body]));
            prop_assert!(is_of_github(&secret, &signature, &body));
            let mut changed = body.clone();
            let at = at % changed.len();
            changed[at] ^= 1;
            prop_assert!(!is_of_github(&secret, &signature, &changed));
        }
    }
}
