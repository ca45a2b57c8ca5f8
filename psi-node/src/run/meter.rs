//! What a run takes, for its record: time by phase, and bytes. What it hears of progress it hands on to whoever looks.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    report::{Phase, Progress},
    runs::Spent,
    tls::stream::Traffic,
};

/// Measures one run of this process.
pub(super) struct Meter {
    progress: Arc<dyn Progress>,
    clock: Arc<dyn Clock>,
    taking: Mutex<Taking>,
}

/// What was spent and is in no record yet.
#[derive(Default)]
struct Taking {
    spent: Spent,
    /// The phase, and up to when its time is counted.
    phase: Option<(Phase, Duration)>,
    /// The connection, and the bytes of it that are counted, or none of the run's.
    connection: Option<(Arc<Traffic>, [u64; 2])>,
}

impl Meter {
    pub(super) fn new(progress: Arc<dyn Progress>, clock: Arc<dyn Clock>) -> Self {
        Self { progress, clock, taking: Mutex::default() }
    }

    /// What goes over this connection from here on is the run's.
    pub(super) fn connected(&self, traffic: &Arc<Traffic>) {
        let mut taking = self.taking();
        taking.count_bytes();
        taking.connection = Some((traffic.clone(), so_far(traffic)));
    }

    /// What was spent since this was asked last.
    pub(super) fn take(&self) -> Spent {
        let now = self.clock.monotonic();
        let mut taking = self.taking();
        taking.count_time(now);
        taking.count_bytes();
        std::mem::take(&mut taking.spent)
    }

    /// Nobody works on the run until the next phase.
    pub(super) fn rest(&self) {
        self.turn_to(None);
    }

    fn turn_to(&self, next: Option<Phase>) {
        let now = self.clock.monotonic();
        let mut taking = self.taking();
        taking.count_time(now);
        taking.phase = next.map(|phase| (phase, now));
    }

    fn taking(&self) -> MutexGuard<'_, Taking> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Meter {
    fn phase(&self, phase: Phase, of: u64) {
        self.turn_to(Some(phase));
        self.progress.phase(phase, of);
    }

    fn done(&self, done: u64) {
        self.progress.done(done);
    }
}

impl Taking {
    /// In whole milliseconds: what is over is counted with the next.
    fn count_time(&mut self, now: Duration) {
        let Some((phase, since)) = &mut self.phase else { return };
        let span = now.saturating_sub(*since).as_millis() as u64;
        *since += Duration::from_millis(span);
        *self.spent.phases_ms.entry(phase.name().to_owned()).or_default() += span;
    }

    fn count_bytes(&mut self) {
        let Some((traffic, counted)) = &mut self.connection else { return };
        let [sent, received] = so_far(traffic);
        self.spent.bytes_sent += sent - counted[0];
        self.spent.bytes_received += received - counted[1];
        *counted = [sent, received];
    }
}

fn so_far(traffic: &Traffic) -> [u64; 2] {
    [traffic.sent(), traffic.received()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Mock, report::Silent};

    #[test]
    fn time_is_that_of_the_phases_and_is_taken_once() {
        let clock = Mock::at(0);
        let meter = Meter::new(Arc::new(Silent), Arc::new(clock.clone()));
        let pass = |micros| clock.advance(Duration::from_micros(micros));
        pass(5_000_000);
        meter.phase(Phase::Masking, 1);
        pass(1_500);
        assert_eq!(meter.take().phases_ms["masking"], 1);
        pass(1_500);
        meter.phase(Phase::Closing, 0);
        pass(7_000);
        meter.rest();
        pass(9_000_000);
        let spent = meter.take();
        assert_eq!((spent.phases_ms["masking"], spent.phases_ms["closing"]), (2, 7));
        assert_eq!(meter.take(), Spent::default());
    }
}
