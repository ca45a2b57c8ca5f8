//! Runs what is due, in a serving node: every job that has a schedule, on the wall clock of its time zone.
//!
//! A moment at which a job was due is settled once: by a complete run since then, whoever called, or by a failure. Of
//! moments that were missed, because the node was down or its clock was set, only the last one is caught up with. A job that
//! runs is never started again. `schedules/` remembers what was settled, so that a new job is first due after it was added.
//!
//! A run that failed before it disclosed anything, for a reason that may pass, is tried again within the next hours. One that
//! disclosed something and is kept is gone on with, until the job is due again: then it is given up, and the next one begins.
//! One that can't go on is not tried again: that would be another disclosure.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{process::Command, sync::watch, task::JoinSet, time::timeout};
use tracing::Instrument;

use crate::{
    config::{Config, Job},
    durable,
    fault::{Code, Fault, Retry, disk::storage},
    home::{Home, file_name},
    node::Node,
    report::{Silent, Summary},
    run::{self, Moment},
    runs::{Attempt, State},
    schedule::{Schedule, jitter},
    store::{Filter, Index},
};

/// The longest nap: then clock and configuration are looked at again.
const NAP: Duration = Duration::from_secs(10);
const HOUR: u64 = 3600;
/// How long after it was due a run is tried again, and how soon.
const PATIENCE: u64 = 6 * HOUR;
const FIRST_DELAY: u64 = 60;
const LONGEST_DELAY: u64 = 30 * 60;
/// How far apart the partners' clocks may be: so much earlier than due, a run is the one that was due.
const SKEW: u64 = 300;
/// Failures in a row from which somebody is told.
const ALARM: u32 = 2;
/// Time for the command that tells somebody.
const COMMAND: Duration = Duration::from_secs(60);

/// What is remembered of a job's schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The job.
    pub job: String,
    /// Its schedule; another one is first due after it was seen.
    pub schedule: String,
    /// Its time zone.
    pub timezone: String,
    /// The last moment at which it was due that is settled, in seconds since 1970.
    pub settled: u64,
    /// Failures in a row.
    pub failures: u32,
}

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It was due then, and starts now.
    Run(u64),
    /// It starts then.
    Wait(u64),
}

/// What is remembered of the schedules of a home, of jobs that are configured.
pub fn memories(home: &Home, config: &Config) -> Vec<Memory> {
    config.jobs.keys().filter_map(|name| remembered(&path(home, name))).collect()
}

fn path(home: &Home, name: &str) -> PathBuf {
    home.schedules().join(format!("{}.json", file_name(name)))
}

fn remembered(path: &Path) -> Option<Memory> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// When a run that is due starts: both in seconds since 1970.
pub fn start(node: &Node, name: &str, job: &Job, due: u64) -> u64 {
    due + jitter(node.identity().public_key().as_bytes(), name, due, job.jitter_minutes)
}

/// What is next, after everything up to `settled`.
fn next(schedule: &Schedule, job: &Job, settled: u64, now: u64, start: impl Fn(u64) -> u64) -> Option<Next> {
    let zone = job.zone();
    let latest = schedule.latest(zone, now);
    // A clock that was ahead has settled moments that are still to come.
    let settled = if settled > now { latest.unwrap_or(now) } else { settled };
    match latest.filter(|latest| *latest > settled) {
        Some(due) if start(due) <= now => Some(Next::Run(due)),
        Some(due) => Some(Next::Wait(start(due))),
        None => schedule.next(zone, now).map(|due| Next::Wait(start(due))),
    }
}

/// A try that failed, and when the next one is.
#[derive(Clone, Copy, Debug)]
struct Again {
    due: u64,
    tries: u32,
    /// By the wall clock.
    at: u64,
}

/// One run that was started.
struct Ended {
    name: String,
    moment: Moment,
    result: Result<Summary, Fault>,
}

/// What belongs to the moment at which a job was due.
fn moment(job: &Job, schedule: &Schedule, due: u64) -> Moment {
    let before = schedule.latest(job.zone(), due.saturating_sub(1)).unwrap_or(0);
    let next = schedule.next(job.zone(), due).unwrap_or(u64::MAX);
    Moment { due, since: due - SKEW.min((due - before) / 2), next }
}

