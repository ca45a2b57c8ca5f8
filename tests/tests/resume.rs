//! A run that goes on after its connection or its process ended, over real mutual TLS and from real folders.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{
    fs,
    sync::{Arc, Mutex, mpsc},
};

use psi_core::{
    message::{Message, Resume},
    verify::Verdict,
};
use psi_node::{
    audit,
    fault::Code,
    link::{Frame, LinkError, grpc},
    report::{Phase, Progress, Summary},
    run,
    runs::{Attempt, Attempts, State},
    tls::endpoint::Endpoint,
};
use psi_tests::{
    chance::Chance,
    chaos::{Chaos, Fault as Break, Line},
    nodes::{Homes, JOB, Pair, Place, numbered},
};
use tokio::sync::oneshot;

const OURS: std::ops::Range<u32> = 0..3000;
const THEIRS: std::ops::Range<u32> = 2500..5300;
const SHARED: std::ops::Range<u32> = 2500..3000;

fn homes() -> Homes {
    Homes::with_lists(&numbered("agent", OURS), &numbered("agent", THEIRS))
}

fn attempts(place: &Place) -> Vec<Attempt> {
    Attempts::of(&place.home()).all().unwrap()
}

/// One run, one charge, one result, the same statement on both sides, nothing secret left.
fn assert_one_run(homes: &Homes) {
    let mut notes = Vec::new();
    for place in [&homes.a, &homes.b] {
        let [attempt] = &attempts(place)[..] else { panic!("more than one attempt: {:?}", attempts(place)) };
        assert_eq!(attempt.state, State::Complete, "{attempt:?}");
        assert!(attempt.error.is_none() && attempt.committed.is_some(), "{attempt:?}");
        assert_eq!(place.result(), numbered("agent", SHARED));
        let [folder] = &place.runs()[..] else { panic!("more than one record") };
        let pins = [homes.a.identity().public_key(), homes.b.identity().public_key()];
        assert_eq!(audit::verify(folder, Some(pins)).unwrap().verdict(), Verdict::Verified);
        notes.push(["statement.note", "transcript"].map(|file| fs::read(folder.join(file)).unwrap()));
        let private = place.home().private().join(&attempt.run_id);
        let mut left: Vec<_> =
            fs::read_dir(private).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["list", "masked", "opening"]);
    }
    assert_eq!(notes[0], notes[1]);
}

/// A pair whose caller goes through a network that can break.
async fn broken(homes: Homes) -> (Pair, Chaos) {
    let way = async |_: &Homes, to| {
        let chaos = Chaos::start(to, <[Line; 2]>::default()).await.unwrap();
        (chaos.address(), chaos)
    };
    homes.serve_behind(way).await
}

/// Bytes of a whole run, both ways.
async fn bytes_of_a_run() -> u64 {
    let (pair, chaos) = broken(homes()).await;
    pair.run().await.unwrap();
    chaos.tally().total()
}

