//! Nights that pass by a clock that the tests turn: two serving nodes and nobody there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{fs, sync::Arc, time::Duration};

use psi_node::{
    clock::{Clock, Mock},
    run,
};
use psi_tests::nodes::{Both, Homes, JOB, Place, numbered};

/// 2026-11-24 02:00 in Shanghai: half an hour before the job is due.
const NIGHT: u64 = 1_795_456_800;
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;
const SCHEDULE: &str = "schedule = \"30 2 * * *\"";

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
