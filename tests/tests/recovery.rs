//! What goes wrong around a run rather than on its line: files that can't be written, certificates that expire, a folder that
//! comes from a copy. The long forms are campaigns (`writes`, `disk-full`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use psi_node::{
    clock::Mock,
    fault::Code,
    node::Node,
    report::{Phase, Progress},
    run,
    runs::{Attempt, Attempts, State},
};
use psi_tests::{
    chaos::{Chaos, Fault, Line},
    nodes::{Homes, JOB, Pair, Place, numbered},
    oracle::Oracle,
};

const OURS: std::ops::Range<u32> = 0..150;
const THEIRS: std::ops::Range<u32> = 100..260;
const SHARED: std::ops::Range<u32> = 100..150;

fn homes() -> Homes {
    Homes::with_lists(&numbered("agent", OURS), &numbered("agent", THEIRS))
}

fn attempts(place: &Place) -> Vec<Attempt> {
    Attempts::of(&place.home()).all().unwrap()
}

/// Does something once, where a phase begins.
struct Once {
    at: Phase,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Once {
    fn at(at: Phase, act: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self { at, act: Mutex::new(Some(Box::new(act))) })
    }

    fn has_acted(&self) -> bool {
        self.act.lock().unwrap().is_none()
    }
}

impl Progress for Once {
    fn phase(&self, phase: Phase, _: u64) {
        if phase == self.at
            && let Some(act) = self.act.lock().unwrap().take()
        {
            act();
        }
    }

