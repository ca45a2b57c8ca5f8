//! A clock that only moves when a test turns it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{Clock, Sleep};

/// A clock that stands still until it is turned; clones are the same clock.
#[derive(Clone, Debug)]
pub struct Mock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Somebody fell asleep.
    asleep: Notify,
}

#[derive(Debug)]
struct State {
    wall: Duration,
    monotonic: Duration,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl Mock {
    /// A clock whose wall clock reads so many seconds since 1970-01-01 UTC.
    pub fn at(seconds: u64) -> Self {
        let state =
            State { wall: Duration::from_secs(seconds), monotonic: Duration::ZERO, sleepers: Vec::new() };
        Self(Arc::new(Inner { state: Mutex::new(state), asleep: Notify::new() }))
    }

    /// Lets time pass on both clocks, and wakes those whose moment has come.
    pub fn advance(&self, span: Duration) {
        let mut state = self.state();
        state.wall += span;
        state.monotonic += span;
        let now = state.monotonic;
        for (_, wake) in state.sleepers.extract_if(.., |(moment, _)| *moment <= now) {
            // Who gave up waiting needs no waking.
            let _ = wake.send(());
        }
    }

    /// Sets the wall clock, as an operator or a time server does; the monotonic clock doesn't notice.
    pub fn set(&self, seconds: u64) {
        self.state().wall = Duration::from_secs(seconds);
    }

    /// Waits until so many sleep: then all that they had to do before is done.
    pub async fn asleep(&self, sleepers: usize) {
        loop {
            let fell_asleep = self.0.asleep.notified();
            {
                let mut state = self.state();
                state.sleepers.retain(|(_, wake)| !wake.is_closed());
                if state.sleepers.len() >= sleepers {
                    return;
                }
            }
            fell_asleep.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Mock {
    fn wall(&self) -> Duration {
        self.state().wall
    }

    fn monotonic(&self) -> Duration {
        self.state().monotonic
    }

    fn sleep_until(&self, moment: Duration) -> Sleep {
        let (wake, woken) = oneshot::channel();
        {
            let mut state = self.state();
            if moment <= state.monotonic {
                return Box::pin(std::future::ready(()));
            }
            state.sleepers.push((moment, wake));
        }
        self.0.asleep.notify_one();
        Box::pin(async {
            // A clock that is gone wakes nobody.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn sleepers_wake_when_time_passes_and_not_when_the_wall_clock_is_set() {
        let mock = Mock::at(1000);
        let clock: Arc<dyn Clock> = Arc::new(mock.clone());
        let sleeping = tokio::spawn(clock.sleep(MINUTE));
        mock.asleep(1).await;
        mock.set(1_000_000);
        mock.advance(MINUTE / 2);
        assert!(!sleeping.is_finished());
        assert_eq!((clock.now(), clock.monotonic()), (1_000_030, MINUTE / 2));
        mock.advance(MINUTE / 2);
        sleeping.await.unwrap();
        mock.asleep(0).await;
    }

    #[tokio::test]
    async fn who_gave_up_sleeping_does_not_count() {
        let mock = Mock::at(0);
        let clock: Arc<dyn Clock> = Arc::new(mock.clone());
        drop(clock.sleep(MINUTE));
        let sleeping = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(2 * MINUTE).await }
        });
        mock.asleep(1).await;
        mock.advance(2 * MINUTE);
        sleeping.await.unwrap();
    }
}
