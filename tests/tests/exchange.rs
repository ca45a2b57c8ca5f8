//! Two nodes over real mutual TLS: results, records, the chain, and what a second run finds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use psi_core::verify::{Outcome, Verdict};
use psi_node::{audit, fault::Code};
use psi_tests::nodes::{Homes, numbered};

fn homes() -> Homes {
    Homes::with_lists(&numbered("agent", 0..300), &numbered("agent", 200..450))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_end_with_the_shared_rows_and_the_same_statement() {
    let pair = homes().serve().await;
    let summary = pair.run().await.unwrap();
    assert_eq!((summary.items_ours, summary.items_theirs, summary.matches), (300, 250, 100));
    assert!(summary.bytes_sent > 0 && summary.bytes_received > 0);
    let homes = pair.stop().await;
    let expected = numbered("agent", 200..300);
    assert_eq!(homes.a.result(), expected);
    assert_eq!(homes.b.result(), expected);
    let [ours, theirs] = [&homes.a, &homes.b].map(|place| place.runs());
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    for file in ["statement.note", "transcript"] {
        assert_eq!(std::fs::read(ours[0].join(file)).unwrap(), std::fs::read(theirs[0].join(file)).unwrap());
    }
    let pins = [homes.a.identity().public_key(), homes.b.identity().public_key()];
    let report = audit::verify(&theirs[0], Some(pins)).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified, "{report:?}");
}

