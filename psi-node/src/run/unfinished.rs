//! Runs that are not finished: which of them can go on, and giving up those of which nothing can come any more.

use std::sync::Arc;

use psi_core::statement::Statement;

use super::{
    Run,
    kept::{Kept, Shelf},
    lease::Lease,
    list::{Counts, Files},
    phases::Finished,
    record::Record,
};
use crate::{
    fault::{Code, Fault},
    node::Node,
    report::{Progress, Silent, Summary},
    runs::{self, Attempt, Attempts, Results, Runs, STATEMENT, State},
};

impl Run<'_> {
    /// The run of this job that can go on, if there is one; those that can't any more are given up.
    pub(super) fn unfinished(&self) -> Result<Option<String>, Fault> {
        let mut found = None;
        for attempt in Attempts::of(self.node.home()).open(&self.job_name)? {
            match self.reason_to_give_up(&attempt) {
                None => found = Some(attempt.run_id),
                // Nothing is left of it but what the peer may sign some day.
                Some(_) if attempt.state == State::Closing && !is_kept(self.node, &attempt) => {}
                Some(reason) => give_up(self.node, attempt, &reason)?,
            }
        }
        Ok(found)
    }

    /// A run that both have signed, and whose results did not get their names, since its process ended, the disk was full or
    /// something was in the way: they get them now. What fails for good is told once.
    pub(super) fn finish_signed(&self) -> Result<Option<Finished>, Fault> {
        let (home, runs) = (self.node.home(), Runs::of(self.node.home()));
        let open = Attempts::of(home).open(&self.job_name)?;
        let Some(attempt) = open.into_iter().rfind(|attempt| is_signed(self.node, attempt)) else {
            return Ok(None);
        };
        let (id, counts) = (attempt.run_id.clone(), Counts::of(&attempt));
        let statement = Statement::of_note(&runs.note(&id)?)
            .map_err(|error| Fault::new(Code::State, format!("{}: {error}", runs.folder(&id).display())))?;
        let mut record = Record::resumed(self, attempt);
        let released =
            Results::of(home, &record.attempt).map_err(Fault::from).and_then(|results| results.release());
        let finished = Finished { folder: runs.folder(&id), attempt: record.attempt.clone(), counts };
        tracing::info!(run = id, "both had signed before the run ended: its results get their names");
        if released.as_ref().is_err_and(|fault| !fault.clone().of_kept_run().resumable) {
            record.attempt.state = State::Unconfirmed;
        }
        let result = released.map(|()| finished);
        self.conclude(result, &Files::of(home, &id), statement.terms.openable, &mut record).map(Some)
    }

    /// Whether it belongs to an earlier moment than the one for which this run was started.
    pub(super) fn is_earlier(&self, attempt: &Attempt) -> bool {
        self.moment.is_some_and(|moment| began(attempt) < moment.since)
    }

    fn reason_to_give_up(&self, attempt: &Attempt) -> Option<String> {
        if attempt.state == State::Agreed && !is_kept(self.node, attempt) {
            return Some("its process ended when nothing was disclosed yet".to_owned());
        }
        if attempt.peer_key != self.peer.key.to_string() {
            return Some("the job is with another peer now".to_owned());
        }
        if let Some(moment) = self.moment.filter(|_| self.is_earlier(attempt)) {
            return Some(format!("the run of {} is due", self.job.zone().time(moment.due)));
        }
        let hours = self.job.resume_within_hours;
        is_late(self.node, attempt, hours).then(|| format!("it was unfinished for more than {hours} hours"))
    }
}

/// Gives up an unfinished run, whose lease the caller has: the record and its charge stay, the keys go.
///
/// # Errors
/// [`Code::Storage`].
pub fn give_up(node: &Node, attempt: Attempt, reason: &str) -> Result<(), Fault> {
    let attempts = Attempts::of(node.home());
    if attempt.state == State::Committed
        && let Ok(kept) = Kept::read(Shelf::of(node), attempt.clone())
        && let Some(transcript) = kept.transcript()
    {
        attempts.keep_transcript(&attempt.run_id, &transcript)?;
    }
    attempts.abandon(attempt, reason)
}