struct Scheduler {
    node: Arc<Node>,
    again: BTreeMap<String, Again>,
    running: JoinSet<Ended>,
    names: Vec<String>,
    /// Jobs whose schedule can't be followed, and why: said once.
    unfollowed: BTreeMap<String, Code>,
}

/// Runs what is due until `stop` says so; runs that are under way then go on for as long as the future is kept.
pub async fn run(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
    let (again, unfollowed) = (BTreeMap::new(), BTreeMap::new());
    let mut scheduler = Scheduler { node, again, running: JoinSet::new(), names: Vec::new(), unfollowed };
    // What was signed before the node went down is no run of today.
    run::expire(&scheduler.node);
    loop {
        let stopping = *stop.borrow();
        if stopping && scheduler.running.is_empty() {
            return;
        }
        let nap = if stopping { NAP } else { scheduler.look() };
        let asleep = scheduler.node.clock().sleep(nap);
        tokio::select! {
            () = asleep => {}
            Some(ended) = scheduler.running.join_next() => {
                // A task that panicked has no name to tell; its job is free again after a restart.
                if let Ok(ended) = ended {
                    scheduler.names.retain(|name| *name != ended.name);
                    scheduler.conclude(ended).await;
                }
            }
            _ = stop.changed(), if !stopping => {}
        }
    }
}

impl Scheduler {
    /// Starts what is due; how long until something may be.
    fn look(&mut self) -> Duration {
        let (config, now) = (self.node.config(), self.node.now());
        let mut nap = NAP;
        for (name, job) in &config.jobs {
            let Some(schedule) = &job.schedule else { continue };
            if self.names.contains(name) {
                continue;
            }
            let next = self.next(name, job, schedule, now);
            let reason = next.as_ref().err().map(|fault| fault.code);
            let said = match reason {
                Some(code) => self.unfollowed.insert(name.clone(), code),
                None => self.unfollowed.remove(name),
            };
            match next {
                Ok(Some(Next::Run(due))) => self.start(name, moment(job, schedule, due)),
                Ok(Some(Next::Wait(at))) => nap = nap.min(Duration::from_secs(at.saturating_sub(now).max(1))),
                Ok(None) => {}
                Err(_) if said == reason => {}
                Err(fault) => {
                    tracing::error!(job = name, code = %fault.code, %fault, "the schedule can't be followed")
                }
            }
        }
        nap
    }

    fn next(&mut self, name: &str, job: &Job, schedule: &Schedule, now: u64) -> Result<Option<Next>, Fault> {
        let memory = self.memory(name, job, schedule, now)?;
        let found = next(schedule, job, memory.settled, now, |due| start(&self.node, name, job, due));
        let Some(Next::Run(due)) = found else { return Ok(found) };
        if is_done(&self.runs(name, moment(job, schedule, due))?) {
            self.settle(Memory { settled: due, failures: 0, ..memory })?;
            tracing::info!(job = name, "a run since it was due has done it");
            return Ok(None);
        }
        match self.again.get(name) {
            Some(again) if again.due == due && again.at > now => Ok(Some(Next::Wait(again.at))),
            _ => Ok(found),
        }
    }

    /// What was disclosed for that moment, by whichever side's call, newest first.
    fn runs(&self, name: &str, moment: Moment) -> Result<Vec<Attempt>, Fault> {
        let mut newest = Index::open(self.node.home()).newest(Filter::of(name), 20)?;
        newest.retain(|run| run.committed >= Some(moment.since));
        Ok(newest)
    }

    fn start(&mut self, name: &str, moment: Moment) {
        tracing::info!(job = name, due = crate::runs::time(moment.due), "a scheduled run starts");
        self.names.push(name.to_owned());
        let (node, job) = (self.node.clone(), name.to_owned());
        let span = tracing::info_span!("scheduled", job = name);
        let run = async move {
            let result = run::call_due(&node, &job, moment, Arc::new(Silent)).await;
            node.tally().ended(&result.clone().map(Some));
            Ended { name: job, moment, result }
        };
        self.running.spawn(run.instrument(span));
    }