/// The original rows come out with all their columns, whatever the list's format.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_parquet_meets_one_in_csv() {
    let phone = |row: u32| format!("139{:08}", row * 7919);
    let mut homes = Homes::new();
    homes.a.keys = "format = \"parquet\", column = \"phone\", profile = \"cn.mobile/1\"".into();
    homes.b.keys = "column = \"id\", profile = \"cn.mobile/1\"".into();
    std::fs::write(homes.a.list(), include_bytes!("../../psi-node/tests/parquet/zstd.parquet")).unwrap();
    homes.b.write_list((60..400).map(phone));
    let pair = homes.serve().await;
    let summary = pair.run().await.unwrap();
    assert_eq!((summary.items_ours, summary.items_theirs, summary.matches), (120, 340, 60));
    let homes = pair.stop().await;
    assert_eq!(homes.b.result(), (60..120).map(phone).collect::<Vec<_>>());
    let result = std::fs::read_to_string(homes.a.output()).unwrap();
    let rows: Vec<&str> = result.lines().collect();
    let expected = [
        "no,name,phone,city,count",
        &format!("60,张三20,{},上海,", phone(60)),
        &format!("61,张三21,{},北京,3721", phone(61)),
    ];
    assert_eq!((rows.len(), &rows[..3]), (61, &expected[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn unproved_gives_the_same_result() {
    let mut homes = homes();
    homes.a.policy("proved", false);
    homes.b.policy("proved", false);
    let pair = homes.serve().await;
    assert_eq!(pair.run().await.unwrap().matches, 100);
    assert_eq!(pair.stop().await.b.result(), numbered("agent", 200..300));
}

/// The sending rules leave nobody waiting for the other, however little may be under way.
#[tokio::test(flavor = "multi_thread")]
async fn queues_of_one_and_small_windows_do_not_deadlock() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..30_000), &numbered("agent", 20_000..50_000));
    homes.settings.queue = 1;
    homes.settings.stream_window = 64 << 10;
    homes.settings.connection_window = 64 << 10;
    let pair = homes.serve().await;
    assert_eq!(pair.run().await.unwrap().matches, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_takes_too_long_is_ended() {
    let mut homes = homes();
    homes.settings.session_deadline = std::time::Duration::ZERO;
    let pair = homes.serve().await;
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::TimedOut, 6));
    assert!(!pair.homes.a.output().exists() && !pair.homes.b.output().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_lets_the_proofs_be_checked_again() {
    let mut homes = homes();
    homes.a.policy("evidence_days", 30);
    homes.b.policy("evidence_days", 30);
    let pair = homes.serve().await;
    let summary = pair.run().await.unwrap();
    let report = audit::verify(&summary.run_folder, None).unwrap();
    assert_eq!(report.verdict(), Verdict::IdentitiesNotChecked, "{report:?}");
    let name = "every answer was multiplied by the committed key";
    assert!(
        report.checks.iter().any(|check| check.name == name && check.outcome == Outcome::Passed),
        "{report:?}"
    );
    let evidence = summary.run_folder.join("evidence");
    let mut bytes = std::fs::read(&evidence).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&evidence, &bytes).unwrap();
    assert_eq!(audit::verify(&summary.run_folder, None).unwrap().verdict(), Verdict::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_form_a_chain() {
    let pair = homes().serve().await;
    for height in 1..=3 {
        let summary = pair.run().await.unwrap();
        let note = std::fs::read_to_string(summary.run_folder.join("statement.note")).unwrap();
        assert!(note.contains(&format!("\nchain-height {height}\n")), "{note}");
        pair.clear_results();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_lost_its_records_adopts_those_of_the_other() {
    let pair = homes().serve().await;
    for _ in 0..2 {
        pair.run().await.unwrap();
        pair.clear_results();
    }
    std::fs::remove_dir_all(pair.homes.a.home().runs()).unwrap();
    pair.run().await.unwrap();
    pair.clear_results();
    assert_eq!(pair.homes.a.runs().len(), 3);
    std::fs::remove_dir_all(pair.homes.b.home().runs()).unwrap();
    pair.run().await.unwrap();
    let homes = pair.stop().await;
    assert_eq!((homes.a.runs().len(), homes.b.runs().len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_damaged_or_missing_stops_the_next_run() {
    let pair = homes().serve().await;
    let mut first = None;
    for _ in 0..2 {
        let summary = pair.run().await.unwrap();
        first.get_or_insert(summary.run_folder);
        pair.clear_results();
    }
    let note = first.unwrap().join("statement.note");
    let whole = std::fs::read(&note).unwrap();
    std::fs::write(&note, &whole[1..]).unwrap();
    assert_eq!(pair.run().await.unwrap_err().code, Code::State);
    std::fs::remove_dir_all(note.parent().unwrap()).unwrap();
    assert_eq!(pair.run().await.unwrap_err().code, Code::State);
    std::fs::create_dir(note.parent().unwrap()).unwrap();
    std::fs::write(&note, &whole).unwrap();
    pair.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_result_is_never_overwritten() {
    let pair = homes().serve().await;
    std::fs::write(pair.homes.a.output(), "precious").unwrap();
    assert_eq!(pair.run().await.unwrap_err().code, Code::OutputExists);
    assert_eq!(std::fs::read(pair.homes.a.output()).unwrap(), b"precious");
    pair.clear_results();
    std::fs::write(pair.homes.b.output(), "precious too").unwrap();
    assert_eq!(pair.run().await.unwrap_err().code, Code::Refused);
    assert_eq!(std::fs::read(pair.homes.b.output()).unwrap(), b"precious too");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_stays_after_a_run() {
    let pair = homes().serve().await;
    let summary = pair.run().await.unwrap();
    let private = pair.homes.a.home().private().join(&summary.run_id);
    let mut files: Vec<_> =
        std::fs::read_dir(&private).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["list", "masked", "opening"]);
    let entries = std::fs::read_dir(pair.homes.a.home().private()).unwrap();
    assert_eq!(entries.count(), 1, "no list without a run is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_an_endpoint_can_not_be_called() {
    let pair = homes().serve().await;
    let fault =
        psi_node::run::call(&pair.b, psi_tests::nodes::JOB, std::sync::Arc::new(psi_node::report::Silent))
            .await;
    assert_eq!(fault.unwrap_err().code, Code::Config);
}
