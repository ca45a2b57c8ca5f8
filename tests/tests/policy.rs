//! What the policy counts, over days and years of a clock that the tests turn.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{sync::Arc, time::Duration};

use psi_node::{clock::Mock, fault::Code};
use psi_tests::nodes::{Homes, Pair, numbered};

/// 2026-11-24 23:00 in Shanghai, 15:00 in UTC.
const EVENING: u64 = 1_795_532_400;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Two nodes whose clock stands at that evening, with lists of ten and twenty items.
async fn pair(clock: &Mock, policy: &[(&str, u64)]) -> Pair {
    let mut homes = Homes::with_lists(&numbered("agent", 0..10), &numbered("agent", 0..20));
    for place in [&mut homes.a, &mut homes.b] {
        place.clock = Arc::new(clock.clone());
        place.job.push("timezone = \"Asia/Shanghai\"".to_owned());
    }
    for (key, value) in policy {
        homes.a.policy(key, value);
        homes.b.policy(key, value);
    }
    homes.serve().await
}

/// Runs once; the code of the failure, if it is one.
async fn run(pair: &Pair) -> Option<Code> {
    let ran = pair.run().await;
    pair.clear_results();
    ran.err().map(|fault| fault.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_day_begins_at_midnight_of_the_jobs_zone() {
    let clock = Mock::at(EVENING);
    let pair = pair(&clock, &[("max_runs_per_day", 1)]).await;
    assert_eq!(run(&pair).await, None);
    assert_eq!(run(&pair).await, Some(Code::Policy));
    clock.advance(HOUR - Duration::from_secs(1));
    assert_eq!(run(&pair).await, Some(Code::Policy));
    clock.advance(Duration::from_secs(1));
    assert_eq!(run(&pair).await, None);
    assert_eq!(run(&pair).await, Some(Code::Policy));
}

/// The smaller side's limit is on what the larger one brings; it notices before it has sent its Commit.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_tested_is_forgotten_after_365_days() {
    let clock = Mock::at(EVENING);
    let pair = pair(&clock, &[("max_tested_per_year", 45)]).await;
    for code in [None, None, Some(Code::Policy)] {
        assert_eq!(run(&pair).await, code);
    }
    // The certificate of the calling node is made when it is opened.
    let past = |days: u32| {
        clock.advance(DAY * days);
        pair.a.tls().credentials().reissue().unwrap();
        pair.b.tls().credentials().reissue().unwrap();
    };
    past(364);
    assert_eq!(run(&pair).await, Some(Code::Policy));
    past(1);
    assert_eq!(run(&pair).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_bears_the_date_of_the_jobs_zone() {
    let clock = Mock::at(EVENING + 3600);
    let mut homes = Homes::with_lists(&numbered("agent", 0..10), &numbered("agent", 5..20));
    homes.a.clock = Arc::new(clock.clone());
    homes.b.clock = Arc::new(clock);
    homes.a.job.push("timezone = \"Asia/Shanghai\"".to_owned());
    homes.a.output_name = "{job}-{date}.csv".to_owned();
    let summary = homes.serve().await.run().await.unwrap();
    assert_eq!(summary.output.file_name().unwrap(), "agents-2026-11-25.csv");
}
