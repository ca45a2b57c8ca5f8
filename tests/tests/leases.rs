//! Who may run, and who not: both partners at once, more than a node takes, and what others see of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
};

use psi_node::{
    budget::Budget,
    fault::{Code, Fault},
    report::{Phase, Progress, Silent, Summary},
    run,
};
use psi_tests::nodes::{Both, Homes, JOB, Place, numbered};
use tokio::sync::Notify;

fn homes(items: u32) -> Homes {
    Homes::with_lists(&numbered("agent", 0..items), &numbered("agent", 0..items))
}

fn heights(both: &Both) -> [usize; 2] {
    [both.homes.a.runs().len(), both.homes.b.runs().len()]
}

fn clear(both: &Both) {
    for place in [&both.homes.a, &both.homes.b] {
        fs::remove_file(place.output()).unwrap();
    }
}

/// A call that was refused was refused as busy.
fn is_fair(ended: &Result<Summary, Fault>) -> bool {
    ended.as_ref().err().is_none_or(|fault| fault.code == Code::Busy && fault.exit() == 11)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_starting_at_once_gives_exactly_one_session() {
    let both = homes(20).serve_both().await;
    for round in 1..=12 {
        let ended = both.run_at_once().await;
        assert!(ended.iter().all(is_fair), "round {round}: {ended:?}");
        // A side whose call was refused still writes what the other's call gives; its serving node may take a moment.
        while !(both.homes.a.output().exists() && both.homes.b.output().exists()) {
            assert!(ended.iter().any(Result::is_ok), "round {round}: {ended:?}");
            tokio::task::yield_now().await;
        }
        let sessions = ended.iter().filter(|ended| ended.is_ok()).count();
        assert_eq!((sessions, heights(&both)), (1, [round, round]), "{ended:?}");
        clear(&both);
    }
}

/// Stops where a phase begins, until it is let go.
struct Held {
    at: Phase,
    reached: Notify,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Held {
    fn at(phase: Phase) -> (Arc<Self>, mpsc::Sender<()>) {
        let (let_go, go) = mpsc::channel();
        (Arc::new(Self { at: phase, reached: Notify::new(), go: Mutex::new(go) }), let_go)
    }
}

impl Progress for Held {
    fn phase(&self, phase: Phase, _: u64) {
        if phase == self.at {
            self.reached.notify_one();
            let _ = self.go.lock().unwrap().recv();
        }
    }

    fn done(&self, _: u64) {}
}

/// Waits until somebody claims the job at that place.
async fn claimed(place: &Place) {
    let leases = || fs::read_dir(place.home().leases()).unwrap().map(|entry| entry.unwrap().path());
    let is_claim = |path: &PathBuf| path.to_string_lossy().ends_with(".claim.lock");
    let is_locked = |path: PathBuf| fs::File::open(path).unwrap().try_lock_shared().is_err();
    while !leases().filter(is_claim).any(is_locked) {
        tokio::task::yield_now().await;
    }
}

/// The side with the smaller key, and the other.
fn ranked(both: &Both) -> [(usize, &Place); 2] {
    let places = [(0, &both.homes.a), (1, &both.homes.b)];
    let key = |place: &(usize, &Place)| *place.1.identity().public_key().as_bytes();
    let [a, b] = places;
    if key(&a) < key(&b) { [a, b] } else { [b, a] }
}

/// The larger key's run has the lease and reads its list; the smaller key's call does not wait for the end of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_still_reads_lets_the_call_with_precedence_go_first() {
    let both = homes(20).serve_both().await;
    let [(smaller, _), (larger, reading)] = ranked(&both);
    let (held, let_go) = Held::at(Phase::Reading);
    let call = |of: usize, progress: Arc<dyn Progress>| {
        let node = both.nodes[of].clone();
        tokio::spawn(async move { run::call(&node, JOB, progress).await })
    };
    let yielding = call(larger, held.clone());
    held.reached.notified().await;
    let calling = call(smaller, Arc::new(Silent));
    claimed(reading).await;
    drop(let_go);
    assert_eq!(yielding.await.unwrap().unwrap_err().code, Code::Busy);
    assert_eq!(calling.await.unwrap().unwrap().matches, 20);
}

/// The other way round the call is refused at once, and the run that reads goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_without_precedence_is_refused_at_once() {
    let both = homes(20).serve_both().await;
    let [(smaller, _), (larger, _)] = ranked(&both);
    let (held, let_go) = Held::at(Phase::Reading);
    let (node, progress) = (both.nodes[smaller].clone(), held.clone());
    let reading = tokio::spawn(async move { run::call(&node, JOB, progress).await });
    held.reached.notified().await;
    let fault = run::call(&both.nodes[larger], JOB, Arc::new(Silent)).await.unwrap_err();
    assert_eq!(fault.code, Code::Busy);
    drop(let_go);
    assert_eq!(reading.await.unwrap().unwrap().matches, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_runs_than_the_node_takes_are_told_that_it_is_busy() {
    let mut homes = homes(20);
    homes.b.node.push("max_runs = 1".to_owned());
    let pair = homes.serve().await;
    // Another program of that home holds the only place.
    let place = pair.homes.b.home().leases().join("place-0.lock");
    fs::create_dir_all(pair.homes.b.home().leases()).unwrap();
    let file = fs::File::create(&place).unwrap();
    file.lock().unwrap();
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Busy, 11));
    drop(file);
    pair.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_runs_is_told_while_it_runs_and_not_afterwards() {
    let pair = homes(20).serve().await;
    let (held, let_go) = Held::at(Phase::Exchanging);
    let (node, progress) = (pair.a.clone(), held.clone());
    let running = tokio::spawn(async move { run::call(&node, JOB, progress).await });
    held.reached.notified().await;
    let holder = run::holder(pair.a.home(), JOB).expect("the run is under way");
    let refused = pair.run().await.unwrap_err();
    drop(let_go);
    let summary = running.await.unwrap().unwrap();
    assert_eq!((holder.pid, holder.calling, holder.run), (std::process::id(), false, Some(summary.run_id)));
    assert!(refused.message.contains(&format!("by process {}", std::process::id())), "{refused}");
    assert_eq!(run::holder(pair.a.home(), JOB), None);
}

/// Both runs are allowed when the sizes are told, and together they are not: whoever comes second to the Commit is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn two_jobs_at_once_do_not_spend_one_peers_budget_twice() {
    const OTHER: &str = "brokers";
    let mut homes = Homes::with_lists(&numbered("agent", 0..10), &numbered("agent", 0..20));
    homes.a.policy("max_tested_per_year", 30);
    let pair = homes.serve().await;
    for (place, node) in [(&pair.homes.a, &pair.a), (&pair.homes.b, &pair.b)] {
        let config = fs::read_to_string(place.home().config()).unwrap();
        let (_, job) = config.split_once(&format!("[jobs.{JOB}]")).unwrap();
        let job =
            job.replace(&format!("[jobs.{JOB}."), &format!("[jobs.{OTHER}.")).replace("out.csv", "out-2.csv");
        fs::write(place.home().config(), format!("{config}\n[jobs.{OTHER}]{job}")).unwrap();
        node.reload().unwrap();
    }
    let mut running = Vec::new();
    for job in [JOB, OTHER] {
        let (held, let_go) = Held::at(Phase::Masking);
        let (node, progress) = (pair.a.clone(), held.clone());
        let mut run = tokio::spawn(async move { run::call(&node, job, progress).await });
        tokio::select! {
            () = held.reached.notified() => {}
            ended = &mut run => panic!("{job}: {ended:?}"),
        }
        running.push((run, let_go));
    }
    let (runs, held): (Vec<_>, Vec<_>) = running.into_iter().unzip();
    drop(held);
    let mut refused = Vec::new();
    for run in runs {
        refused.extend(run.await.unwrap().err());
    }
    assert_eq!(refused.iter().map(|fault| fault.code).collect::<Vec<_>>(), [Code::Policy]);
    assert!(refused[0].message.contains("has tested 20 identifiers"), "{}", refused[0]);
    let now = pair.a.now();
    let budget = Budget::load(&pair.homes.a.home(), &pair.a.config(), &pair.homes.b.name, now).unwrap();
    assert_eq!((budget.profiles[0].tested, budget.profiles[0].left), (20, Some(10)));
}
