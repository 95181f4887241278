//! The state parameter, which routes a callback to its waiter and which nobody else should learn.

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest state that can be waited for, in bytes.
pub const MAX_STATE_BYTES: usize = 4096;
/// Fewer characters than this are guessed too easily.
pub const MIN_STATE_CHARS: usize = 16;

/// What callbacks and waiters are matched by. It stands for exactly one state; to print it tells nothing about that.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateKey {
    /// Of callbacks and waiters without a state: the single slot. No state that anybody sends has this key.
    Stateless,
    /// Of the state with this SHA-256.
    Of([u8; 32]),
}

impl StateKey {
    /// The key of a state; an empty one is none (RFC 6749, section 3.1).
    #[must_use]
    pub fn of(state: Option<&str>) -> Self {
        match state {
            None | Some("") => Self::Stateless,
            Some(state) => Self::Of(Sha256::digest(state).into()),
        }
    }
}

impl fmt::Display for StateKey {
    /// The first eight hexadecimal digits of the state's SHA-256, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stateless => f.write_str("none"),
            Self::Of(hash) => hash.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateKey({self})")
    }
}

/// Whether a state is so short that it may be guessed.
#[must_use]
pub fn is_weak(state: &str) -> bool {
    state.chars().count() < MIN_STATE_CHARS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_matched_exactly() {
        assert_eq!(StateKey::of(Some("Flow")), StateKey::of(Some("Flow")));
        assert_ne!(StateKey::of(Some("Flow")), StateKey::of(Some("flow")));
        assert_ne!(StateKey::of(Some("Flow")), StateKey::of(Some("Flow ")));
    }

    #[test]
    fn an_empty_state_is_none_and_no_state_is_the_single_slot() {
        assert_eq!(StateKey::of(Some("")), StateKey::Stateless);
        for state in ["none", "__default__", "null", " "] {
            assert_ne!(StateKey::of(Some(state)), StateKey::Stateless);
        }
    }

    #[test]
    fn only_a_short_hash_is_printed() {
        // The first bytes of SHA-256("abc") are ba7816bf.
        assert_eq!(StateKey::of(Some("abc")).to_string(), "ba7816bf");
        assert_eq!(StateKey::of(None).to_string(), "none");
        assert_eq!(format!("{:?}", StateKey::of(Some("abc"))), "StateKey(ba7816bf)");
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        assert!(is_weak("üüüüüüüü"));
        assert!(!is_weak("0123456789abcdef"));
    }
}
