//! Going on with a run whose connection or process ended (docs/PROTOCOL.md, "Resume"): by calling the peer again, or when
//! it calls.

use std::{sync::Arc, time::Duration};

use psi_core::{
    error::{Fault as Breach, Place},
    message::{ChainHead, Message, Resume},
    session::Common,
    statement::Statement,
};

use super::{
    Run, Start,
    exchange::shown_too_early,
    kept::{Kept, Shelf, Standing, Steps},
    lease::{self, Lease},
    list::{Counts, Files},
    pauses::Pauses,
    phases::{Finished, Ready, Signature},
    record::Record,
    talk::Talk,
    unfinished::give_up,
};
use crate::{
    fault::{Code, Fault},
    node::Node,
    output,
    report::{Progress, Summary},
    runs::{Attempt, Attempts, Runs, State},
    store::Index,
    tls::accept,
};

/// How long a peer that calls anew waits for its old conversation here to end.
const HANDOVER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

impl Run<'_> {
    /// Goes on with an unfinished run, and tries again for as long as the job says.
    pub(super) async fn go_on(&self, id: &str) -> Result<Summary, Fault> {
        match self.resume(id).await {
            Err(fault) => self.persist(id, fault).await,
            done => done,
        }
    }

    /// Tries again to go on, with growing pauses, until the run is over or the time for it is.
    pub(super) async fn persist(&self, id: &str, mut fault: Fault) -> Result<Summary, Fault> {
        let attempts = Attempts::of(self.node.home());
        let pauses = || Pauses::within(self.patience(), self.node.settings().retry_pause);
        let resumed = || attempts.read(id).map(|attempt| attempt.map_or(0, |attempt| attempt.resumed));
        let (mut next, mut before) = (pauses(), resumed()?);
        while fault.resumable && matches!(fault.exit(), 6 | 11) {
            let Some(pause) = next.next() else { break };
            tracing::warn!(run = id, code = %fault.code, %fault, seconds = pause.as_secs_f64(), "the run will go on");
            self.calls();
            let waited = async {
                self.node.clock().sleep(pause).await;
                Ok(())
            };
            lease::unless_claimed(self.node, &self.job_name, waited).await.map_err(Fault::of_kept_run)?;
            fault = match self.resume(id).await {
                Err(fault) => fault,
                done => return done,
            };
            // The peer was there: the time for a peer that is not begins anew.
            if resumed()? > before {
                (next, before) = (pauses(), resumed()?);
            }
        }
        Err(fault)
    }

    /// Calls the peer to go on with a run.
    async fn resume(&self, id: &str) -> Result<Summary, Fault> {
        let attempt = Attempts::of(self.node.home()).read(id)?;
        let attempt = attempt.ok_or_else(|| Fault::new(Code::State, format!("run {id} has no record")))?;
        let target = self.target()?;
        let met = async {
            let kept = self.kept(attempt).await?;
            let (talk, connection) = self.connect(&target).await?;
            Ok((kept, talk, connection))
        };
        // Whatever keeps us from the peer leaves the run as it is.
        let met = lease::unless_claimed(self.node, &self.job_name, met).await;
        let (kept, talk, connection) = met.map_err(Fault::of_kept_run)?;
        let start = Start::Resumed { kept: Box::new(kept), theirs: None };
        self.converse(talk, start, connection.traffic()).await
    }

    /// The run as it was kept, if it may go on with the job as it is configured now.
    async fn kept(&self, attempt: Attempt) -> Result<Kept, Fault> {
        let shelf = Shelf::of(self.node);
        let kept = self.node.pool().run(move || Kept::read(shelf, attempt)).await??;
        let changed = kept.agreed().is_some_and(|agreed| {
            let ours = agreed.ours();
            ours.terms != self.job.terms() || ours.agreement != self.job.agreement
        });
        if changed {
            return self.over(kept.attempt, "the job's terms were changed");
        }
        if self.head()? != kept.previous() {
            return self.over(kept.attempt, "the chain of statements has gone on without it");
        }
        if kept.attempt.state != State::Closing {
            let Attempt { output, rejects, .. } = &kept.attempt;
            let mut targets = std::iter::once(output).chain(rejects);
            targets
                .try_for_each(|target| output::check(target))
                .map_err(|error| Fault::from(error).of_kept_run())?;
        }
        Ok(kept)
    }

    pub(super) fn over<T>(&self, attempt: Attempt, reason: &str) -> Result<T, Fault> {
        let message = format!("run {} can't go on: {reason}", attempt.run_id);
        give_up(self.node, attempt, reason)?;
        Err(Fault::new(Code::SessionOver, message))
    }

    /// Where our chain with this peer for this job ends.
    pub(super) fn head(&self) -> Result<ChainHead, Fault> {
        let us = self.node.identity().public_key();
        Index::open(self.node.home()).head(us, self.peer.key, &self.job_name)
    }

    /// The conversation of a run that goes on, to its end.
    pub(super) async fn resumed(
        &self,
        talk: &mut Talk,
        mut kept: Kept,
        theirs: Option<Resume>,
    ) -> Result<Finished, Fault> {
        let span = tracing::Span::current();
        span.record("run", &kept.attempt.run_id).record("job", &self.job_name);
        talk.name(&kept.attempt.run_id);
        self.met(&kept.attempt.run_id);
        let (files, openable) = (Files::of(self.node.home(), &kept.attempt.run_id), kept.openable());
        let peer_committed = matches!(kept.standing, Standing::Exchange(_) | Standing::Closing(..));
        let mut record = Record::resumed(self, kept.attempt.clone());
        let result = match self.meet(talk, &mut kept, theirs).await {
            Ok(met) => {
                record.resume()?;
                tracing::info!(run = kept.attempt.run_id, times = record.attempt.resumed, "the run goes on");
                match met {
                    Met::Statement(note) => self.shown(kept, &note, &mut record),
                    Met::At(common) => self.after_meeting(talk, kept, common, &mut record).await,
                }
            }
            Err(fault) => Err(fault),
        };
        match result {
            // Whoever ended before it had a record has lost nothing: it never sent its Commit.
            Err(fault) if fault.code == Code::SetBack && !peer_committed => {
                self.over(record.attempt, &fault.to_string())
            }
            Err(fault) if matches!(fault.code, Code::SessionOver | Code::SetBack) => {
                give_up(self.node, record.attempt, &fault.to_string())?;
                Err(fault)
            }
            result => self.conclude(result, &files, openable, &mut record),
        }
    }

    /// Both say how far they have the session.
    async fn meet(&self, talk: &mut Talk, kept: &mut Kept, theirs: Option<Resume>) -> Result<Met, Fault> {
        let ours = kept.resume();
        if let Some(theirs) = theirs {
            let common = kept.rejoin(Message::Resume(theirs))?;
            talk.send(ours).await?;
            return Ok(Met::At(common));
        }
        talk.send(ours).await?;
        match talk.receive().await? {
            Message::Statements(mut notes) if notes.len() == 1 => Ok(Met::Statement(notes.remove(0))),
            theirs => kept.rejoin(theirs).map(Met::At),
        }
    }

    /// The peer has both signatures, and shows them.
    fn shown(&self, kept: Kept, note: &[u8], record: &mut Record) -> Result<Finished, Fault> {
        let Standing::Closing(closing, _) = kept.standing else { return Err(shown_too_early(&[note])) };
        self.release(&closing.accept_note(note)?, Counts::of(&record.attempt), record)
    }

    async fn after_meeting(
        &self,
        talk: &mut Talk,
        kept: Kept,
        common: Common,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let Kept { standing, private, .. } = kept;
        if let Standing::Closing(closing, close) = standing {
            let counts = Counts::of(&record.attempt);
            let signature = Signature { closing: *closing, close, early: None, counts };
            return self.after_join(talk, signature, record).await;
        }
        let private = private.ok_or_else(|| Fault::new(Code::State, "the run's sealed files are gone"))?;
        if common.lacks_commit
            && let Some(commit) = standing.commit()
        {
            talk.send(commit).await?;
        }
        let (seal_key, room) = (self.node.seal_key().clone(), self.node.room().clone());
        let read = self.node.pool().run(move || standing.with_lists(private, &seal_key, &room));
        let (standing, seed, list, lists) = talk.meanwhile(async { read.await? }, &0.into(), 0).await?;
        let lists = Arc::new(lists);
        match standing {
            Standing::Agreed(agreed) => self.after_agreement(talk, agreed, list, seed, record).await,
            Standing::Committed(committed) => self.after_commit(talk, committed, list, lists, record).await,
            Standing::Exchange(steps) => {
                let Steps { exchange, checkpoints, evidence } = *steps;
                let matches = signed_matches(&record.attempt);
                let ready = Ready { exchange, list, lists, evidence, checkpoints, matches };
                self.after_commits(talk, ready, record).await
            }
            Standing::Closing(..) => Err(Fault::new(Code::Unexpected, "a run that is signed has no lists")),
        }
    }
}