/// The called side may notice a little later.
async fn run_when_free(pair: &Pair) -> Summary {
    loop {
        match pair.run().await {
            Err(fault) if fault.code == Code::Busy => tokio::task::yield_now().await,
            ended => return ended.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_tried_again_and_the_run_goes_on() {
    let bytes = bytes_of_a_run().await;
    let mut chance = Chance::of_test();
    for fault in [Break::Fin, Break::Rst] {
        let mut homes = homes();
        homes.a.retry_minutes = 1;
        let (pair, chaos) = broken(homes).await;
        for byte in chance.spread(bytes / 6, 4) {
            chaos.plan(fault.at(byte.max(40_000)));
        }
        let summary = pair.run().await.unwrap();
        chaos.assert_struck(4);
        assert!(summary.resumed >= 2, "{}", summary.resumed);
        assert_one_run(&pair.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_the_next_run_goes_on_with_the_snapshot_of_the_list() {
    let bytes = bytes_of_a_run().await;
    let (pair, chaos) = broken(homes()).await;
    chaos.plan(Break::Rst.at(bytes * 7 / 10));
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.exit(), fault.resumable), (6, true), "{fault}");
    chaos.assert_struck(1);
    let [before] = &attempts(&pair.homes.a)[..] else { panic!() };
    assert_eq!(before.state, State::Committed);
    // Another list tomorrow, and none at all over there.
    pair.homes.a.write_list(numbered("other", 0..50));
    fs::remove_file(pair.homes.b.list()).unwrap();
    let summary = run_when_free(&pair).await;
    assert_eq!((summary.resumed, &summary.run_id), (1, &before.run_id));
    assert_eq!((summary.rows_read, summary.matches), (3000, 500));
    assert_one_run(&pair.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_whole_after_a_cut() {
    let bytes = bytes_of_a_run().await;
    let mut homes = homes();
    homes.a.policy("evidence_days", 30);
    homes.b.policy("evidence_days", 30);
    homes.a.retry_minutes = 1;
    let (pair, chaos) = broken(homes).await;
    chaos.plan(Break::Fin.at(bytes / 2));
    chaos.plan(Break::Fin.at(bytes / 3));
    let summary = pair.run().await.unwrap();
    chaos.assert_struck(2);
    assert!(summary.resumed > 0);
    assert_one_run(&pair.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_several_lists_goes_on_with_all_of_them() {
    let bytes = bytes_of_a_run().await;
    let mut homes = homes();
    homes.a.write_two_lists(OURS);
    homes.b.write_two_lists(THEIRS);
    homes.a.retry_minutes = 1;
    let (pair, chaos) = broken(homes).await;
    chaos.plan(Break::Fin.at(bytes * 2 / 3));
    chaos.plan(Break::Rst.at(bytes * 2 / 3));
    let summary = pair.run().await.unwrap();
    chaos.assert_struck(2);
    let matches: Vec<u64> = summary.lists.iter().map(|list| list.matches).collect();
    assert_eq!((matches, summary.resumed), (vec![500, 250], 2));
    assert_eq!(only(&pair.homes.a).lists.len(), 2);
}

/// Tells when a run has come so far, and holds it there until it is let go or dies.
struct At {
    phase: Phase,
    done: u64,
    now: Mutex<Option<Phase>>,
    reached: Mutex<Option<oneshot::Sender<()>>>,
}

impl At {
    fn new(phase: Phase, done: u64) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (reached, waiting) = oneshot::channel();
        (Arc::new(Self { phase, done, now: Mutex::new(None), reached: Mutex::new(Some(reached)) }), waiting)
    }

    fn look(&self, done: u64) {
        if *self.now.lock().unwrap() == Some(self.phase) && done >= self.done {
            self.reached.lock().unwrap().take().map(|reached| reached.send(()));
        }
    }
}

impl Progress for At {
    fn phase(&self, phase: Phase, _: u64) {
        *self.now.lock().unwrap() = Some(phase);
        self.look(0);
    }

    fn done(&self, done: u64) {
        self.look(done);
    }
}

/// Runs until there, and then the calling process is gone: nothing of its memory is left.
async fn die(pair: &Pair, phase: Phase, done: u64) {
    let (at, reached) = At::new(phase, done);
    let node = pair.a.clone();
    let running = tokio::spawn(async move { run::call(&node, JOB, at).await });
    reached.await.unwrap();
    running.abort();
    let _ = running.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_dies_goes_on_with_what_it_kept() {
    for (phase, done) in
        [(Phase::Masking, 0), (Phase::Exchanging, 0), (Phase::Exchanging, 1500), (Phase::Closing, 0)]
    {
        let mut homes = homes();
        // Its list goes through scratch files, the first time and again.
        homes.a.room.memory = 20_000;
        let pair = homes.serve().await;
        die(&pair, phase, done).await;
        run_when_free(&pair).await;
        assert_one_run_or_two(&pair.stop().await, phase);
    }
}

/// Stops where the steps are over, and dies when it is let go.
struct Held {
    reached: Mutex<Option<oneshot::Sender<()>>>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Progress for Held {
    fn phase(&self, phase: Phase, _: u64) {
        if phase == Phase::Closing
            && let Some(reached) = self.reached.lock().unwrap().take()
        {
            reached.send(()).unwrap();
            // What was queued before goes out meanwhile.
            let _ = tokio::task::block_in_place(|| self.go.lock().unwrap().recv());
            // A task that is aborted runs on to where it next has to wait, which on a busy machine may be the end of the run.
            panic!("the caller dies here");
        }
    }

    fn done(&self, _: u64) {}
}

/// Whoever has signed goes back to any step: also to one that was kept in the last moment before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_signed_goes_back_for_a_caller_that_died() {
    let bytes = bytes_of_a_run().await;
    let (pair, chaos) = broken(homes()).await;
    chaos.plan(Break::Rst.at(bytes / 2));
    assert!(pair.run().await.unwrap_err().resumable);
    chaos.assert_struck(1);
    // The caller comes to the end of the steps, of which only the first half is kept, and dies.
    let (reached, at_the_end) = oneshot::channel();
    let (let_go, go) = mpsc::channel();
    let held = Arc::new(Held { reached: Mutex::new(Some(reached)), go: Mutex::new(go) });
    let node = pair.a.clone();
    let running = tokio::spawn(async move { run::call(&node, JOB, held).await });
    at_the_end.await.unwrap();
    while only(&pair.homes.b).state != State::Closing {
        tokio::task::yield_now().await;
    }
    drop(let_go);
    assert!(running.await.unwrap_err().is_panic());
    assert_eq!(run_when_free(&pair).await.resumed, 2);
    assert_one_run(&pair.stop().await);
}

/// A run that dies while it masks may be over for one side before it is for the other.
fn assert_one_run_or_two(homes: &Homes, phase: Phase) {
    if phase != Phase::Masking {
        return assert_one_run(homes);
    }
    for place in [&homes.a, &homes.b] {
        assert_eq!(attempts(place).last().unwrap().state, State::Complete);
        assert_eq!(place.result(), numbered("agent", SHARED));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_node_that_is_restarted_goes_on() {
    let bytes = bytes_of_a_run().await;
    let (pair, chaos) = broken(homes()).await;
    chaos.plan(Break::Stall(None).at(bytes * 6 / 10));
    let node = pair.a.clone();
    let (at, _) = At::new(Phase::Closing, 0);
    let running = tokio::spawn(async move { run::call(&node, JOB, at).await });
    while chaos.tally().struck == 0 {
        tokio::task::yield_now().await;
    }
    let homes = pair.stop().await;
    running.abort();
    let _ = running.await;
    let pair = homes.serve().await;
    let summary = run_when_free(&pair).await;
    assert_eq!(summary.resumed, 1);
    assert_one_run(&pair.stop().await);
}

/// A run that was cut in its steps.
async fn cut() -> Pair {
    let bytes = bytes_of_a_run().await;
    let (pair, chaos) = broken(homes()).await;
    chaos.plan(Break::Rst.at(bytes / 2));
    assert!(pair.run().await.unwrap_err().resumable);
    let homes = pair.stop().await;
    homes.serve().await
}

fn only(place: &Place) -> Attempt {
    let [attempt] = &attempts(place)[..] else { panic!("one attempt expected") };
    attempt.clone()
}

/// The abandoned attempt and the complete one; they may have begun in the same second.
fn two(place: &Place) -> [Attempt; 2] {
    let mut attempts = attempts(place);
    attempts.sort_by_key(|attempt| attempt.state != State::Abandoned);
    let states: Vec<_> = attempts.iter().map(|attempt| attempt.state).collect();
    assert_eq!(states, [State::Abandoned, State::Complete]);
    attempts.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_or_missing_checkpoint_is_named() {
    for flip in [true, false] {
        let pair = cut().await;
        let journal = pair.homes.a.home().private().join(only(&pair.homes.a).run_id).join("journal/00000000");
        if flip {
            let mut bytes = fs::read(&journal).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&journal, bytes).unwrap();
        } else {
            fs::write(&journal, &fs::read(&journal).unwrap()[..100]).unwrap();
        }
        let fault = pair.run().await.unwrap_err();
        assert_eq!((fault.code, fault.exit()), (Code::State, 13), "{fault}");
        assert!(fault.message.contains("journal"), "{fault}");
        assert!(!pair.homes.a.output().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_set_back_only_means_more_work() {
    let pair = cut().await;
    let journal = pair.homes.a.home().private().join(only(&pair.homes.a).run_id).join("journal");
    fs::remove_dir_all(journal).unwrap();
    assert_eq!(run_when_free(&pair).await.resumed, 1);
    assert_one_run(&pair.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_other_side_has_no_record_of_is_over() {
    let pair = cut().await;
    fs::remove_dir_all(pair.homes.b.home().attempts()).unwrap();
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::SetBack, 13), "{fault}");
    let summary = pair.run().await.unwrap();
    assert_eq!((summary.resumed, summary.matches), (0, 500));
    let [abandoned, _] = two(&pair.homes.a);
    assert!(abandoned.error.as_ref().unwrap().contains("no record"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_given_up_leaves_its_record_and_no_key() {
    let pair = cut().await;
    let attempt = only(&pair.homes.a);
    run::cancel(&pair.a, &attempt.run_id).unwrap();
    assert_eq!(run::cancel(&pair.a, &attempt.run_id).unwrap_err().code, Code::RunEnded);
    let after = only(&pair.homes.a);
    assert_eq!((after.state, after.committed), (State::Abandoned, attempt.committed));
    assert!(!pair.homes.a.home().private().join(&attempt.run_id).exists());
    let transcript = pair.homes.a.home().attempts().join(format!("{}.transcript", attempt.run_id));
    assert!(
        !psi_core::transcript::Transcript::decode(&fs::read(transcript).unwrap()).unwrap().steps.is_empty()
    );
    // The next run is a new session, and the called side gives its half up as well.
    assert_eq!(run_when_free(&pair).await.resumed, 0);
    two(&pair.homes.b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_terms_ends_an_unfinished_run() {
    let pair = cut().await;
    let path = pair.homes.a.home().config().to_owned();
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("max_items = 1000000", "max_items = 5000")).unwrap();
    pair.a.reload().unwrap();
    assert_eq!(pair.run().await.unwrap_err().code, Code::Terms);
    assert_eq!(attempts(&pair.homes.a)[0].state, State::Abandoned);
}

/// What the called side says to a Resume.
async fn say(pair: &Pair, spoil: impl FnOnce(Resume) -> Resume) -> Code {
    let attempt = only(&pair.homes.b);
    let sid = sid_of(pair, &attempt.run_id);
    let identity = pair.a.identity();
    let resume = spoil(Resume::new(sid, psi_core::key::Role::Initiator, 0, None, identity));
    let endpoint: Endpoint = format!("https://{}", pair.address).parse().unwrap();
    let target = grpc::Target { endpoint, key: pair.b.identity().public_key(), proxy: None };
    let (mut link, _) = grpc::connect(&target, pair.a.tls(), pair.a.settings()).await.unwrap();
    link.sender.send(Message::Resume(resume).into()).await.unwrap();
    loop {
        match link.receiver.receive().await {
            Ok(Frame::Refusal(bytes)) => {
                let refusal = psi_core::message::Refusal::decode(&bytes).unwrap();
                return psi_node::fault::TABLE.iter().find(|row| row.number == refusal.code).unwrap().code;
            }
            Ok(_) => {}
            Err(LinkError::PeerStatus { .. } | LinkError::Finished | LinkError::Ended) => {
                panic!("no refusal")
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn sid_of(pair: &Pair, run: &str) -> [u8; 32] {
    let transcript = pair.homes.a.home().attempts().join(format!("{run}.transcript"));
    let transcript = psi_core::transcript::Transcript::decode(&fs::read(transcript).unwrap()).unwrap();
    psi_core::transcript::session_id(&transcript.hellos[0], &transcript.hellos[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_can_not_be_is_refused() {
    let signed = |pair: &Pair, resume: Resume| Resume {
        signature: pair.a.identity().sign(&resume.signed_bytes()),
        ..resume
    };
    let pair = cut().await;
    assert_eq!(say(&pair, |r| Resume { sid: [9; 32], ..r }).await, Code::Signature);
    assert_eq!(say(&pair, |r| signed(&pair, Resume { sid: [9; 32], ..r })).await, Code::SetBack);
    assert_eq!(say(&pair, |r| Resume { steps: 1, ..r }).await, Code::Signature);
    // The run is still there for whoever asks properly.
    assert_eq!(only(&pair.homes.b).state, State::Committed);
    assert_eq!(run_when_free(&pair).await.resumed, 1);
    let pair = cut().await;
    let far = |r: Resume| signed(&pair, Resume { committed: true, steps: 65, ..r });
    assert_eq!(say(&pair, far).await, Code::Contradiction);
    assert_eq!(only(&pair.homes.b).state, State::Failed, "whoever breaks the protocol does not go on");
    let pair = cut().await;
    let other = |r: Resume| signed(&pair, Resume { committed: true, running: [9; 32], ..r });
    assert_eq!(say(&pair, other).await, Code::Diverged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_run_shows_its_statement() {
    let bytes = bytes_of_a_run().await;
    let mut chance = Chance::of_test();
    // Somewhere in the last bytes both have signed, and one lacks the other's Close.
    for byte in chance.spread(bytes / 50, 6).into_iter().map(|byte| bytes - bytes / 50 + byte) {
        let mut homes = homes();
        homes.a.retry_minutes = 1;
        let (pair, chaos) = broken(homes).await;
        chaos.plan(Break::Fin.at(byte));
        let first = pair.run().await.unwrap();
        // The called side may release its result a little later than the caller, who lost it.
        while run::holder(&pair.homes.b.home(), JOB).is_some() {
            tokio::task::yield_now().await;
        }
        // Whoever was not told does not know it; the next hello shows it.
        pair.clear_results();
        run_when_free(&pair).await;
        let homes = pair.stop().await;
        for place in [&homes.a, &homes.b] {
            let attempt = Attempts::of(&place.home()).read(&first.run_id).unwrap().unwrap();
            assert_eq!(attempt.state, State::Complete, "{attempt:?}");
            assert_eq!((attempts(place).len(), place.result()), (2, numbered("agent", SHARED)));
        }
    }
}