    fn done(&self, _: u64) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_could_not_get_its_name_gets_it_by_the_next_run() {
    let pair = homes().serve().await;
    let output = pair.homes.a.output();
    let in_the_way = output.clone();
    let once = Once::at(Phase::Closing, move || fs::write(in_the_way, "of another program").unwrap());
    let fault = run::call(&pair.a, JOB, once).await.unwrap_err();
    assert_eq!((fault.code, fault.exit(), fault.resumable), (Code::OutputExists, 5, true), "{fault}");
    assert!(fault.message.contains("both have signed"), "{fault}");
    assert_eq!(fs::read_to_string(&output).unwrap(), "of another program");
    assert_eq!(pair.run().await.unwrap_err().code, Code::OutputExists);
    fs::remove_file(&output).unwrap();
    let summary = pair.run().await.unwrap();
    assert_eq!((summary.matches, summary.rows_written, summary.bytes_sent), (50, 50, 0));
    assert_eq!(pair.homes.a.result(), numbered("agent", SHARED));
    let [attempt] = &attempts(&pair.homes.a)[..] else { panic!("another session began") };
    assert!(attempt.error.is_none() && attempt.state == State::Unconfirmed, "{attempt:?}");
    let private = pair.homes.a.home().private().join(&attempt.run_id);
    assert!(!private.join("session").exists(), "the key's seed is gone");
    // The one after it is a new session, in which the peer is seen to have the signature.
    pair.clear_results();
    assert_ne!(pair.run().await.unwrap().run_id, summary.run_id);
    assert!(attempts(&pair.homes.a).iter().all(|attempt| attempt.state == State::Complete));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_side_whose_result_has_no_place_releases_it_at_the_next_call() {
    let pair = homes().serve().await;
    let output = pair.homes.b.output();
    let in_the_way = output.clone();
    // Nothing of the called side's is released before the caller's signature, which comes after this.
    let once = Once::at(Phase::Closing, move || fs::write(in_the_way, "of another program").unwrap());
    let first = run::call(&pair.a, JOB, once).await.unwrap();
    let attempt = || Attempts::of(pair.b.home()).read(&first.run_id).unwrap().unwrap();
    assert!(attempt().state == State::Closing && attempt().error.is_some(), "{:?}", attempt());
    fs::remove_file(&output).unwrap();
    fs::remove_file(pair.homes.a.output()).unwrap();
    // It gets its name, and so the new session's result has none there.
    pair.run().await.unwrap_err();
    assert_eq!(pair.homes.b.result(), numbered("agent", SHARED));
    assert_eq!(attempt().state, State::Unconfirmed);
    pair.clear_results();
    assert_eq!(pair.run().await.unwrap().matches, 50);
}

const START: u64 = 1_790_000_000;
const VALIDITY: u64 = 90 * 24 * 3600;

/// A pair whose certificates, made when the nodes were opened, end in a minute; the caller goes through a network that breaks.
async fn about_to_expire(clock: &Mock) -> (Pair, Chaos) {
    let mut homes = homes();
    homes.a.clock = Arc::new(clock.clone());
    homes.b.clock = Arc::new(clock.clone());
    let way = async |_: &Homes, to| {
        let chaos = Chaos::start(to, <[Line; 2]>::default()).await.unwrap();
        (chaos.address(), chaos)
    };
    let (pair, chaos) = homes.serve_behind(way).await;
    clock.set(START + VALIDITY - 60);
    (pair, chaos)
}

fn expire(clock: &Mock) -> Arc<Once> {
    let clock = clock.clone();
    Once::at(Phase::Exchanging, move || clock.set(START + VALIDITY + 60))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_does_not_end_a_connection() {
    let clock = Mock::at(START);
    let (pair, _chaos) = about_to_expire(&clock).await;
    let expiring = expire(&clock);
    assert_eq!(run::call(&pair.a, JOB, expiring.clone()).await.unwrap().matches, 50);
    assert!(expiring.has_acted());
    pair.clear_results();
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Certificate, 6), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_when_a_certificate_has_expired_goes_on_with_another_one() {
    let clock = Mock::at(START);
    let (pair, chaos) = about_to_expire(&clock).await;
    pair.run().await.unwrap();
    let bytes = chaos.tally().total();
    pair.clear_results();
    chaos.plan(Fault::Rst.at(bytes * 7 / 10));
    let expiring = expire(&clock);
    let fault = run::call(&pair.a, JOB, expiring.clone()).await.unwrap_err();
    assert!(fault.resumable && expiring.has_acted(), "{fault}");
    chaos.assert_struck(1);
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.resumable), (Code::Certificate, true), "{fault}");
    // Both processes are started again.
    let homes = pair.stop().await;
    let pair = homes.serve().await;
    let summary = pair.run().await.unwrap();
    assert_eq!((summary.matches, summary.resumed), (50, 1));
    assert_eq!(attempts(&pair.homes.a).len(), 2);
    pair.stop().await;
}

/// What stands in a folder and below.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The records of a side are those of yesterday again.
fn restore(place: &Place, backup: &Path) {
    for folder in ["attempts", "private", "runs"] {
        fs::remove_dir_all(place.home().state().join(folder)).unwrap();
        copy(&backup.join(folder), &place.home().state().join(folder));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_before_the_last_run_learns_of_it_from_the_peer() {
    let pair = homes().serve().await;
    pair.run().await.unwrap();
    let backup = tempfile::tempdir().unwrap();
    copy(pair.homes.b.home().state(), backup.path());
    pair.clear_results();
    let lost = pair.run().await.unwrap();
    restore(&pair.homes.b, backup.path());
    assert_eq!(pair.homes.b.runs().len(), 1);
    pair.clear_results();
    // Its own signature, shown by the peer, is what tells it.
    assert_eq!(pair.run().await.unwrap().matches, 50);
    assert_eq!(pair.homes.b.runs().len(), 3);
    let adopted = pair.homes.b.home().runs().join(&lost.run_id);
    assert!(adopted.join("statement.note").exists() && !adopted.join("transcript").exists());
    // What it had disclosed counts again.
    let known = attempts(&pair.homes.b);
    let again = known.iter().find(|attempt| attempt.run_id == lost.run_id).unwrap();
    assert_eq!((known.len(), again.state, again.lists[0].matches), (3, State::Complete, Some(50)));
    assert_eq!(again.charges().map(|charge| charge.tested).sum::<u64>(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_before_an_unfinished_run_is_named_when_the_peer_goes_on() {
    let way = async |_: &Homes, to| {
        let chaos = Chaos::start(to, <[Line; 2]>::default()).await.unwrap();
        (chaos.address(), chaos)
    };
    let (pair, chaos) = homes().serve_behind(way).await;
    pair.run().await.unwrap();
    let bytes = chaos.tally().total();
    pair.clear_results();
    let backup = tempfile::tempdir().unwrap();
    copy(pair.homes.b.home().state(), backup.path());
    chaos.plan(Fault::Fin.at(bytes * 7 / 10));
    assert!(pair.run().await.unwrap_err().resumable);
    chaos.assert_struck(1);
    let homes = pair.stop().await;
    restore(&homes.b, backup.path());
    let pair = homes.serve().await;
    // The caller names it and gives the session up; another one is begun by the next run.
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit(), attempts(&pair.homes.a).len()), (Code::SetBack, 13, 2), "{fault}");
    assert_eq!(pair.run().await.unwrap().matches, 50);
    let given_up = attempts(&pair.homes.a).into_iter().find(|attempt| attempt.state == State::Abandoned);
    let reason = given_up.unwrap().error.unwrap();
    assert!(reason.contains("restored from"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_sealing_key_is_not_replaced_while_something_needs_it() {
    let pair = homes().serve().await;
    pair.run().await.unwrap();
    let homes = pair.stop().await;
    let home = homes.a.home();
    fs::remove_file(home.seal_key()).unwrap();
    assert_eq!(Node::open(&home).err().map(|fault| fault.code), Some(Code::KeyFile));
    assert!(!home.seal_key().exists());
    fs::remove_dir_all(home.private()).unwrap();
    assert!(Node::open(&home).is_ok() && home.seal_key().exists());
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod traced {
    use std::process::Stdio;

    use nix::errno::Errno;
    use psi_tests::{
        chance::Chance,
        tracer::{Ended, Form, Planned, Traced, command},
    };

    use super::*;

    /// A run of the caller's in a process of its own.
    async fn run(pair: &Pair, planned: Option<Planned>) -> Ended {
        let home = pair.homes.a.home().state().to_owned();
        let mut call = command(Path::new(env!("CARGO_BIN_EXE_call")));
        call.arg(&home).stdin(Stdio::null()).stderr(Stdio::null());
        let traced = Traced::start(call, &home, planned).unwrap();
        tokio::task::spawn_blocking(|| traced.wait().unwrap()).await.unwrap()
    }

    /// The called side may take a little longer to notice that the run before is over.
    async fn to_the_end(pair: &Pair) {
        loop {
            match run(pair, None).await.status {
                Ok(0) => return,
                Ok(11) => {}
                status => panic!("the run after the fault ended with {status:?}"),
            }
        }
    }

    /// Every change that a run makes to its files can be the one that fails; the long form goes through them all.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_to_a_file_that_fails_anywhere() {
        let mut chance = Chance::of_test();
        let mut homes = homes();
        homes.a.output_name = "out-{run}.csv".to_owned();
        homes.b.output_name = "out-{run}.csv".to_owned();
        let oracle = Oracle::new(&homes);
        let pair = homes.serve().await;
        let clean = run(&pair, None).await;
        assert_eq!(clean.status, Ok(0));
        assert!(clean.changes > 50, "{clean:?}");
        for form in [Form::Failed, Form::Done, Form::Full, Form::Killed] {
            for number in chance.spread(clean.changes * 9 / 10, 3) {
                let errno = if form == Form::Full { Errno::ENOSPC } else { Errno::EIO };
                let planned = Planned { number, form, errno };
                let ended = run(&pair, Some(planned)).await;
                assert!(ended.struck.is_some(), "{planned:?} did not strike");
                match (form, ended.status) {
                    (Form::Killed, Err(_)) | (_, Ok(0 | 5 | 12)) => {}
                    _ => panic!("{planned:?}: {ended:?}"),
                }
                to_the_end(&pair).await;
                let findings = oracle.check(&pair.homes, None);
                findings.assert_kept();
                assert!(findings.unfinished.is_empty(), "{planned:?}, {ended:?}: {findings:?}");
            }
        }
    }
}