/// What both have, as they say when they meet again.
enum Met {
    /// Both have kept so many steps.
    At(Common),
    /// The peer has the statement with both signatures.
    Statement(Vec<u8>),
}

/// Finds the run that a peer wants to go on with; `None` if it is finished here, and the peer has been shown so.
pub(super) async fn answer<'a>(
    node: &'a Node,
    caller: &accept::Peer,
    talk: &mut Talk,
    resume: Resume,
    progress: Arc<dyn Progress>,
) -> Result<Option<(Run<'a>, Start)>, Fault> {
    if !caller.key.verifies(&resume.signed_bytes(), &resume.signature) {
        return Err(Breach::Signature.at(Place::Resume).into());
    }
    let attempt = find(node, caller, &resume)?;
    if matches!(attempt.state, State::Complete | State::Unconfirmed) {
        return show(node, talk, &resume, attempt).await.map(|()| None);
    }
    let run = take_over(node, caller, &attempt, progress).await?;
    run.finish_signed()?;
    run.unfinished()?;
    // The conversation that was under way until now may have brought it to its end.
    let attempt = find(node, caller, &resume)?;
    match attempt.state {
        State::Complete | State::Unconfirmed => show(node, talk, &resume, attempt).await.map(|()| None),
        state if state.is_open() => {
            let kept = Box::new(run.kept(attempt).await?);
            Ok(Some((run, Start::Resumed { kept, theirs: Some(resume) })))
        }
        _ => {
            let why = attempt.error.unwrap_or_default();
            Err(Fault::new(Code::SessionOver, format!("run {} can't go on: {why}", attempt.run_id)))
        }
    }
}

