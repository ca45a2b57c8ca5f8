//! What systemd is told of `psi serve`; nothing where it did not ask.

use std::{future::pending, time::Duration};

use sd_notify::NotifyState;

/// The node answers partners.
pub(super) fn ready() {
    tell(NotifyState::Ready);
}

/// The node ends.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

/// Says that the node is alive, twice as often as systemd wants to hear it; by the same threads that serve, so that a node
/// that hangs falls silent.
pub(super) async fn alive() {
    let Some(within) = sd_notify::watchdog_enabled() else { return pending().await };
    let mut tick = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        tell(NotifyState::Watchdog);
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
