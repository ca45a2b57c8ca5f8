//! What the network may do to a run, in its short form: whatever happens, the four invariants hold, and whoever runs again
//! gets the result. The long form is `cargo run --example campaign`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::time::Duration;

use psi_node::{fault::Code, report::Summary};
use psi_tests::{
    chance::Chance,
    chaos::{Chaos, Direction, Fault, Line, Planned, Tally},
    nodes::{Homes, Pair, numbered},
    oracle::Oracle,
    tap::Tap,
};
use tokio::task::JoinSet;

const OURS: std::ops::Range<u32> = 0..150;
const THEIRS: std::ops::Range<u32> = 100..260;
const SHARED: std::ops::Range<u32> = 100..150;

/// With results that carry the run's id: one that is finished later must find its place.
fn homes() -> Homes {
    let mut homes = Homes::with_lists(&numbered("agent", OURS), &numbered("agent", THEIRS));
    for place in [&mut homes.a, &mut homes.b] {
        place.output_name = "out-{run}.csv".to_owned();
    }
    homes
}

/// Whoever hangs is noticed soon.
fn impatient() -> Homes {
    let mut homes = homes();
    homes.settings.keepalive_interval = Duration::from_secs(1);
    homes.settings.keepalive_timeout = Duration::from_secs(2);
    homes.settings.idle_timeout = Duration::from_secs(6);
    homes
}

/// `a` calls through a line that can break, and through a tap.
struct Broken {
    oracle: Oracle,
    pair: Pair,
    chaos: Chaos,
    tap: Tap,
}

impl Broken {
    async fn new(homes: Homes, lines: [Line; 2]) -> Self {
        let (oracle, settings) = (Oracle::new(&homes), homes.settings);
        let way = homes.serve_behind(async |homes, to| {
            let tap = Tap::start(&homes.a, &homes.b, to, settings).await;
            let chaos = Chaos::start(tap.address(), lines).await.unwrap();
            (chaos.address(), (tap, chaos))
        });
        let (pair, (tap, chaos)) = way.await;
        Self { oracle, pair, chaos, tap }
    }

    async fn fast(homes: Homes) -> Self {
        Self::new(homes, <[Line; 2]>::default()).await
    }

    fn check(&self) {
        self.oracle.check(&self.pair.homes, Some(&self.tap)).assert_kept();
    }

    /// After a run that met a fault: the next one has the result, on both sides, of the same session if both had committed.
    async fn run_again(self) {
        self.check();
        let summary = self.as_soon_as_free().await;
        assert_eq!(summary.matches, SHARED.len() as u64);
        self.check();
        let Self { oracle, pair, tap, .. } = self;
        let homes = pair.stop().await;
        let findings = oracle.check(&homes, Some(&tap));
        findings.assert_kept();
        assert!(findings.results >= 2 && findings.opened >= 4, "{findings:?}");
        // What both have paid for was not left for another session.
        assert!(findings.unfinished.is_empty(), "{findings:?}");
        assert_eq!(std::fs::read_to_string(&summary.output).unwrap().lines().count(), 1 + SHARED.len());
    }

    /// The other side may take a little longer to notice that the run before is over; and where everybody is impatient, a busy
    /// machine can look like a dead peer.
    async fn as_soon_as_free(&self) -> Summary {
        let mut cuts = 0;
        loop {
            match self.pair.run().await {
                Err(fault) if fault.code == Code::Busy => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(fault) if fault.exit() == 6 && cuts < 20 => cuts += 1,
                ended => return ended.unwrap(),
            }
        }
    }

    async fn meets(self, planned: Planned) {
        // A run that ended before its byte came has met nothing.
        while self.chaos.tally().struck == 0 {
            self.chaos.plan(planned);
            // What struck may have come when everything was signed already.
            if let Err(fault) = self.pair.run().await {
                assert!([6, 11].contains(&fault.exit()), "{planned}: {fault:?}");
            }
        }
        self.run_again().await;
    }
}

/// The bytes of a whole run, both ways.
async fn bytes_of_a_run() -> Tally {
    let broken = Broken::fast(homes()).await;
    broken.pair.run().await.unwrap();
    let tally = broken.chaos.tally();
    broken.run_again().await;
    tally
}

/// Runs each in a pair of homes of its own, a few at a time.
async fn each_meets(planned: Vec<Planned>) {
    let mut running = JoinSet::new();
    for planned in planned {
        if running.len() >= 8 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(async move { Broken::fast(impatient()).await.meets(planned).await });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_anywhere() {
    let mut chance = Chance::of_test();
    // What is said last is only the farewell.
    let bytes = bytes_of_a_run().await.total() * 98 / 100;
    let faults = [Fault::Fin, Fault::Rst, Fault::BlackHole];
    let planned = faults.map(|fault| chance.spread(bytes, 16).into_iter().map(move |byte| fault.at(byte)));
    each_meets(planned.into_iter().flatten().collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_direction_that_is_lost() {
    let mut chance = Chance::of_test();
    let bytes = bytes_of_a_run().await.bytes;
    let mut planned = Vec::new();
    for direction in [Direction::Up, Direction::Down] {
        let places = chance.spread(bytes[direction as usize] * 9 / 10, 4);
        planned.extend(places.into_iter().map(|byte| Fault::Deaf(direction).at_of(direction, byte)));
    }
    each_meets(planned).await;
}

/// TLS notices it, so that to the nodes it is one more way to be cut; but for the version in a record's heading, which nobody
/// looks at.
#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_is_flipped() {
    let mut chance = Chance::of_test();
    let bytes = bytes_of_a_run().await.bytes;
    let mut planned = Vec::new();
    for direction in [Direction::Up, Direction::Down] {
        let places = chance.spread(bytes[direction as usize] * 9 / 10, 12);
        planned.extend(places.into_iter().map(|byte| Fault::Flip.at_of(direction, byte)));
    }
    each_meets(planned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_that_passes_costs_nothing_but_time() {
    let mut chance = Chance::of_test();
    let bytes = bytes_of_a_run().await.total();
    for byte in chance.spread(bytes * 9 / 10, 4) {
        let broken = Broken::fast(homes()).await;
        broken.chaos.plan(Fault::Stall(Some(Duration::from_millis(200))).at(byte));
        assert_eq!(broken.pair.run().await.unwrap().matches, SHARED.len() as u64);
        broken.chaos.assert_struck(1);
        broken.run_again().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_falls_silent_is_named() {
    let broken = Broken::fast(impatient()).await;
    let bytes = bytes_of_a_run().await.total();
    broken.chaos.plan(Fault::Stall(None).at(bytes / 2));
    let fault = broken.pair.run().await.unwrap_err();
    assert_eq!(fault.code, Code::TimedOut, "{fault:?}");
    broken.chaos.assert_struck(1);
    broken.run_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thin_and_long_line() {
    let line = Line { delay: Duration::from_millis(5), rate: Some(2_000_000) };
    let broken = Broken::new(homes(), [line; 2]).await;
    assert_eq!(broken.pair.run().await.unwrap().matches, SHARED.len() as u64);
    broken.run_again().await;
}
