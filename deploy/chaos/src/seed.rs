//! Randomness that can be repeated: a run prints its seed, and `CHAOS_SEED` runs it again.

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

/// The random numbers of one run.
pub struct Seed {
    pub number: u64,
}

impl Seed {
    /// From `CHAOS_SEED`, else a new one.
    pub fn choose() -> Result<Self> {
        let number = match std::env::var("CHAOS_SEED") {
            Ok(text) => text.parse().context("CHAOS_SEED is no number")?,
            Err(_) => rand::rng().random(),
        };
        Ok(Self { number })
    }

    /// The generator of one of several actors.
    pub fn rng(&self, actor: u64) -> StdRng {
        StdRng::seed_from_u64(self.number.wrapping_add(actor.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

/// A UUID from these random numbers.
pub fn uuid(rng: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}