    async fn conclude(&mut self, ended: Ended) {
        let config = self.node.config();
        let Some((job, schedule)) =
            config.jobs.get(&ended.name).and_then(|job| Some((job, job.schedule.as_ref()?)))
        else {
            return;
        };
        let concluded = match &ended.result {
            Ok(summary) => {
                let (run, matches) = (&summary.run_id, summary.matches);
                tracing::info!(job = ended.name, run, matches, "scheduled run complete");
                self.succeeded(&ended, job, schedule)
            }
            // Nothing is settled: a node that starts again goes on with it.
            Err(fault) if fault.code == Code::Terminated => {
                tracing::info!(
                    job = ended.name,
                    kept = fault.resumable,
                    "the scheduled run was stopped with the node"
                );
                return;
            }
            Err(fault) => self.failed(&ended, fault, job, schedule).await,
        };
        if let Err(fault) = concluded {
            tracing::error!(job = ended.name, code = %fault.code, %fault, "how a scheduled run ended can't be kept");
        }
    }

    fn succeeded(&mut self, ended: &Ended, job: &Job, schedule: &Schedule) -> Result<(), Fault> {
        self.again.remove(&ended.name);
        let memory = self.memory(&ended.name, job, schedule, self.node.now())?;
        self.settle(Memory { settled: ended.moment.due, failures: 0, ..memory })
    }

    async fn failed(
        &mut self,
        ended: &Ended,
        fault: &Fault,
        job: &Job,
        schedule: &Schedule,
    ) -> Result<(), Fault> {
        let (name, now) = (&ended.name, self.node.now());
        let runs = self.runs(name, ended.moment)?;
        if is_done(&runs) {
            return self.succeeded(ended, job, schedule);
        }
        if self.try_again(ended, fault, &runs, job, now) {
            return Ok(());
        }
        self.again.remove(name);
        let memory = self.memory(name, job, schedule, now)?;
        let failures = memory.failures.saturating_add(1);
        let kept = self.settle(Memory { settled: ended.moment.due, failures, ..memory });
        if kept.is_err() {
            let at = now + LONGEST_DELAY;
            self.again.insert(name.clone(), Again { due: ended.moment.due, tries: 0, at });
        }
        // What nobody may try again, or remember, is not left for another night.
        if failures >= ALARM || kept.is_err() || matches!(fault.exit(), 7 | 9 | 13) {
            tracing::error!(job = name, code = %fault.code, %fault, failures, "scheduled runs fail");
            let run = runs.first().map_or("", |run| &run.run_id);
            tell(job, name, run, fault).await;
        } else {
            tracing::warn!(job = name, code = %fault.code, %fault, "the scheduled run failed");
        }
        kept
    }

    /// Plans another try, if one may help and is no further disclosure: nothing was disclosed, or what was can go on.
    fn try_again(&mut self, ended: &Ended, fault: &Fault, runs: &[Attempt], job: &Job, now: u64) -> bool {
        let Moment { due, next, .. } = ended.moment;
        let before = self.again.get(&ended.name).filter(|again| again.due == due);
        let tries = before.map_or(0, |again| again.tries);
        let delay = (FIRST_DELAY << tries.min(10)).min(LONGEST_DELAY);
        let patience = match runs {
            [] => PATIENCE,
            _ => PATIENCE.max(u64::from(job.resume_within_hours) * HOUR),
        };
        let passes = fault.code.row().retry == Retry::Later && now + delay < next.min(due + patience);
        if !passes || runs.iter().any(|run| !run.state.is_open()) {
            return false;
        }
        tracing::warn!(job = ended.name, code = %fault.code, %fault, seconds = delay, kept = !runs.is_empty(), "the scheduled run is tried again");
        self.again.insert(ended.name.clone(), Again { due, tries: tries + 1, at: now + delay });
        true
    }

