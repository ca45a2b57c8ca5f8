//! Nights that pass by a clock that the tests turn: two serving nodes and nobody there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{fs, sync::Arc, time::Duration};

use psi_node::{
    clock::{Clock, Mock},
    report::Silent,
    run,
    runs::{Attempt, Attempts, State},
};
use psi_tests::{
    chaos::{Chaos, Fault as Break, Line},
    nodes::{Both, Homes, JOB, Place, numbered},
};

/// 2026-11-24 02:00 in Shanghai: half an hour before the job is due.
const NIGHT: u64 = 1_795_456_800;
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;
const SCHEDULE: &str = "schedule = \"30 2 * * *\"";
/// Longer than from one night to the next.
const RESUME_WITHIN_HOURS: u64 = 48;

/// Two homes by one clock, with lists of 20 items, half of them shared.
fn homes(clock: &Mock) -> Homes {
    let mut homes = Homes::with_lists(&numbered("agent", 0..20), &numbered("agent", 10..30));
    for place in [&mut homes.a, &mut homes.b] {
        place.clock = Arc::new(clock.clone());
        place.job.push("timezone = \"Asia/Shanghai\"".to_owned());
    }
    // `a` has a plain name: where there is a schedule, the run's id gets into it.
    homes.b.output_name = "out-{run}.csv".to_owned();
    homes
}

/// Turns the clock by a little and a little until it is so; it stands still while a run is under way.
async fn until(both: &Both, clock: &Mock, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        yielded(both).await;
        clock.advance(Duration::from_millis(100));
    }
}

/// Lets so many minutes pass, slowly enough that everybody looks at the clock now and then.
async fn pass(both: &Both, clock: &Mock, minutes: u64) {
    for _ in 0..minutes {
        clock.advance(Duration::from_secs(MINUTE));
        yielded(both).await;
    }
}

/// Lets others go on, and to its end what runs.
async fn yielded(both: &Both) {
    let runs = || both.nodes.iter().any(|node| run::holder(node.home(), JOB).is_some());
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    while runs() {
        tokio::task::yield_now().await;
    }
}

fn results(both: &Both) -> [usize; 2] {
    [both.homes.a.results().len(), both.homes.b.results().len()]
}

/// What the node remembers of its schedule; a file in the making is not read.
fn memory(place: &Place) -> String {
    let Ok(files) = fs::read_dir(place.home().schedules()) else { return String::new() };
    let names = files.map(|file| file.unwrap().path());
    let whole = names.filter(|path| path.extension().is_some_and(|ending| ending == "json")).last();
    whole.map_or_else(String::new, |path| fs::read_to_string(path).unwrap())
}

fn settled(place: &Place) -> u64 {
    let memory = memory(place);
    let number = memory.split("\"settled\": ").nth(1).and_then(|rest| rest.split(',').next());
    number.map_or(0, |number| number.parse().unwrap())
}

