//! What a run leaves behind whatever happens: the record of its attempt.

use std::{path::PathBuf, sync::Arc};

use psi_core::{
    identifier::Profile,
    key::Role,
    session::Agreed,
    statement::{ListRecord, Statement},
    transcript::Transcript,
};

use super::{Run, lease, meter::Meter};
use crate::{
    fault::Fault,
    policy::Request,
    runs::{self, Attempt, AttemptList, AttemptRows, Attempts, Spent, State},
};

/// The record of this attempt.
pub(super) struct Record {
    attempts: Attempts,
    pub(super) attempt: Attempt,
    meter: Arc<Meter>,
    /// Whether what the run needs to go on is durable.
    pub(super) kept: bool,
}

impl Record {
    /// Of an attempt that begins; `rejects` if anything was left out of the list.
    pub(super) fn new(run: &Run<'_>, id: &str, agreed: &Agreed, rejects: bool) -> Self {
        let attempt = Attempt {
            run_id: id.to_owned(),
            job: run.job_name.clone(),
            agreement: run.job.agreement.clone(),
            peer: run.job.peer.clone(),
            peer_key: run.peer.key.to_string(),
            role: agreed.ours().role.name().to_owned(),
            committed: None,
            lists: lists(agreed),
            state: State::Agreed,
            output: run.output(id),
            rejects: run.rejects(id).filter(|_| rejects),
            only_new: run.job.only_new,
            rows: None,
            resumed: 0,
            spent: Spent::default(),
            error: None,
        };
        Self { kept: false, ..Self::resumed(run, attempt) }
    }

    /// A run that this folder does not know, and whose statement the peer shows with our signature: it counts again, and its
    /// rows and result are lost.
    pub(super) fn remember(run: &Run<'_>, statement: &Statement) -> Result<(), Fault> {
        let id = runs::run_id(statement.parties[0].started, &statement.sid);
        let (attempts, _alone) = (Attempts::of(run.node.home()), lease::ledger(run.node)?);
        if attempts.read(&id)?.is_some() {
            return Ok(());
        }
        let key = run.node.identity().public_key();
        let (ours, role) = match statement.parties[0].key == key {
            true => (0, Role::Initiator),
            false => (1, Role::Responder),
        };
        let list = |((records, matches), profile): (&([ListRecord; 2], u64), &Profile)| AttemptList {
            profile: profile.id().to_owned(),
            items_ours: records[ours].items,
            items_theirs: records[1 - ours].items,
            matches: Some(*matches),
        };
        attempts.write(&Attempt {
            run_id: id,
            job: statement.job.clone(),
            agreement: statement.agreement.clone(),
            peer: run.job.peer.clone(),
            peer_key: run.peer.key.to_string(),
            role: role.name().to_owned(),
            committed: Some(statement.parties[ours].started),
            lists: statement.lists.iter().zip(&statement.terms.profiles).map(list).collect(),
            state: State::Complete,
            output: PathBuf::new(),
            rejects: None,
            only_new: false,
            rows: None,
            resumed: 0,
            spent: Spent::default(),
            error: Some("record lost; known again from the statement that the peer showed".to_owned()),
        })
    }

    /// The record of a run that goes on.
    pub(super) fn resumed(run: &Run<'_>, attempt: Attempt) -> Self {
        Self { attempts: Attempts::of(run.node.home()), attempt, meter: run.progress.clone(), kept: true }
    }

    /// The peer wants to go on as well.
    pub(super) fn resume(&mut self) -> Result<(), Fault> {
        self.attempt.resumed += 1;
        self.attempt.error = None;
        self.write()
    }

    /// From here on the attempt counts, if the policy still allows it: no other run charges the ledger meanwhile.
    pub(super) fn charge(&mut self, run: &Run<'_>, theirs: &[u64]) -> Result<(), Fault> {
        let _alone = lease::ledger(run.node)?;
        run.allow(&Request::new(&run.job_name, &run.job, theirs))?;
        self.attempt.committed = Some(run.node.now());
        self.attempt.state = State::Committed;
        self.write()
    }

    pub(super) fn write(&mut self) -> Result<(), Fault> {
        self.attempt.spent.add(self.meter.take());
        self.attempts.write(&self.attempt)
    }

    /// What was found, in the order of the lists, and what became of the rows.
    pub(super) fn joined(&mut self, matches: &[u64], rows: AttemptRows) {
        self.attempt.rows = Some(rows);
        for (list, matches) in self.attempt.lists.iter_mut().zip(matches) {
            list.matches = Some(*matches);
        }
    }

    /// Keeps the transcript of a run that failed, as far as it came.
    pub(super) fn keep(&self, transcript: &Transcript) -> Result<(), Fault> {
        self.attempts.keep_transcript(&self.attempt.run_id, &transcript.encode())
    }

    /// How it ended.
    pub(super) fn end(&mut self, state: State, fault: Option<&Fault>) -> Result<(), Fault> {
        self.attempt.state = state;
        self.attempt.error = fault.map(|fault| format!("{}: {fault}", fault.code));
        self.meter.rest();
        self.write()
    }
}

fn lists(agreed: &Agreed) -> Vec<AttemptList> {
    let (ours, theirs) = (agreed.ours(), agreed.theirs());
    let items = ours.items.iter().zip(&theirs.items);
    let list = |(profile, (ours, theirs)): (&Profile, (&u64, &u64))| AttemptList {
        profile: profile.id().to_owned(),
        items_ours: *ours,
        items_theirs: *theirs,
        matches: None,
    };
    ours.terms.profiles.iter().zip(items).map(list).collect()
}