    /// What is remembered of the job; a schedule that is new or changed is settled up to now.
    fn memory(&self, name: &str, job: &Job, schedule: &Schedule, now: u64) -> Result<Memory, Fault> {
        let (text, zone) = (schedule.to_string(), job.zone().name().to_owned());
        let known = remembered(&path(self.node.home(), name));
        if let Some(memory) = known.filter(|memory| memory.schedule == text && memory.timezone == zone) {
            return Ok(memory);
        }
        let memory =
            Memory { job: name.to_owned(), schedule: text, timezone: zone, settled: now, failures: 0 };
        self.settle(memory.clone())?;
        Ok(memory)
    }

    fn settle(&self, memory: Memory) -> Result<(), Fault> {
        let (folder, path) = (self.node.home().schedules(), path(self.node.home(), &memory.job));
        durable::create_folder(&folder).map_err(|error| storage(&folder, &error))?;
        let json = serde_json::to_vec_pretty(&memory)
            .map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?;
        durable::replace(&path, &json).map_err(|error| storage(&path, &error))
    }
}

/// Whether one of these runs is complete.
fn is_done(runs: &[Attempt]) -> bool {
    runs.iter().any(|run| matches!(run.state, State::Complete | State::Unconfirmed))
}

/// Runs the job's `on_failure`, without a shell and for a bounded time.
async fn tell(job: &Job, name: &str, run: &str, fault: &Fault) {
    let Some((program, arguments)) = job.on_failure.split_first() else { return };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.env("PSI_JOB", name).env("PSI_RUN", run);
    command.env("PSI_EXIT", fault.exit().to_string()).env("PSI_CODE", fault.code.to_string());
    match timeout(COMMAND, command.status()).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::error!(job = name, %status, "on_failure failed"),
        Ok(Err(error)) => tracing::error!(job = name, %error, "on_failure could not be started"),
        Err(_) => {
            tracing::error!(job = name, "on_failure took longer than {} s and was ended", COMMAND.as_secs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;
    /// 2026-11-24 02:30 in Shanghai.
    const DUE: u64 = 1_795_458_600;

    fn job(jitter_minutes: u32) -> Job {
        let text = format!(
            "[node]\nname = \"a\"\n[peers.b]\nendpoint = \"https://b:1\"\n\
             key = \"ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\"\n\
             [jobs.j]\npeer = \"b\"\noutput = \"o.csv\"\ntimezone = \"Asia/Shanghai\"\nschedule = \"30 2 * * *\"\n\
             jitter_minutes = {jitter_minutes}\n\
             input = {{ path = \"i.csv\", column = \"c\", profile = \"cn.mobile/1\" }}\n[jobs.j.policy]\n\
             output = \"mutual\"\nproved = true\nmin_items = 1\nmax_items = 10\nmax_runs_per_day = 2\nopenable = true\n"
        );
        Config::parse(&text).unwrap().jobs["j"].clone()
    }

    fn after(settled: u64, now: u64, late: u64) -> Next {
        let job = job(0);
        next(job.schedule.as_ref().unwrap(), &job, settled, now, |due| due + late).unwrap()
    }

    #[test]
    fn it_starts_when_it_is_due_and_once() {
        assert_eq!(after(DUE - DAY, DUE - 1, 0), Next::Wait(DUE));
        assert_eq!(after(DUE - DAY, DUE, 0), Next::Run(DUE));
        assert_eq!(after(DUE, DUE + 1, 0), Next::Wait(DUE + DAY));
    }

    #[test]
    fn jitter_delays_the_start() {
        assert_eq!(after(DUE - DAY, DUE, 90), Next::Wait(DUE + 90));
        assert_eq!(after(DUE - DAY, DUE + 90, 90), Next::Run(DUE));
        assert_eq!(after(DUE, DUE + 90, 90), Next::Wait(DUE + DAY + 90));
    }

    #[test]
    fn of_missed_nights_the_last_is_caught_up() {
        assert_eq!(after(DUE - 9 * DAY, DUE + 3 * 3600, 0), Next::Run(DUE));
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_silence_the_job() {
        assert_eq!(after(DUE + 900 * DAY, DUE + 60, 0), Next::Wait(DUE + DAY));
    }
}
