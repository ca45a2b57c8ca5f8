//! What a run leaves besides the matching rows: the rejects, and what is known for the next night.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{fs, path::PathBuf, sync::Arc};

use psi_node::{
    config::Overrides,
    fault::{Code, Fault},
    report::{Silent, Summary},
    run,
    runs::{Attempt, Attempts, State},
};
use psi_tests::{
    chaos::{Chaos, Fault as Break, Line},
    nodes::{Homes, JOB, Pair, Place, numbered},
};

/// Identifiers, and rows that are none between them.
fn list_with_rejects(identifiers: &[String], bad: usize) -> String {
    let rows: String = identifiers.iter().map(|identifier| format!("{identifier},kept\n")).collect();
    let bad: String = (0..bad).map(|number| format!(",bad {number}\n")).collect();
    format!("id,note\n{bad}{rows}")
}

fn homes() -> Homes {
    let mut homes = Homes::new();
    let rejects = |place: &Place| format!("rejects = {:?}", rejects_path(place));
    homes.a.job.push(rejects(&homes.a));
    homes.b.job.push(rejects(&homes.b));
    fs::write(homes.a.list(), list_with_rejects(&numbered("agent", 0..30), 2)).unwrap();
    homes.b.write_list(numbered("agent", 20..50));
    homes
}

fn rejects_path(place: &Place) -> PathBuf {
    place.output().with_file_name("rejects-{run}.csv")
}

/// Every file of rejects, with what is in it.
fn rejects(place: &Place) -> Vec<(String, String)> {
    let folder = place.output().parent().unwrap().to_owned();
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains("rejects-"))
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

