//! The oracle itself: silent where all is well, and loud about each invariant that is broken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::fs;

use psi_node::{fault::Code, run};
use psi_tests::{
    chaos::{Chaos, Fault, Line},
    nodes::{Homes, numbered},
    oracle::{Findings, Oracle},
    tap::Tap,
};

/// One run behind a tap; then what was left of it is spoiled.
async fn after(spoil: impl FnOnce(&Homes)) -> Findings {
    let homes = Homes::with_lists(&numbered("agent", 0..120), &numbered("agent", 90..200));
    let oracle = Oracle::new(&homes);
    let settings = homes.settings;
    let (pair, tap) = homes
        .serve_behind(async |homes, to| {
            let tap = Tap::start(&homes.a, &homes.b, to, settings).await;
            (tap.address(), tap)
        })
        .await;
    pair.run().await.unwrap();
    let homes = pair.stop().await;
    spoil(&homes);
    oracle.check(&homes, Some(&tap))
}

fn assert_broken(findings: &Findings, invariant: &str) {
    assert!(!findings.broken.is_empty(), "nothing was noticed");
    assert!(findings.broken.iter().all(|broken| broken.starts_with(invariant)), "{:?}", findings.broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_faults_keeps_them_all() {
    let findings = after(|_| {}).await;
    let expected = Findings { results: 2, runs: 2, charged: 2, keys: 2, opened: 4, ..Findings::default() };
    assert_eq!(findings, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_with_a_row_less_breaks_the_first() {
    let findings = after(|homes| {
        let result = fs::read_to_string(homes.b.output()).unwrap();
        fs::write(homes.b.output(), result.replace("agent 100,row 10\n", "")).unwrap();
    });
    assert_broken(&findings.await, "I1 bank-b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_signed_record_breaks_the_second() {
    assert_broken(&after(|homes| fs::remove_dir_all(&homes.a.runs()[0]).unwrap()).await, "I2 bank-a");
    let half_signed = |homes: &Homes| {
        let path = homes.a.runs()[0].join("statement.note");
        let note = fs::read_to_string(&path).unwrap();
        let (half, _) = note.trim_end().rsplit_once('\n').unwrap();
        fs::write(&path, format!("{half}\n")).unwrap();
    };
    assert_broken(&after(half_signed).await, "I2 bank-a");
    let stray = |homes: &Homes| fs::write(homes.b.output().with_file_name("out-2.csv"), "id,note\n").unwrap();
    assert_broken(&after(stray).await, "I2 bank-b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_to_another_list_breaks_the_third() {
    let homes = Homes::with_lists(&numbered("agent", 0..120), &numbered("agent", 90..200));
    let pair = homes.serve().await;
    // The oracle is told of lists that the nodes never read.
    pair.run().await.unwrap();
    let homes = pair.stop().await;
    homes.a.write_list(numbered("agent", 1..121));
    let findings = Oracle::new(&homes).check(&homes, None);
    assert!(findings.broken.iter().any(|broken| broken.starts_with("I3 bank-a")), "{findings:?}");
}

/// One run that compares two types of identifiers.
async fn after_two_lists() -> Homes {
    let mut homes = Homes::new();
    homes.a.write_two_lists(0..120);
    homes.b.write_two_lists(90..200);
    let pair = homes.serve().await;
    pair.run().await.unwrap();
    pair.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_opened_and_compared() {
    let homes = after_two_lists().await;
    let findings = Oracle::new(&homes).check(&homes, None);
    let expected = Findings { results: 2, runs: 2, charged: 2, keys: 4, opened: 8, ..Findings::default() };
    assert_eq!(findings, expected);
    // Another second column than the one that was committed to.
    let list = fs::read_to_string(homes.b.list()).unwrap();
    fs::write(homes.b.list(), list.replace(",100099,", ",100999,")).unwrap();
    let findings = Oracle::new(&homes).check(&homes, None);
    assert!(findings.broken.iter().any(|broken| broken.starts_with("I3 bank-b")), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_left_for_another_is_unfinished() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..120), &numbered("agent", 90..200));
    homes.a.output_name = "out-{run}.csv".to_owned();
    homes.b.output_name = "out-{run}.csv".to_owned();
    let oracle = Oracle::new(&homes);
    let way = async |_: &Homes, to| {
        let chaos = Chaos::start(to, <[Line; 2]>::default()).await.unwrap();
        (chaos.address(), chaos)
    };
    let (pair, chaos) = homes.serve_behind(way).await;
    pair.run().await.unwrap();
    chaos.plan(Fault::Rst.at(chaos.tally().total() * 7 / 10));
    pair.run().await.unwrap_err();
    chaos.assert_struck(1);
    let cut: Vec<_> = oracle.check(&pair.homes, None).unfinished.into_iter().collect();
    assert_eq!(cut.len(), 1);
    run::cancel(&pair.a, &cut[0]).unwrap();
    while let Err(fault) = pair.run().await {
        assert_eq!(fault.code, Code::Busy, "the called side may notice a little later: {fault}");
    }
    let findings = oracle.check(&pair.stop().await, None);
    findings.assert_kept();
    assert_eq!((findings.charged, findings.results), (6, 4));
    assert_eq!(findings.unfinished.into_iter().collect::<Vec<_>>(), cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_counted_breaks_the_fourth() {
    let uncounted = |homes: &Homes| {
        let id = homes.b.runs()[0].file_name().unwrap().to_string_lossy().into_owned();
        let path = homes.b.home().attempts().join(format!("{id}.json"));
        let text = fs::read_to_string(&path).unwrap();
        let committed = text.lines().find(|line| line.contains("\"committed\"")).unwrap();
        fs::write(&path, text.replace(committed, "  \"committed\": null,")).unwrap();
    };
    assert_broken(&after(uncounted).await, "I4 bank-b");
}
