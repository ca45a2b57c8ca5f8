//! Runs that are not finished: which of them can go on, and giving up those of which nothing can come any more.

use std::sync::Arc;

use super::{
    Run,
    kept::{Kept, Shelf},
    lease::Lease,
    list::Files,
};
use crate::{
    fault::{Code, Fault},
    node::Node,
    report::Silent,
    runs::{self, Attempt, Attempts, State},
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

/// Gives up the runs of all jobs that were unfinished for longer than their jobs allow.
pub fn expire(node: &Node) {
    for (name, job) in &node.config().jobs {
        let attempts = Attempts::of(node.home()).open(name).unwrap_or_default();
        let late =
            |attempt: &Attempt| is_late(node, attempt, job.resume_within_hours) && is_kept(node, attempt);
        if !attempts.iter().any(late) {
            continue;
        }
        // One that is under way has the lease, and is left alone.
        let looked = Lease::to_call(node, name)
            .and_then(|lease| Run::claim(node, name, lease, Arc::new(Silent)))
            .and_then(|run| run.unfinished());
        if let Err(fault) = looked
            && fault.code != Code::Busy
        {
            tracing::error!(job = name, code = %fault.code, %fault, "an unfinished run can't be given up");
        }
    }
}

/// Whether what the run needs to go on is there.
fn is_kept(node: &Node, attempt: &Attempt) -> bool {
    Files::of(node.home(), &attempt.run_id).are_kept()
}

fn is_late(node: &Node, attempt: &Attempt, hours: u32) -> bool {
    let since = attempt.committed.unwrap_or_else(|| runs::started(&attempt.run_id));
    node.now() > since.saturating_add(u64::from(hours) * 3600)
}