const TWO_REJECTS: &str = "psi_line,psi_column,psi_reason,id,note\n2,id,empty,,bad 0\n3,id,empty,,bad 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn rejects_come_with_the_result_and_nothing_comes_where_there_are_none() {
    let pair = homes().serve().await;
    let summary = pair.run().await.unwrap();
    assert_eq!((summary.matches, summary.rows_rejected), (10, 2));
    let homes = pair.stop().await;
    assert_eq!(rejects(&homes.a), [(format!("rejects-{}.csv", summary.run_id), TWO_REJECTS.to_owned())]);
    assert!(summary.rejects_file.unwrap().ends_with(format!("rejects-{}.csv", summary.run_id)));
    assert!(rejects(&homes.b).is_empty(), "nothing was left out there");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_rejects_are_there_at_once_and_nothing_is_sent() {
    let pair = homes().serve().await;
    fs::write(pair.homes.a.list(), list_with_rejects(&numbered("agent", 0..2), 3)).unwrap();
    let fault = pair.run().await.unwrap_err();
    assert_eq!(fault.code, Code::TooManyRejects);
    let [(name, text)] = &rejects(&pair.homes.a)[..] else { panic!("one file expected") };
    assert!(name.ends_with("Z-unsent.csv"), "{name}");
    assert!(
        fault.message.contains(&format!(
            "; all of them are in {}",
            pair.homes.a.output().with_file_name(name).display()
        )),
        "{fault}"
    );
    assert_eq!(text.lines().count(), 4);
    // The called side does the same for its own list, and tells its peer no more than the code.
    fs::write(pair.homes.a.list(), list_with_rejects(&numbered("agent", 0..2), 0)).unwrap();
    fs::write(pair.homes.b.list(), list_with_rejects(&numbered("agent", 0..2), 3)).unwrap();
    let fault = pair.run().await.unwrap_err();
    assert!(!fault.message.contains("rejects-"), "{fault}");
    let homes = pair.stop().await;
    assert_eq!(rejects(&homes.b).len(), 1);
    assert!(Attempts::of(&homes.a.home()).all().unwrap().is_empty(), "nothing was agreed");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_never_written_over_a_file() {
    let mut homes = homes();
    homes.a.job = vec![format!("rejects = {:?}", homes.a.output().with_file_name("rejects-all.csv"))];
    let pair = homes.serve().await;
    let target = pair.homes.a.output().with_file_name("rejects-all.csv");
    fs::write(&target, "precious").unwrap();
    let fault = pair.run().await.unwrap_err();
    assert_eq!(fault.code, Code::OutputExists);
    assert!(fault.message.contains("rejects-all.csv"), "{fault}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

/// A pair of which `a` keeps to what is new.
fn only_new(homes: &mut Homes) {
    homes.a.job.push("only_new = true".to_owned());
}

/// One night with these lists; both results are gone afterwards.
async fn night(pair: &Pair, ours: &[String], theirs: &[String]) -> (Summary, Vec<String>) {
    pair.homes.a.write_list(ours);
    pair.homes.b.write_list(theirs);
    let summary = pair.run().await.unwrap();
    assert_eq!(pair.homes.b.result().len() as u64, summary.matches, "the other side keeps everything");
    let result = pair.homes.a.result();
    pair.clear_results();
    (summary, result)
}

fn known(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.home().known()).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_did_not_match_the_night_before_comes_out() {
    let mut homes = Homes::new();
    only_new(&mut homes);
    let pair = homes.serve().await;
    let ours = numbered("agent", 0..40);
    let (first, result) = night(&pair, &ours, &numbered("agent", 30..60)).await;
    assert_eq!((first.matches, first.rows_known, first.since), (10, 0, None));
    assert_eq!(result, numbered("agent", 30..40));
    // Ten of last night, and five more.
    let (second, result) = night(&pair, &ours, &numbered("agent", 25..60)).await;
    assert_eq!((second.matches, second.rows_written, second.rows_known), (15, 5, 10));
    assert_eq!(second.since, Some(first.run_id));
    assert_eq!(result, numbered("agent", 25..30));
    // A night without any, and what matched before is new again.
    let (third, result) = night(&pair, &ours, &numbered("other", 0..60)).await;
    assert_eq!((third.matches, third.rows_known, third.since), (0, 0, Some(second.run_id)));
    assert!(result.is_empty());
    let (fourth, result) = night(&pair, &ours, &numbered("agent", 30..60)).await;
    assert_eq!((fourth.matches, fourth.rows_known, fourth.since), (10, 0, Some(third.run_id)));
    assert_eq!(result, numbered("agent", 30..40));
    assert_eq!(known(&pair.homes.a).len(), 1);
    assert!(known(&pair.homes.b).is_empty(), "the other side remembers nothing");
    let attempt = Attempts::of(&pair.homes.a.home()).read(&second_of(&pair)).unwrap().unwrap();
    assert!(attempt.only_new && attempt.rows.unwrap().known == 10);
}

/// The run of the second night.
fn second_of(pair: &Pair) -> String {
    let attempts = Attempts::of(&pair.homes.a.home()).all().unwrap();
    attempts.into_iter().find(|attempt| attempt.rows.as_ref().unwrap().known > 0).unwrap().run_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_new_if_one_of_its_identifiers_is() {
    let mut homes = Homes::new();
    only_new(&mut homes);
    for place in [&mut homes.a, &mut homes.b] {
        place.keys = r#"keys = [{ column = "id", profile = "text/1" }, { column = "qq", profile = "qq/1" }]"#
            .to_owned();
    }
    let pair = homes.serve().await;
    let ours = "id,qq\nagent 1,10001\nagent 2,10002\nagent 3,\nagent 4,10001\n";
    fs::write(pair.homes.a.list(), ours).unwrap();
    fs::write(pair.homes.b.list(), "id,qq\nagent 1,10009\nagent 2,10008\n").unwrap();
    pair.run().await.unwrap();
    pair.clear_results();
    // The number of the first is new, so is that of the fourth; nothing is of the second.
    fs::write(pair.homes.b.list(), "id,qq\nagent 1,10001\nagent 2,10008\n").unwrap();
    let summary = pair.run().await.unwrap();
    assert_eq!((summary.matches, summary.rows_written, summary.rows_known), (3, 2, 1));
    let result = fs::read_to_string(pair.homes.a.output()).unwrap();
    assert_eq!(result, "id,qq,psi_matched\nagent 1,10001,id;qq\nagent 4,10001,qq\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_the_option_leaves_nothing_known_and_one_that_fails_what_was() {
    let pair = Homes::new().serve().await;
    let ours = numbered("agent", 0..10);
    let new = Overrides { only_new: true, ..Overrides::default() };
    pair.homes.a.write_list(&ours);
    pair.homes.b.write_list(&ours);
    let run = async |with: &Overrides| run::call_with(&pair.a, JOB, with, Arc::new(Silent)).await;
    assert_eq!(run(&new).await.unwrap().rows_known, 0);
    assert_eq!(run(&new).await.unwrap_err().code, Code::OutputExists);
    pair.clear_results();
    assert_eq!(run(&new).await.unwrap().rows_known, 10);
    pair.clear_results();
    assert_eq!(run(&Overrides::default()).await.unwrap().rows_written, 10);
    pair.clear_results();
    assert!(known(&pair.homes.a).is_empty());
    assert_eq!(run(&new).await.unwrap().since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_once_what_it_is_told() {
    let pair = homes().serve().await;
    let folder = pair.homes.a.output().parent().unwrap().to_owned();
    let with = Overrides {
        output: Some(folder.join("once-{job}-{run}.jsonl")),
        columns: vec!["note".into()],
        rejects: Some(folder.join("once.rejects-{run}.csv")),
        ..Overrides::default()
    };
    let summary = run::call_with(&pair.a, JOB, &with, Arc::new(Silent)).await.unwrap();
    let output = folder.join(format!("once-{JOB}-{}.jsonl", summary.run_id));
    assert_eq!(summary.output, output);
    assert_eq!(fs::read_to_string(output).unwrap(), "{\"note\":\"kept\"}\n".repeat(10));
    let [(name, text)] = &rejects(&pair.homes.a)[..] else { panic!("one file expected") };
    assert_eq!(
        (name.as_str(), text.as_str()),
        (&*format!("once.rejects-{}.csv", summary.run_id), TWO_REJECTS)
    );
    assert!(pair.homes.a.results().is_empty(), "the job's own output is not touched");
    let wrong = Overrides { output: Some(folder.join("once.xls")), ..Overrides::default() };
    assert_eq!(run::call_with(&pair.a, JOB, &wrong, Arc::new(Silent)).await.unwrap_err().code, Code::Usage);
}

/// A pair whose caller goes through a network that can break.
async fn broken(homes: Homes) -> (Pair, Chaos) {
    let way = async |_: &Homes, to| {
        let chaos = Chaos::start(to, <[Line; 2]>::default()).await.unwrap();
        (chaos.address(), chaos)
    };
    homes.serve_behind(way).await
}

/// The called side may notice a cut a little later.
async fn run_when_free(pair: &Pair) -> Result<Summary, Fault> {
    loop {
        match pair.run().await {
            Err(fault) if fault.code == Code::Busy => tokio::task::yield_now().await,
            ended => return ended,
        }
    }
}

/// Large enough that a connection can be cut in its steps.
const OURS: std::ops::Range<u32> = 0..3000;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_does_what_it_was_told_when_it_began() {
    let bytes = {
        let homes = Homes::with_lists(&numbered("agent", OURS), &numbered("agent", 2500..5300));
        let (pair, chaos) = broken(homes).await;
        pair.run().await.unwrap();
        chaos.tally().total()
    };
    let (pair, chaos) = broken(homes()).await;
    fs::write(pair.homes.a.list(), list_with_rejects(&numbered("agent", OURS), 2)).unwrap();
    pair.homes.b.write_list(numbered("agent", 2600..5300));
    let with = Overrides { only_new: true, ..Overrides::default() };
    run::call_with(&pair.a, JOB, &with, Arc::new(Silent)).await.unwrap();
    pair.clear_results();
    pair.homes.b.write_list(numbered("agent", 2500..5300));
    let folder = pair.homes.a.output().parent().unwrap().to_owned();
    let with = Overrides {
        output: Some(folder.join("once-{run}.csv")),
        columns: vec!["id".into()],
        rejects: Some(folder.join("once.rejects-{run}.csv")),
        only_new: true,
    };
    chaos.plan(Break::Rst.at(bytes * 6 / 10));
    let fault = run::call_with(&pair.a, JOB, &with, Arc::new(Silent)).await.unwrap_err();
    assert!(fault.resumable, "{fault}");
    chaos.assert_struck(1);
    // The configuration and the list of today say something else.
    fs::write(pair.homes.a.list(), "id,note\n").unwrap();
    let summary = run_when_free(&pair).await.unwrap();
    assert_eq!((summary.resumed, summary.matches, summary.rows_known), (1, 500, 400));
    let expected: String = (2500..2600).map(|number| format!("agent {number}\n")).collect();
    assert_eq!(
        fs::read_to_string(folder.join(format!("once-{}.csv", summary.run_id))).unwrap(),
        format!("id\n{expected}")
    );
    assert!(pair.homes.a.results().is_empty());
    let texts: Vec<_> = rejects(&pair.homes.a).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, [TWO_REJECTS, TWO_REJECTS]);
}

/// As the disk is when a process ends after `runs/ID` has its name, and before the results have theirs.
fn set_back(place: &Place, run: &str, output: bool) {
    let home = place.home();
    let attempts = Attempts::of(&home);
    let attempt = attempts.read(run).unwrap().unwrap();
    let known = home.known();
    let [name] = &in_place(place)[..] else { panic!("one expected") };
    fs::rename(known.join(name), known.join(format!(".{name}.{run}.part"))).unwrap();
    let rejects = attempt.rejects.clone().unwrap();
    let hidden = |path: &std::path::Path| {
        path.with_file_name(format!(".{}.{run}.part", path.file_name().unwrap().to_string_lossy()))
    };
    fs::rename(&rejects, hidden(&rejects)).unwrap();
    if output {
        fs::rename(&attempt.output, hidden(&attempt.output)).unwrap();
    }
    attempts.write(&Attempt { state: State::Closing, ..attempt }).unwrap();
}

fn in_place(place: &Place) -> Vec<String> {
    known(place).into_iter().filter(|name| !name.starts_with('.')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_side_mends_its_crash_before_it_begins_anew() {
    let mut homes = homes();
    homes.b.job.push("only_new = true".to_owned());
    fs::write(homes.b.list(), list_with_rejects(&numbered("agent", 20..50), 1)).unwrap();
    let pair = homes.serve().await;
    let first = pair.run().await.unwrap();
    set_back(&pair.homes.b, &first.run_id, true);
    assert!(!pair.homes.b.output().exists());
    fs::remove_file(pair.homes.a.output()).unwrap();
    // The result of the first run stands where that of the second was to go.
    assert_eq!(pair.run().await.unwrap_err().code, Code::Refused);
    assert_eq!(pair.homes.b.result(), numbered("agent", 20..30));
    assert_eq!((rejects(&pair.homes.b).len(), in_place(&pair.homes.b).len()), (1, 1));
    pair.clear_results();
    pair.run().await.unwrap();
    assert!(pair.homes.b.result().is_empty(), "what matched is known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_place_after_a_crash_is_named_and_stays() {
    let mut homes = homes();
    only_new(&mut homes);
    let pair = homes.serve().await;
    let first = pair.run().await.unwrap();
    set_back(&pair.homes.a, &first.run_id, true);
    fs::write(pair.homes.a.output(), "precious").unwrap();
    let fault = pair.run().await.unwrap_err();
    assert_eq!(fault.code, Code::OutputExists);
    assert!(fault.message.contains("the result waits in"), "{fault}");
    assert_eq!(fs::read_to_string(pair.homes.a.output()).unwrap(), "precious");
    // As soon as there is a place for it, the next run releases it, and is no session of its own.
    fs::remove_file(pair.homes.a.output()).unwrap();
    let again = pair.run().await.unwrap();
    assert_eq!((again.run_id, pair.homes.a.result()), (first.run_id, numbered("agent", 20..30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_record_and_the_results_is_mended() {
    for output in [true, false] {
        let mut homes = homes();
        only_new(&mut homes);
        let pair = homes.serve().await;
        let first = pair.run().await.unwrap();
        set_back(&pair.homes.a, &first.run_id, output);
        assert!(in_place(&pair.homes.a).is_empty() && rejects(&pair.homes.a)[0].0.starts_with('.'));
        // The next run finishes this one, and is no session of its own.
        let again = pair.run().await.unwrap();
        assert_eq!((again.run_id, again.matches), (first.run_id.clone(), 10));
        assert_eq!(pair.homes.a.result(), numbered("agent", 20..30));
        assert_eq!(
            rejects(&pair.homes.a),
            [(format!("rejects-{}.csv", first.run_id), TWO_REJECTS.to_owned())]
        );
        let [attempt] = &Attempts::of(&pair.homes.a.home()).all().unwrap()[..] else { panic!("one attempt") };
        assert_eq!(attempt.state, State::Unconfirmed, "the peer has not been asked again");
        pair.clear_results();
        let second = pair.run().await.unwrap();
        assert_eq!((second.rows_known, second.since), (10, Some(first.run_id.clone())));
        let attempt = Attempts::of(&pair.homes.a.home()).read(&first.run_id).unwrap().unwrap();
        assert_eq!(attempt.state, State::Complete);
    }
}