/// Both sides have seen their schedules.
async fn ready(both: &Both, clock: &Mock, places: &[&Place]) {
    until(both, clock, || places.iter().all(|place| !memory(place).is_empty())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_night_there_is_one_result_more() {
    let clock = Mock::at(NIGHT);
    let mut homes = homes(&clock);
    homes.a.job.push(SCHEDULE.to_owned());
    let both = homes.serve_both().await;
    ready(&both, &clock, &[&both.homes.a]).await;
    assert_eq!(results(&both), [0, 0], "a job is not due before its first moment");
    for night in 0..3 {
        let due = NIGHT + 30 * MINUTE + night * DAY;
        clock.set(due);
        until(&both, &clock, || settled(&both.homes.a) == due).await;
        pass(&both, &clock, 60).await;
        assert_eq!(results(&both), [night as usize + 1; 2]);
    }
}

/// The call of one side is refused as busy, or finds that it is done: the other's was what was due.
#[tokio::test(flavor = "multi_thread")]
async fn both_scheduled_for_one_minute_exchange_once_a_night() {
    let clock = Mock::at(NIGHT);
    let mut homes = homes(&clock);
    for place in [&mut homes.a, &mut homes.b] {
        place.job.push(SCHEDULE.to_owned());
        place.policy("max_runs_per_day", 5);
    }
    let both = homes.serve_both().await;
    ready(&both, &clock, &[&both.homes.a, &both.homes.b]).await;
    for night in 1..=2u64 {
        let due = NIGHT + 30 * MINUTE + (night - 1) * DAY;
        clock.set(due);
        until(&both, &clock, || [&both.homes.a, &both.homes.b].iter().all(|place| settled(place) == due))
            .await;
        pass(&both, &clock, 60).await;
        assert_eq!(results(&both), [night as usize; 2]);
        assert!([&both.homes.a, &both.homes.b].iter().all(|place| memory(place).contains("\"failures\": 0")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nights_that_were_missed_are_caught_up_once() {
    let clock = Mock::at(NIGHT);
    let mut homes = homes(&clock);
    homes.a.job.push(SCHEDULE.to_owned());
    let both = homes.serve_both().await;
    ready(&both, &clock, &[&both.homes.a]).await;
    // The clock jumps over five nights, as it does where a machine was asleep.
    clock.set(NIGHT + 5 * DAY);
    until(&both, &clock, || results(&both) == [1, 1]).await;
    until(&both, &clock, || settled(&both.homes.a) == NIGHT + 30 * MINUTE + 4 * DAY).await;
    pass(&both, &clock, 20).await;
    assert_eq!(results(&both), [1, 1]);
}

/// The first failure is only logged; the second one runs the job's command, with what it needs to know.
#[tokio::test(flavor = "multi_thread")]
async fn after_two_failures_somebody_is_told() {
    let clock = Mock::at(NIGHT);
    let mut homes = homes(&clock);
    let told = homes.a.list().with_file_name("told");
    let script = format!(
        "echo $PSI_JOB $PSI_EXIT $PSI_CODE ${{PSI_RUN:-none}} > {0}.new; mv {0}.new {0}",
        told.display()
    );
    homes.a.job.push(format!("{SCHEDULE}\non_failure = [\"/bin/sh\", \"-c\", {script:?}]"));
    let both = homes.serve_both().await;
    fs::remove_file(both.homes.a.list()).unwrap();
    ready(&both, &clock, &[&both.homes.a]).await;
    clock.set(NIGHT + 30 * MINUTE);
    until(&both, &clock, || memory(&both.homes.a).contains("\"failures\": 1")).await;
    assert!(!told.exists());
    clock.set(NIGHT + DAY + 30 * MINUTE);
    until(&both, &clock, || told.exists()).await;
    assert_eq!(fs::read_to_string(told).unwrap(), "agents 5 PSI-E020 none\n");
    both.homes.a.write_list(numbered("agent", 0..20));
    clock.set(NIGHT + 2 * DAY + 30 * MINUTE);
    until(&both, &clock, || results(&both) == [1, 1] && memory(&both.homes.a).contains("\"failures\": 0"))
        .await;
}

/// A peer that is not there yet is called again; nothing was disclosed to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_peer_is_called_again_the_same_night() {
    let clock = Mock::at(NIGHT);
    let mut homes = homes(&clock);
    homes.a.job.push(SCHEDULE.to_owned());
    homes.b.node.push("max_runs = 1".to_owned());
    let both = homes.serve_both().await;
    fs::create_dir_all(both.homes.b.home().leases()).unwrap();
    let place = fs::File::create(both.homes.b.home().leases().join("place-0.lock")).unwrap();
    place.lock().unwrap();
    ready(&both, &clock, &[&both.homes.a]).await;
    clock.set(NIGHT + 30 * MINUTE);
    pass(&both, &clock, 1).await;
    assert_eq!(results(&both), [0, 0]);
    drop(place);
    until(&both, &clock, || results(&both) == [1, 1]).await;
    assert!(memory(&both.homes.a).contains("\"failures\": 0"));
}

/// What is changed in the configuration holds from the next look on.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_schedule_is_followed_without_a_restart() {
    let clock = Mock::at(NIGHT);
    let mut homes = homes(&clock);
    homes.a.job.push(SCHEDULE.to_owned());
    let both = homes.serve_both().await;
    ready(&both, &clock, &[&both.homes.a]).await;
    let config = fs::read_to_string(both.homes.a.home().config()).unwrap();
    fs::write(both.homes.a.home().config(), config.replace("30 2 * * *", "10 2 * * *")).unwrap();
    both.nodes[0].reload().unwrap();
    until(&both, &clock, || memory(&both.homes.a).contains("10 2 * * *")).await;
    assert!(clock.wall().as_secs() < NIGHT + 10 * MINUTE);
    clock.set(NIGHT + 10 * MINUTE);
    until(&both, &clock, || results(&both) == [1, 1]).await;
}

/// Two homes with lists that take some steps, of which `a` calls through a network that can break.
async fn broken(clock: &Mock, schedule: Option<&str>) -> (Both, Chaos) {
    let mut homes = homes(clock);
    homes.a.write_list(numbered("agent", 0..1000));
    homes.b.write_list(numbered("agent", 500..1500));
    homes.a.output_name = "out-{run}.csv".to_owned();
    homes.a.job.extend(schedule.map(str::to_owned));
    for place in [&mut homes.a, &mut homes.b] {
        place.job.push(format!("resume_within_hours = {RESUME_WITHIN_HOURS}"));
    }
    behind_chaos(homes).await
}

async fn behind_chaos(homes: Homes) -> (Both, Chaos) {
    let way = async |to| {
        let chaos = Chaos::start(to, <[Line; 2]>::default()).await.unwrap();
        (chaos.address(), chaos)
    };
    homes.serve_both_behind(way).await
}

/// The middle of a run's bytes.
async fn middle() -> u64 {
    let (both, chaos) = broken(&Mock::at(NIGHT), None).await;
    run::call(&both.nodes[0], JOB, Arc::new(Silent)).await.unwrap();
    chaos.tally().total() / 2
}

fn attempts(place: &Place) -> Vec<Attempt> {
    Attempts::of(&place.home()).all().unwrap()
}

/// Whether there is one run, which ended in its steps and can go on.
fn is_left(place: &Place) -> bool {
    matches!(&attempts(place)[..], [run] if run.state == State::Committed && run.error.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cut_is_gone_on_with_in_the_same_night() {
    let (clock, middle) = (Mock::at(NIGHT), middle().await);
    let (both, chaos) = broken(&clock, Some(SCHEDULE)).await;
    ready(&both, &clock, &[&both.homes.a]).await;
    chaos.plan(Break::Rst.at(middle));
    clock.set(NIGHT + 30 * MINUTE);
    until(&both, &clock, || is_left(&both.homes.a)).await;
    chaos.assert_struck(1);
    until(&both, &clock, || results(&both) == [1, 1]).await;
    until(&both, &clock, || settled(&both.homes.a) == NIGHT + 30 * MINUTE).await;
    assert!(memory(&both.homes.a).contains("\"failures\": 0"));
    for place in [&both.homes.a, &both.homes.b] {
        let [run] = &attempts(place)[..] else { panic!("{:?}", attempts(place)) };
        assert_eq!((run.state, run.resumed), (State::Complete, 1), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_night_is_given_up_when_the_next_one_is_due() {
    let (clock, middle) = (Mock::at(NIGHT), middle().await);
    let (both, chaos) = broken(&clock, Some(SCHEDULE)).await;
    ready(&both, &clock, &[&both.homes.a]).await;
    chaos.plan(Break::Rst.at(middle));
    clock.set(NIGHT + 30 * MINUTE);
    until(&both, &clock, || is_left(&both.homes.a)).await;
    chaos.assert_struck(1);
    // So late that nobody looked in between.
    clock.set(NIGHT + 30 * MINUTE + DAY);
    until(&both, &clock, || settled(&both.homes.a) == NIGHT + 30 * MINUTE + DAY).await;
    assert_eq!(results(&both), [1, 1]);
    let reasons = ["abandoned: the run of 2026-11-25T02:30:00+08:00 is due", "the peer began a new session"];
    for (place, reason) in [&both.homes.a, &both.homes.b].into_iter().zip(reasons) {
        let [left, next] = &attempts(place)[..] else { panic!("{:?}", attempts(place)) };
        assert_eq!((left.state, next.state), (State::Abandoned, State::Complete), "{left:?}");
        assert!(left.error.as_ref().is_some_and(|error| error.contains(reason)), "{left:?}");
        assert!(left.committed.is_some() && next.resumed == 0);
        assert!(!place.home().private().join(&left.run_id).exists(), "its keys are gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_only_serves_gives_up_in_time() {
    let (clock, middle) = (Mock::at(NIGHT), middle().await);
    let (both, chaos) = broken(&clock, None).await;
    chaos.plan(Break::Rst.at(middle));
    assert!(run::call(&both.nodes[0], JOB, Arc::new(Silent)).await.unwrap_err().resumable);
    chaos.assert_struck(1);
    until(&both, &clock, || is_left(&both.homes.b)).await;
    clock.set(NIGHT + RESUME_WITHIN_HOURS * 3600 + 2 * MINUTE);
    until(&both, &clock, || attempts(&both.homes.b)[0].state == State::Abandoned).await;
    let given_up = &attempts(&both.homes.b)[0];
    assert!(
        given_up.error.as_ref().is_some_and(|error| error.contains("more than 48 hours")),
        "{given_up:?}"
    );
}

/// Nothing is settled by it: the node that starts again goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_in_a_scheduled_run_goes_on_after_its_start() {
    let (clock, middle) = (Mock::at(NIGHT), middle().await);
    let (both, chaos) = broken(&clock, Some(SCHEDULE)).await;
    ready(&both, &clock, &[&both.homes.a]).await;
    chaos.plan(Break::Stall(None).at(middle));
    clock.set(NIGHT + 30 * MINUTE);
    while run::holder(both.nodes[0].home(), JOB).is_none() {
        clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    while chaos.tally().struck == 0 {
        tokio::task::yield_now().await;
    }
    let homes = both.stop().await;
    let [left] = &attempts(&homes.a)[..] else { panic!("{:?}", attempts(&homes.a)) };
    assert_eq!(left.state, State::Committed);
    assert!(left.error.as_ref().is_some_and(|error| error.starts_with("PSI-E143: ")), "{left:?}");
    assert!(settled(&homes.a) < NIGHT + 30 * MINUTE && memory(&homes.a).contains("\"failures\": 0"));
    let (both, _chaos) = behind_chaos(homes).await;
    until(&both, &clock, || settled(&both.homes.a) == NIGHT + 30 * MINUTE).await;
    assert_eq!(results(&both), [1, 1]);
    let [run] = &attempts(&both.homes.a)[..] else { panic!("{:?}", attempts(&both.homes.a)) };
    assert_eq!((&run.run_id, run.state, run.resumed), (&left.run_id, State::Complete, 1));
}
