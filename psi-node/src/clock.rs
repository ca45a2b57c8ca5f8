//! Time, as the program is given it: a wall clock for certificates, schedules and records, and a monotonic one for
//! deadlines and waiting.
//!
//! A wall clock jumps: it is set, or a machine wakes up. So nothing measures spans with it, and whoever waits for a moment
//! of the wall clock sleeps in short naps on the monotonic one and looks again. [`Mock`] is turned by tests.

mod mock;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub use self::mock::Mock;

/// Ready when a moment of the monotonic clock has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Both clocks of a machine.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall clock: time since 1970-01-01 UTC, zero before. It may jump either way.
    fn wall(&self) -> Duration;

    /// The monotonic clock: time since a moment that stays the same while the program runs. It never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits until [`monotonic`](Self::monotonic) is `moment` or later.
    fn sleep_until(&self, moment: Duration) -> Sleep;
}

impl dyn Clock + '_ {
    /// The wall clock in whole seconds since 1970-01-01 UTC.
    pub fn now(&self) -> u64 {
        self.wall().as_secs()
    }

    /// Waits for `span` of the monotonic clock.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.monotonic().saturating_add(span))
    }

    /// Does `work` unless it takes longer than `limit`; `None` if it did.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let late = self.sleep(limit);
        tokio::select! {
            // Time that is over already leaves no time to begin.
            biased;
            () = late => None,
            done = work => Some(done),
        }
    }
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl System {
    /// For whoever takes any clock.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock for System {
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        START.elapsed()
    }

    fn sleep_until(&self, moment: Duration) -> Sleep {
        match START.checked_add(moment) {
            // A timer that is due already would still wait for the next tick.
            Some(instant) if instant <= Instant::now() => Box::pin(std::future::ready(())),
            Some(instant) => Box::pin(tokio::time::sleep_until(instant.into())),
            // Further away than the clock can count.
            None => Box::pin(std::future::pending()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_when_its_moment_has_come() {
        let clock = System::shared();
        let before = clock.monotonic();
        clock.sleep(Duration::from_millis(2)).await;
        assert!(clock.monotonic() >= before + Duration::from_millis(2));
        clock.sleep_until(before).await;
    }

    #[tokio::test]
    async fn work_is_done_within_its_time_or_not_at_all() {
        let clock = System::shared();
        assert_eq!(clock.within(Duration::MAX, ready(1)).await, Some(1));
        assert_eq!(clock.within(Duration::ZERO, ready(1)).await, None);
        assert_eq!(clock.within(Duration::from_millis(1), pending::<()>()).await, None);
    }
}
