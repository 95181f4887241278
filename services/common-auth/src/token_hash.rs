//! SHA-256 of a token, which is most of what a check costs that is answered from memory.
//!
//! Tokens of one key and one role begin alike for several blocks, since auth-api writes first what many tokens have in common
//! ([`AccessTokenClaims`](crate::AccessTokenClaims)). SHA-256 goes over a text from front to back, and what it has come to after a
//! beginning depends on nothing else: it is remembered for the beginnings that came before, and taken up from there.

use std::{
    cell::RefCell,
    hash::{Hash, Hasher},
};

use sha2::{Digest, Sha256};

/// Whole blocks of SHA-256, as many as the key, the issuer and what a role permits take up in a token.
const BEGINNING: usize = 7 * BLOCK;
const BLOCK: usize = 64;
/// Room for so many beginnings per thread, some 37 KiB: a few keys, each with a few roles, and the services' tokens.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 6;

thread_local! {
    /// Of each thread for itself: to share them would cost more than it spares.
    static REMEMBERED: RefCell<Vec<Option<Remembered>>> =
        RefCell::new(std::iter::repeat_with(|| None).take(SLOTS).collect());
}

/// SHA-256 of the whole token, signature included: a key made of less would hand one caller another's claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

struct Remembered {
    beginning: [u8; BEGINNING],
    /// After the beginning.
    state: Sha256,
}

impl TokenHash {
    pub(crate) fn of(token: &[u8]) -> Self {
        let Some((beginning, rest)) = token.split_first_chunk() else {
            return Self(Sha256::digest(token).into());
        };
        let state = REMEMBERED.with_borrow_mut(|slots| state_after(beginning, slots));
        Self(state.chain_update(rest).finalize().into())
    }
}

impl Hash for TokenHash {
    /// A few bytes place an entry as well as all of them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(first) = self.0.first_chunk() {
            state.write_u64(u64::from_ne_bytes(*first));
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "the number of a slot is below their count")]
fn state_after(beginning: &[u8; BEGINNING], slots: &mut [Option<Remembered>]) -> Sha256 {
    let slot = &mut slots[slot_of(beginning)];
    if let Some(remembered) = slot
        && remembered.beginning == *beginning
    {
        return remembered.state.clone();
    }
    let state = Sha256::new_with_prefix(beginning);
    if !reaches_signature(beginning) {
        *slot = Some(Remembered { beginning: *beginning, state: state.clone() });
    }
    state
}

/// From a few bytes of every block. Beginnings that meet in a slot drive each other out, and nothing worse.
fn slot_of(beginning: &[u8; BEGINNING]) -> usize {
    let ends = beginning.as_chunks::<BLOCK>().0.iter().filter_map(|block| block.last_chunk());
    let mixed = ends.fold(0_u64, |mixed, end| mixed.rotate_left(9) ^ u64::from_ne_bytes(*end));
    // Fibonacci hashing: the upper bits of the product depend on all bits of the number.
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SLOT_BITS)) as usize
}

/// Whether the token is so short that its third part is in there: nothing of a signature is kept.
fn reaches_signature(beginning: &[u8; BEGINNING]) -> bool {
    beginning.split(|byte| *byte == b'.').nth(2).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::{BEGINNING, REMEMBERED, SLOTS, TokenHash};

    fn remembered() -> usize {
        REMEMBERED.with_borrow(|slots| slots.iter().flatten().count())
    }

    #[test]
    fn nothing_of_a_signature_is_remembered() {
        TokenHash::of(
            format!("{}.{}.{}", "h".repeat(100), "p".repeat(BEGINNING - 103), "s".repeat(342)).as_bytes(),
        );
        assert_eq!(remembered(), 0);
        TokenHash::of(
            format!("{}.{}.{}", "h".repeat(100), "p".repeat(BEGINNING - 101), "s".repeat(342)).as_bytes(),
        );
        assert_eq!(remembered(), 1);
    }

    #[test]
    fn no_flood_of_beginnings_takes_more_than_the_slots() {
        for number in 0..100 * SLOTS {
            let token = format!("{number:0>width$}", width = BEGINNING + 1);
            assert_eq!(TokenHash::of(token.as_bytes()).0[..], Sha256::digest(token)[..]);
        }
        assert!((SLOTS / 2..=SLOTS).contains(&remembered()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Beginnings that differ in one byte anywhere, ends of every length: what was hashed before makes no difference.
        #[test]
        fn it_is_the_sha_256_of_the_whole(
            tokens in prop::collection::vec((0..BEGINNING, b'a'..b'd', 0..3 * BEGINNING, any::<u8>()), 1..50)
        ) {
            for (changed, byte, length, end) in tokens {
                let mut token = vec![b'a'; length];
                if let Some(place) = token.get_mut(changed) {
                    *place = byte;
                }
                token.extend([end; 3]);
                prop_assert_eq!(&TokenHash::of(&token).0[..], &Sha256::digest(&token)[..]);
            }
        }
    }
}
