//! What a serving node does by its clock.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{sync::Arc, time::Duration};

use psi_node::clock::Mock;
use psi_tests::nodes::{Homes, Pair};

const START: u64 = 1_790_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: u64 = 24 * 3600;
/// Who sleeps by the clock of a node that serves and has nothing to do: its upkeep and its scheduler.
const SLEEPERS: usize = 2;

/// Both nodes by one clock.
async fn pair(clock: &Mock) -> Pair {
    let mut homes = Homes::with_lists(&["one"], &["one"]);
    homes.a.clock = Arc::new(clock.clone());
    homes.b.clock = Arc::new(clock.clone());
    homes.serve().await
}

/// Waits until `b` shows another certificate than `old`.
async fn reissued(pair: &Pair, old: &[u8]) {
    while *pair.b.tls().credentials().certificate() == *old {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_serves_for_months_shows_a_valid_certificate_each_day() {
    let clock = Mock::at(START);
    let pair = pair(&clock).await;
    // The calling node has no upkeep: its certificate ends after 90 days, the serving node's never does.
    for _ in 0..80 {
        let old = pair.b.tls().credentials().certificate();
        clock.asleep(SLEEPERS).await;
        clock.advance(24 * HOUR);
        reissued(&pair, &old).await;
    }
    assert_eq!(pair.run().await.unwrap().matches, 1);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_right_leaves_no_certificate_of_another_time() {
    let clock = Mock::at(START - 400 * DAY);
    let pair = pair(&clock).await;
    for now in [START, START - 30 * DAY] {
        let old = pair.b.tls().credentials().certificate();
        clock.asleep(SLEEPERS).await;
        clock.set(now);
        clock.advance(HOUR);
        reissued(&pair, &old).await;
    }
    pair.stop().await;
}
