//! How far a run is, for people who look at a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use psi_node::report::{Phase, Progress};

/// A bar on stderr; nothing where that is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Self(bar)
    }

    /// Takes it off the screen.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn phase(&self, phase: Phase, of: u64) {
        let template = match of {
            0 => "{spinner} {msg} {elapsed}",
            _ => "{spinner} {msg} [{bar:40}] {human_pos} of {human_len}, {eta} left",
        };
        self.0.set_style(ProgressStyle::with_template(template).expect("both templates are well-formed"));
        self.0.set_message(format!("{:<10}", phase.name()));
        self.0.set_length(of);
        self.0.set_position(0);
    }

    fn done(&self, done: u64) {
        // Several threads report, not always in order.
        if done > self.0.position() {
            self.0.set_position(done);
        }
    }
}
