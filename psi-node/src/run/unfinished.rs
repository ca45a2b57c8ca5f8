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
    report::Silent,
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

    /// A run that both have signed, and whose process ended before the results had their names: they get them now.
    pub(super) fn finish_signed(&self) -> Result<Option<Finished>, Fault> {
        let (home, runs) = (self.node.home(), Runs::of(self.node.home()));
        let open = Attempts::of(home).open(&self.job_name)?;
        let Some(attempt) = open.into_iter().rfind(|attempt| is_signed(self.node, attempt)) else {
            return Ok(None);
        };
        let (id, counts) = (attempt.run_id.clone(), Counts::of(&attempt));
        let statement = Statement::of_note(&runs.note(&id)?)
            .map_err(|error| Fault::new(Code::State, format!("{}: {error}", runs.folder(&id).display())))?;
        let mut record = Record::resumed(self, Attempt { state: State::Unconfirmed, ..attempt });
        let released =
            Results::of(home, &record.attempt).map_err(Fault::from).and_then(|results| results.release());
        let finished = Finished { folder: runs.folder(&id), attempt: record.attempt.clone(), counts };
        tracing::info!(
            run = id,
            "both had signed before the run's process ended: its results get their names"
        );
        let result = released.map(|()| finished);
        self.conclude(result, &Files::of(home, &id), statement.terms.openable, &mut record).map(Some)
    }

    fn reason_to_give_up(&self, attempt: &Attempt) -> Option<String> {
        if attempt.state == State::Agreed && !is_kept(self.node, attempt) {
            return Some("its process ended when nothing was disclosed yet".to_owned());
        }
        if attempt.peer_key != self.peer.key.to_string() {
            return Some("the job is with another peer now".to_owned());
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

/// Gives up an unfinished run because its operator says so.
///
/// # Errors
/// [`Code::NoSuchName`] if there is none of that id, [`Code::Busy`] if it is under way.
pub fn cancel(node: &Node, id: &str) -> Result<(), Fault> {
    let attempts = Attempts::of(node.home());
    let unfinished = || {
        let found = attempts.read(id)?.filter(|attempt| attempt.state.is_open());
        found.ok_or_else(|| Fault::new(Code::NoSuchName, format!("no unfinished run {id:?}")))
    };
    let _lease = Lease::to_call(node, &unfinished()?.job)?;
    give_up(node, unfinished()?, "cancelled by its operator")
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
    let since = attempt.committed.unwrap_or_else(|| runs::started(&attempt.run_id));
    node.now() > since.saturating_add(u64::from(hours) * 3600)
}
