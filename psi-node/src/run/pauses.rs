//! How long to wait before a lost connection is tried again.

use std::time::Duration;

use rand::RngExt;

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses that grow, until they come to a limit; each is shortened by up to half, so that two sides that call each other
/// do not keep meeting.
pub(super) struct Pauses {
    next: Duration,
    left: Duration,
}

impl Pauses {
    /// The first one is doubled each time, up to a minute.
    pub(super) fn within(limit: Duration, first: Duration) -> Self {
        Self { next: first, left: limit }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.left = self.left.checked_sub(pause)?;
        self.next = LONGEST.min(self.next * 2);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_up_to_the_longest_and_end_at_the_limit() {
        let first = Duration::from_secs(1);
        let pauses: Vec<_> = Pauses::within(Duration::from_secs(600), first).collect();
        assert!(pauses[0] >= first / 2 && pauses[0] <= first);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST) && pauses.last().unwrap() >= &(LONGEST / 2));
        let all: Duration = pauses.iter().sum();
        assert!(all <= Duration::from_secs(600) && all >= Duration::from_secs(539), "{all:?}");
        assert_eq!(Pauses::within(Duration::ZERO, first).next(), None);
    }
}
