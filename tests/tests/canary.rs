//! No identifier where it does not belong: not in logs, errors, records, sealed files, nor in what is sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
};

use psi_core::{key::Role, message::Message};
use psi_node::link::Frame;
use psi_tests::{
    nodes::Homes,
    pair::{Party, run_altered, set_of, terms},
};
use tracing_subscriber::fmt::MakeWriter;

/// In every identifier of these tests, accepted and rejected ones.
const CANARY: &str = "canary7f3a";

fn list(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("{CANARY} {n}")).collect()
}

fn contains(haystack: &[u8]) -> bool {
    haystack.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

/// Every file below `folder` but the lists, the results and the rejects, which are the owner's.
fn files(folder: &Path, visit: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files(&path, visit);
        } else if name != "list.csv" && name != "out.csv" && !name.starts_with("rejects-") {
            visit(&path, &fs::read(&path).unwrap());
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_logs_nor_errors_nor_records() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(log.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mut homes = Homes::with_lists(&list(0..100), &list(50..150));
    homes.a.policy("evidence_days", 1);
    homes.b.policy("evidence_days", 1);
    let rejects = homes.a.output().with_file_name("rejects-{run}.csv");
    homes.a.job = vec!["only_new = true".to_owned(), format!("rejects = {rejects:?}")];
    let pair = homes.serve().await;
    let mut texts = Vec::new();
    let summary = pair.run().await.unwrap();
    assert_eq!(summary.matches, 50);
    let run_id = summary.run_id.clone();
    assert!(
        fs::read_to_string(pair.homes.a.output()).unwrap().contains(CANARY),
        "the canary is in the result"
    );
    texts.push(format!("{summary:?}"));
    pair.clear_results();

    // Rejected rows: a zero-width content and an empty cell between canaries; then too many of them; then a broken quote.
    let reject =
        format!("id,note\n{CANARY} 1,x\n\"{CANARY}\u{fffe}\",y\n,{CANARY}\n{CANARY} 2,z\n{CANARY} 3,z\n");
    fs::write(pair.homes.a.list(), reject).unwrap();
    let summary = pair.run().await.unwrap();
    assert_eq!(summary.rows_rejected, 2, "the fault fired");
    assert!(
        fs::read_to_string(summary.rejects_file.as_ref().unwrap()).unwrap().contains(CANARY),
        "the canary is in the rejects"
    );
    texts.push(format!("{summary:?}"));
    pair.clear_results();
    for broken in [
        format!("id,note\n\"{CANARY},x\n"),
        format!("{CANARY},note\n{CANARY},x\n"),
        format!("id,note\n,{CANARY}\n,{CANARY}\n"),
        format!("id,note\n{CANARY}\u{0},x\n"),
    ] {
        fs::write(pair.homes.a.list(), broken).unwrap();
        let fault = pair.run().await.unwrap_err();
        assert_eq!(fault.exit(), 5);
        texts.push(format!("{fault} {fault:?}"));
    }
    let homes = pair.stop().await;
    let several = several_keys(&mut texts).await;

    for text in &texts {
        assert!(!contains(text.as_bytes()), "{text}");
    }
    let log = log.0.lock().unwrap();
    assert!(log.windows(14).any(|window| window == b"session agreed"), "the log was caught");
    assert!(!contains(&log), "the log has the canary");
    assert_names_its_run(&log, &run_id);
    let (mut seen, mut known) = (0, 0);
    for place in [&homes.a, &homes.b, &several.a, &several.b] {
        files(place.home().state(), &mut |path, bytes| {
            seen += 1;
            known += usize::from(path.starts_with(place.home().known()));
            assert!(!contains(bytes), "{} has the canary", path.display());
        });
    }
    assert!(seen > 20 && known == 1, "the records were looked at: {seen}, {known}");
}

/// A job with a list for each of two columns and one for both: a run with a bad cell in each, then one with too many.
async fn several_keys(texts: &mut Vec<String>) -> Homes {
    let mut homes = Homes::new();
    for place in [&mut homes.a, &mut homes.b] {
        place.keys = r#"keys = [
            { column = "id", profile = "text/1" }, { column = "mail", profile = "email/1" },
            { columns = ["id", "mail"], profile = "text/1+email/1" }]"#
            .to_owned();
        place.policy("evidence_days", 1);
        let rows = (0..50).map(|n| format!("{CANARY} {n},{CANARY}.{n}@example.com\n")).collect::<String>();
        let bad = format!("\"{CANARY}\u{fffe}\",{CANARY}@example.com\n{CANARY},{CANARY}\n,\n");
        fs::write(place.list(), format!("id,mail\n{rows}{bad}")).unwrap();
    }
    let pair = homes.serve().await;
    let summary = pair.run().await.unwrap();
    assert_eq!(summary.lists.iter().map(|list| list.matches).collect::<Vec<_>>(), [51, 51, 50]);
    assert_eq!((summary.rows_rejected, summary.cells_rejected), (1, 2), "the faults fired");
    let result = fs::read_to_string(pair.homes.a.output()).unwrap();
    assert!(result.contains(&format!("{CANARY} 7,{CANARY}.7@example.com,id;mail;id+mail\n")), "{result}");
    texts.push(format!("{summary:?}"));
    pair.clear_results();
    let mails = (0..4).map(|n| format!("{CANARY} {n},{CANARY} {n}\n")).collect::<String>();
    fs::write(pair.homes.a.list(), format!("id,mail\n{mails}")).unwrap();
    let fault = pair.run().await.unwrap_err();
    assert!(fault.message.contains("4 of 4 filled cells rejected"), "{fault}");
    texts.push(format!("{fault} {fault:?}"));
    pair.stop().await
}

/// What the called side logs of a session names job, peer and run.
fn assert_names_its_run(log: &[u8], run_id: &str) {
    let lines = log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let complete = |line: &serde_json::Value| line["fields"]["message"] == "run complete";
    let spans: Vec<serde_json::Value> = lines.filter(complete).map(|line| line["span"].clone()).collect();
    let expected = serde_json::json!({"job": "agents", "name": "session", "peer": "bank-a", "run": run_id});
    assert!(spans.contains(&expected), "{spans:?}");
}

#[test]
fn nothing_that_is_sent() {
    let mut sent = Vec::new();
    let (a, b) = (list(0..60), list(30..90));
    let [finished, _] = run_altered(
        Party::new(Role::Initiator, terms(true), set_of(a)),
        Party::new(Role::Responder, terms(true), set_of(b)),
        &mut |_, message| {
            sent.extend(bytes(message.clone()));
            vec![message]
        },
    )
    .unwrap();
    assert_eq!(finished.matches.len(), 30);
    assert!(sent.len() > 4 * 60 * 32, "the messages were caught");
    assert!(!contains(&sent));
    assert!(!contains(&finished.signed.note()) && !contains(&finished.signed.transcript.encode()));
}

fn bytes(message: Message) -> Vec<u8> {
    match Frame::from(message) {
        Frame::Hello(bytes)
        | Frame::Commit(bytes)
        | Frame::StepEnd(bytes)
        | Frame::Close(bytes)
        | Frame::Statements(bytes)
        | Frame::Refusal(bytes)
        | Frame::Resume(bytes) => bytes.to_vec(),
        Frame::Masked { elements, .. } => elements.to_vec(),
        Frame::Evaluated { answers, proof, .. } => [answers, proof].concat(),
        _ => Vec::new(),
    }
}
