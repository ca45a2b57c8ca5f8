//! How long the phases of a session take.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::Watch;
use crate::{
    clock::Clock,
    report::{Phase, Progress},
};

/// One session's phases; the last one ends when this is dropped.
pub(super) struct Phases {
    watch: Watch,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<(Phase, Duration)>>,
}

impl Phases {
    pub(super) fn new(watch: Watch, clock: Arc<dyn Clock>) -> Self {
        Self { watch, clock, current: Mutex::new(None) }
    }

    fn turn_to(&self, next: Option<Phase>) {
        let now = self.clock.monotonic();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((phase, since)) = current.take() {
            *self.watch.seen().phases.entry(phase.name()).or_default() += now.saturating_sub(since);
        }
        *current = next.map(|phase| (phase, now));
    }
}

impl Progress for Phases {
    fn phase(&self, phase: Phase, _: u64) {
        self.turn_to(Some(phase));
    }

    fn done(&self, _: u64) {}
}

impl Drop for Phases {
    fn drop(&mut self) {
        self.turn_to(None);
    }
}
