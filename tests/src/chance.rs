//! Random choices that a printed seed repeats.

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Where a test's or a campaign's choices come from.
pub struct Chance {
    rng: StdRng,
}

impl Chance {
    /// The choices of that seed.
    pub fn of(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed) }
    }

    /// The choices of one case of a campaign, whichever cases ran before it.
    pub fn of_case(seed: u64, number: u64) -> Self {
        let mut mixed = Self::of(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self::of(mixed.rng.random())
    }

    /// The choices of the seed in `PSI_SEED`, or of a fresh one; printed, so that a failing test can be played again.
    pub fn of_test() -> Self {
        let given = std::env::var("PSI_SEED").ok();
        let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("PSI_SEED is a number"));
        println!("PSI_SEED={seed}");
        Self::of(seed)
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.random_range(0..bound)
    }

    /// One of these.
    pub fn of_these<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number in each of `parts` equal parts of 0 to `bound` - 1: spread out, and different for each seed.
    pub fn spread(&mut self, bound: u64, parts: u64) -> Vec<u64> {
        let edge = |part: u64| (u128::from(bound) * u128::from(part) / u128::from(parts)) as u64;
        (0..parts).map(|part| edge(part) + self.below((edge(part + 1) - edge(part)).max(1))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices_and_spreads_them() {
        let draw = |seed| Chance::of(seed).spread(1_000_000, 50);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for (part, byte) in draw(7).into_iter().enumerate() {
            assert_eq!(byte / 20_000, part as u64);
        }
    }
}