fn find(node: &Node, caller: &accept::Peer, resume: &Resume) -> Result<Attempt, Fault> {
    let mut attempts = Attempts::of(node.home()).of_session(&resume.sid, caller.key)?;
    attempts.pop().ok_or_else(|| {
        let message = "the peer goes on with a session of which this node has no record: was its folder restored from a copy?";
        Fault::new(Code::SetBack, message).with_place("session")
    })
}

/// The lease of a run, as soon as the conversation that has it here has made room for the peer that called anew.
async fn take_over<'a>(
    node: &'a Node,
    caller: &accept::Peer,
    attempt: &Attempt,
    progress: Arc<dyn Progress>,
) -> Result<Run<'a>, Fault> {
    let anew = Fault::new(Code::Cut, "the peer has called anew");
    let until = match node.conversations().stop_run(&attempt.run_id, &anew) {
        true => node.clock().monotonic() + HANDOVER,
        false => Duration::ZERO,
    };
    loop {
        match Lease::to_answer(node, &attempt.job, caller.key).await {
            Err(fault) if fault.code == Code::Busy && node.clock().monotonic() < until => {
                node.clock().sleep(LOOK).await;
            }
            lease => return Run::claim(node, &attempt.job, lease?, progress),
        }
    }
}

async fn show(node: &Node, talk: &mut Talk, resume: &Resume, attempt: Attempt) -> Result<(), Fault> {
    let note = Runs::of(node.home()).note(&attempt.run_id)?;
    if Statement::of_note(&note).is_ok_and(|statement| statement.sid != resume.sid) {
        return Err(Fault::new(Code::SessionOver, "the peer goes on with a session that is not ours"));
    }
    talk.send(Message::Statements(vec![note])).await?;
    Attempts::of(node.home()).write(&Attempt { state: State::Complete, ..attempt })
}

/// The matches of a run that we have signed.
fn signed_matches(attempt: &Attempt) -> Option<Vec<u64>> {
    let signed = attempt.state == State::Closing;
    signed.then(|| attempt.lists.iter().map(|list| list.matches.unwrap_or_default()).collect())
}
