//! What was sent under which key, as far as records and a tap tell.

use std::collections::{BTreeMap, btree_map::Entry};

use psi_core::{
    key::Role,
    message::{Commit, Digest, Hello},
    signature::PublicKey,
    transcript::{StepRecord, Transcript, session_id},
};
use psi_node::runs::run_id;

use super::side::Side;
use crate::tap::Tap;

/// Every session that something is known of.
#[derive(Default)]
pub(super) struct Sent {
    sessions: BTreeMap<Digest, Session>,
    /// Which session and party a key belongs to.
    keys: BTreeMap<[u8; 32], (Digest, Role)>,
}

pub(super) struct Session {
    pub(super) sid: Digest,
    pub(super) hellos: [Hello; 2],
    pub(super) commits: [Option<Commit>; 2],
    run_id: String,
    /// The longest record of its steps.
    steps: Vec<StepRecord>,
}

impl Sent {
    /// I3: whatever two sources say of one session must be the same, and no key may be in two.
    pub(super) fn gather(sides: &[Side<'_>; 2], tap: Option<&Tap>, broken: &mut Vec<String>) -> Self {
        let mut sent = Self::default();
        for transcript in sides.iter().flat_map(Side::transcripts) {
            match transcript {
                Ok(transcript) => sent.read(&transcript, broken),
                Err(damage) => broken.push(format!("I3 {damage}")),
            }
        }
        if let Some(tap) = tap {
            sent.hear(tap, broken);
        }
        sent
    }

    /// How many keys something was sent under.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The runs in which that party's Commit was sent.
    pub(super) fn runs_of(&self, party: PublicKey) -> impl Iterator<Item = &String> {
        let sent = move |session: &&Session| {
            session
                .hellos
                .iter()
                .zip(&session.commits)
                .any(|(hello, commit)| hello.key == party && commit.is_some())
        };
        self.sessions.values().filter(sent).map(|session| &session.run_id)
    }

    /// The session of a run.
    pub(super) fn of_run(&self, run: &str) -> Option<&Session> {
        self.sessions.values().find(|session| session.run_id == run)
    }

    fn read(&mut self, transcript: &Transcript, broken: &mut Vec<String>) {
        let steps = transcript.steps.iter().map(|step| step.record.clone()).collect();
        let commits = transcript.commits.each_ref().map(|commit| Commit::decode(commit).ok());
        self.add(&transcript.hellos, commits, steps, broken);
    }

    fn hear(&mut self, tap: &Tap, broken: &mut Vec<String>) {
        let heard = tap.heard();
        broken
            .extend(heard.contradictions.iter().map(|what| format!("I3 said twice and differently: {what}")));
        for session in heard.sessions.values() {
            self.add(&session.hellos, session.commits.clone(), Vec::new(), broken);
        }
    }

    fn add(
        &mut self,
        encoded: &[Vec<u8>; 2],
        commits: [Option<Commit>; 2],
        steps: Vec<StepRecord>,
        broken: &mut Vec<String>,
    ) {
        let sid = session_id(&encoded[0], &encoded[1]);
        let [Ok(initiator), Ok(responder)] = encoded.each_ref().map(|hello| Hello::decode(hello)) else {
            return broken.push("I3 a record of hellos that are none".to_owned());
        };
        let run_id = run_id(initiator.started, &sid);
        let hellos = [initiator, responder];
        let fresh = || Session { sid, hellos, commits: [None, None], run_id, steps: Vec::new() };
        let session = self.sessions.entry(sid).or_insert_with(fresh);
        session.same_steps(steps, broken);
        for (role, commit) in [Role::Initiator, Role::Responder].into_iter().zip(commits) {
            let Some(commit) = commit else { continue };
            for list in &commit.lists {
                match self.keys.entry(list.public) {
                    Entry::Vacant(vacant) => drop(vacant.insert((sid, role))),
                    Entry::Occupied(of) if *of.get() == (sid, role) => {}
                    Entry::Occupied(_) => {
                        broken.push(format!("I3 {}: its key is another session's too", session.run_id))
                    }
                }
            }
            session.same_commit(role, commit, broken);
        }
    }
}

impl Session {
    fn same_commit(&mut self, role: Role, commit: Commit, broken: &mut Vec<String>) {
        let known = self.commits[usize::from(role.code())].get_or_insert_with(|| commit.clone());
        if *known != commit {
            broken.push(format!("I3 {}: two commits of the {role}", self.run_id));
        }
    }

    /// Two records of one session have the same steps, as far as both go.
    fn same_steps(&mut self, steps: Vec<StepRecord>, broken: &mut Vec<String>) {
        if self.steps.iter().zip(&steps).any(|(known, step)| known != step) {
            broken.push(format!("I3 {}: two records of its steps differ", self.run_id));
        }
        if steps.len() > self.steps.len() {
            self.steps = steps;
        }
    }
}