/// Gives up an unfinished run because its operator says so; its record as it is then.
///
/// # Errors
/// [`Code::NoSuchRun`] if there is none of that id, [`Code::RunEnded`] if it is not unfinished, [`Code::Busy`] if it is under
/// way.
pub fn cancel(node: &Node, id: &str) -> Result<Attempt, Fault> {
    let _lease = Lease::to_call(node, &unfinished(node, id)?.job)?;
    give_up(node, unfinished(node, id)?, "cancelled by its operator")?;
    Attempts::of(node.home()).named(id)
}

/// Goes on with that run, and with no other.
///
/// # Errors
/// As [`cancel`] and [`call`](super::call); [`Code::SessionOver`] if it can't go on any more.
pub async fn resume(node: &Node, id: &str, progress: Arc<dyn Progress>) -> Result<Summary, Fault> {
    let lease = Lease::to_call(node, &unfinished(node, id)?.job)?;
    let attempt = unfinished(node, id)?;
    let run = Run::claim(node, &attempt.job, lease, progress)?;
    if let Some(finished) = run.finish_signed()?
        && finished.attempt.run_id == id
    {
        return run.offered(Ok(run.summary(finished, [0, 0]))).await;
    }
    if let Some(reason) = run.reason_to_give_up(&attempt) {
        return run.over(attempt, &reason);
    }
    run.offered(run.go_on(id).await).await
}

/// The record of a run that can go on, as far as the record says.
fn unfinished(node: &Node, id: &str) -> Result<Attempt, Fault> {
    let attempt = Attempts::of(node.home()).named(id)?;
    let ended = |how: &str| Err(Fault::new(Code::RunEnded, format!("run {id:?} is {how}")));
    match attempt.state {
        State::Closing if !is_kept(node, &attempt) && !is_signed(node, &attempt) => {
            ended("given up here; only the peer's signature can finish it")
        }
        state if !state.is_open() => ended(state.name()),
        _ => Ok(attempt),
    }
}

/// Gives up the runs of all jobs that were unfinished for longer than their jobs allow, and finishes those that both have
/// signed.
pub fn expire(node: &Node) {
    for (name, job) in &node.config().jobs {
        let attempts = Attempts::of(node.home()).open(name).unwrap_or_default();
        let over = |attempt: &Attempt| {
            is_late(node, attempt, job.resume_within_hours) && is_kept(node, attempt)
                || is_signed(node, attempt)
        };
        if !attempts.iter().any(over) {
            continue;
        }
        // One that is under way has the lease, and is left alone.
        let looked = Lease::to_call(node, name)
            .and_then(|lease| Run::claim(node, name, lease, Arc::new(Silent)))
            .and_then(|run| run.finish_signed().and_then(|_| run.unfinished()));
        if let Err(fault) = looked
            && fault.code != Code::Busy
        {
            tracing::error!(job = name, code = %fault.code, %fault, "an unfinished run can't be looked after");
        }
    }
}

/// Whether both have signed, although the run's own record does not say so.
fn is_signed(node: &Node, attempt: &Attempt) -> bool {
    let folder = Runs::of(node.home()).folder(&attempt.run_id);
    attempt.state == State::Closing && folder.join(STATEMENT).exists()
}

/// Whether what the run needs to go on is there.
fn is_kept(node: &Node, attempt: &Attempt) -> bool {
    Files::of(node.home(), &attempt.run_id).are_kept()
}

fn is_late(node: &Node, attempt: &Attempt, hours: u32) -> bool {
    node.now() > began(attempt).saturating_add(u64::from(hours) * 3600)
}

/// When it began, in seconds since 1970.
fn began(attempt: &Attempt) -> u64 {
    attempt.committed.unwrap_or_else(|| runs::started(&attempt.run_id))
}
