//! Runs with next to no memory for their lists: the same results, and a full disk leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{collections::BTreeSet, fmt::Write as _, fs};

use proptest::prelude::*;
use psi_node::{fault::Code, runs::Attempts, scratch::Room};
use psi_tests::{
    disk::Filling,
    nodes::{Homes, Pair, Place, numbered},
};

/// An identifier of each type, where the row has one.
type Row = (Option<u32>, Option<u32>);

fn name(n: u32) -> String {
    format!("agent {n}")
}

fn qq(n: u32) -> String {
    (10_000 + n).to_string()
}

fn cell(n: Option<u32>, text: fn(u32) -> String) -> String {
    n.map(text).unwrap_or_default()
}

fn csv(rows: &[Row]) -> String {
    rows.iter().fold("id,qq\n".to_owned(), |mut csv, (id, number)| {
        writeln!(csv, "{},{}", cell(*id, name), cell(*number, qq)).unwrap();
        csv
    })
}

/// What a plaintext intersection gives.
fn expected(ours: &[Row], theirs: &[Row]) -> String {
    let ids: BTreeSet<u32> = theirs.iter().filter_map(|row| row.0).collect();
    let numbers: BTreeSet<u32> = theirs.iter().filter_map(|row| row.1).collect();
    let mut csv = "id,qq,psi_matched\n".to_owned();
    for (id, number) in ours {
        let matched = [
            ("id", id.is_some_and(|n| ids.contains(&n))),
            ("qq", number.is_some_and(|n| numbers.contains(&n))),
        ];
        let matched: Vec<_> = matched.iter().filter(|(_, is_in)| *is_in).map(|(key, _)| *key).collect();
        if !matched.is_empty() {
            writeln!(csv, "{},{},{}", cell(*id, name), cell(*number, qq), matched.join(";")).unwrap();
        }
    }
    csv
}

async fn pair(ours: &[Row], theirs: &[Row], rooms: [Room; 2]) -> Pair {
    let mut homes = Homes::new();
    for (place, room) in [&mut homes.a, &mut homes.b].into_iter().zip(rooms) {
        place.keys = r#"keys = [{ column = "id", profile = "text/1" }, { column = "qq", profile = "qq/1" }]"#
            .to_owned();
        place.room = room;
    }
    fs::write(homes.a.list(), csv(ours)).unwrap();
    fs::write(homes.b.list(), csv(theirs)).unwrap();
    homes.serve().await
}

fn of_memory(memory: u64) -> Room {
    Room { memory, ..Room::unlimited() }
}

/// No result, nothing of a list, and no charge.
fn nothing_is_left(place: &Place) {
    assert!(place.results().is_empty() && place.runs().is_empty());
    let private = fs::read_dir(place.home().private()).unwrap();
    assert_eq!(private.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), [""; 0]);
    let parts = fs::read_dir(place.output().parent().unwrap()).unwrap();
    assert!(parts.flatten().all(|entry| !entry.file_name().to_string_lossy().ends_with(".part")));
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::of(0u32..30), prop::option::of(0u32..30)).prop_map(|row| match row {
        (None, None) => (Some(30), None),
        row => row,
    })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(row(), 0..60).prop_map(|mut rows| {
        rows.push((Some(31), Some(31)));
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn results_are_those_of_a_plaintext_intersection(ours in rows(), theirs in rows(), memory in 0u64..1500) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let pair = pair(&ours, &theirs, [of_memory(memory), Room::unlimited()]).await;
            pair.run().await.unwrap();
            let homes = pair.stop().await;
            assert_eq!(fs::read_to_string(homes.a.output()).unwrap(), expected(&ours, &theirs));
            assert_eq!(fs::read_to_string(homes.b.output()).unwrap(), expected(&theirs, &ours));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_write_the_disk_has_no_room_for_nothing_is_left_and_the_run_can_be_run_again() {
    let ours: Vec<Row> = (0..12).map(|n| (Some(n % 7), (n % 3 > 0).then_some(n % 5))).collect();
    let theirs: Vec<Row> = (4..20).map(|n| (Some(n), Some(n))).collect();
    let disk = Filling::default();
    let pair = pair(&ours, &theirs, [disk.room(0), Room::unlimited()]).await;
    let mut writes = 0;
    loop {
        disk.set(writes);
        match pair.run().await {
            Ok(_) => break,
            Err(fault) => assert!(fault.code == Code::Storage && fault.exit() == 12, "{writes}: {fault}"),
        }
        assert!(disk.left() < 0, "write {writes} failed");
        nothing_is_left(&pair.homes.a);
        writes += 1;
    }
    assert!(writes > 60 && disk.left() == 0, "{writes}, {} left", disk.left());
    let homes = pair.stop().await;
    assert_eq!(fs::read_to_string(homes.a.output()).unwrap(), expected(&ours, &theirs));
    assert_eq!(fs::read_to_string(homes.b.output()).unwrap(), expected(&theirs, &ours));
}

/// Long enough to be masked in two parts, both of which go into scratch files.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_while_a_list_is_masked_ends_the_run_before_anything_is_disclosed() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..16_500), &numbered("agent", 16_400..16_410));
    let disk = Filling::default();
    homes.a.room = disk.room(100_000);
    let pair = homes.serve().await;
    disk.set(i64::MAX);
    pair.run().await.unwrap();
    let all = i64::MAX - disk.left();
    pair.clear_results();
    let runs = [&pair.homes.a, &pair.homes.b].map(|place| place.runs().len());
    for (failed, writes) in [all - 1, all - 10].into_iter().enumerate() {
        disk.set(writes);
        let fault = pair.run().await.unwrap_err();
        assert!(fault.code == Code::Storage && !fault.resumable && disk.left() < 0, "{fault}");
        let attempts = Attempts::of(&pair.homes.a.home()).all().unwrap();
        let attempts: Vec<_> = attempts.iter().filter(|attempt| attempt.committed.is_none()).collect();
        assert_eq!(attempts.len(), failed + 1);
        assert!(attempts.iter().all(|attempt| attempt.error.as_ref().unwrap().contains("PSI-E110")));
    }
    let kept = |place: &Place| fs::read_dir(place.home().private()).unwrap().count();
    for (place, runs) in [&pair.homes.a, &pair.homes.b].into_iter().zip(runs) {
        assert!(place.results().is_empty() && place.runs().len() == runs);
    }
    // What the first run left is openable.
    assert_eq!(kept(&pair.homes.a), 1);
    // The peer has sent its Commit, and would go on; it gives that up for a new session.
    disk.set(i64::MAX);
    pair.run().await.unwrap();
    let homes = pair.stop().await;
    assert_eq!([&homes.a, &homes.b].map(kept), [2, 2]);
}
