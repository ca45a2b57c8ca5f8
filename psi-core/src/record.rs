//! A session's transcript, read and checked: by whoever verifies it offline, and by a party that goes on with what it kept.

use crate::{
    error::Fault,
    key::Role,
    message::{Commit, Digest, Hello, StepEnd},
    plan::{Chunk, Plan},
    session::{Outcome, check_list_commitment, check_not_ours, compare},
    statement::Statement,
    transcript::{self, Answered, SignedStep, Transcript},
};

const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

/// A transcript's Hellos and Commits, read.
pub(crate) struct Record {
    pub(crate) hellos: [Hello; 2],
    pub(crate) commits: [Commit; 2],
    encoded_commits: [Vec<u8>; 2],
    pub(crate) sid: Digest,
    pub(crate) plan: Plan,
}

impl Record {
    pub(crate) fn read(transcript: &Transcript) -> Result<Self, String> {
        let hello = |role: Role| {
            let decoded = Hello::decode(&transcript.hellos[usize::from(role.code())]);
            let hello = decoded.map_err(|error| in_record(role, "hello", error))?;
            if hello.role == role { Ok(hello) } else { Err(in_record(role, "hello", "another role")) }
        };
        let hellos = [hello(Role::Initiator)?, hello(Role::Responder)?];
        let [initiator, responder] = &hellos;
        compare(initiator, responder).map_err(|error| in_record(Role::Responder, "hello", error))?;
        let commit = |role: Role| {
            let decoded = Commit::decode(&transcript.commits[usize::from(role.code())]);
            decoded.map_err(|error| in_record(role, "commit", error))
        };
        Ok(Self {
            commits: [commit(Role::Initiator)?, commit(Role::Responder)?],
            encoded_commits: transcript.commits.clone(),
            sid: transcript::session_id(&transcript.hellos[0], &transcript.hellos[1]),
            plan: Plan::new([&initiator.items, &responder.items]),
            hellos,
        })
    }

    pub(crate) fn hello(&self, role: Role) -> &Hello {
        &self.hellos[usize::from(role.code())]
    }

    pub(crate) fn commit(&self, role: Role) -> &Commit {
        &self.commits[usize::from(role.code())]
    }

    pub(crate) fn check_commits(&self) -> Result<(), String> {
        for role in ROLES {
            let (hello, commit) = (self.hello(role), self.commit(role));
            let signed = Commit::signed_bytes(&self.sid, role, &commit.lists);
            if !hello.key.verifies(&signed, &commit.signature) {
                return Err(in_record(role, "commit", Fault::Signature));
            }
            if commit.lists.len() != hello.terms.profiles.len() {
                return Err(in_record(role, "commit", Fault::Contradiction { what: "number of lists" }));
            }
            for (list, commitment) in commit.lists.iter().enumerate() {
                check_list_commitment(hello, &self.sid, &self.plan, list as u16, commitment)
                    .map_err(|fault| in_record(role, "commit", fault))?;
            }
        }
        for (initiator, responder) in self.commits[0].lists.iter().zip(&self.commits[1].lists) {
            let distinct = check_not_ours(initiator, responder);
            distinct.map_err(|_| in_record(Role::Responder, "commit", "it repeats the initiator's"))?;
        }
        Ok(())
    }

    /// The running hashes: the start, and one after each of these steps, which are the first of the session.
    pub(crate) fn check_steps(&self, steps: &[SignedStep]) -> Result<Vec<Digest>, String> {
        let [initiator, responder] = &self.encoded_commits;
        let mut running = transcript::running_start(&self.sid, [initiator, responder]);
        let mut all = vec![running];
        for (step, signed) in steps.iter().enumerate() {
            let step = step as u32;
            if signed.record.step != step {
                return Err(format!("step {step}: the record is of step {}", signed.record.step));
            }
            for role in ROLES {
                self.check_side(role, step, &signed.record.sides[usize::from(role.code())])
                    .map_err(|reason| format!("step {step}, {} side: {reason}", role.name()))?;
            }
            running = transcript::running_next(&running, &signed.record.encode());
            self.check_step_signatures(step, &running, &signed.signatures)?;
            all.push(running);
        }
        Ok(all)
    }

    fn check_side(&self, role: Role, step: u32, answered: &[Answered]) -> Result<(), String> {
        let chunks = self.plan.chunks_in(role, step);
        if chunks.len() != answered.len() {
            return Err(format!("expected {} chunks, got {}", chunks.len(), answered.len()));
        }
        for (chunk, answered) in chunks.iter().zip(answered) {
            if (chunk.list, chunk.index) != (answered.list, answered.index) {
                return Err(format!("list {}, chunk {} is out of order", answered.list, answered.index));
            }
            if *self.committed(role, chunk) != answered.masked {
                return Err(format!(
                    "list {}, chunk {} is not the one committed to",
                    chunk.list, chunk.index
                ));
            }
            if answered.proof.is_some() != self.hello(role).terms.proved {
                return Err(format!("list {}, chunk {}: proof against the terms", chunk.list, chunk.index));
            }
        }
        Ok(())
    }

    fn committed(&self, role: Role, chunk: &Chunk) -> &Digest {
        &self.commit(role).lists[usize::from(chunk.list)].chunks[chunk.index as usize]
    }

    fn check_step_signatures(
        &self,
        step: u32,
        running: &Digest,
        signatures: &[Option<[u8; 64]>; 2],
    ) -> Result<(), String> {
        for (role, signature) in ROLES.into_iter().zip(signatures) {
            let signed = StepEnd::signed_bytes(&self.sid, role, step, running);
            let valid = signature.is_some_and(|signature| self.hello(role).key.verifies(&signed, &signature));
            if !valid {
                return Err(format!("step {step}: the {} signature is missing or wrong", role.name()));
            }
        }
        Ok(())
    }

    pub(crate) fn check_statement(&self, statement: &Statement, running: Digest) -> Result<(), String> {
        let matches: Vec<u64> = statement.lists.iter().map(|(_, matches)| *matches).collect();
        if matches.len() != self.commits[0].lists.len() {
            return Err("statement.note: another number of lists than the transcript".to_owned());
        }
        let [initiator, responder] = &self.hellos;
        let previous =
            if responder.chain.height > initiator.chain.height { responder.chain } else { initiator.chain };
        let outcome = Outcome { sid: self.sid, steps: self.plan.steps(), transcript: running, previous };
        let expected =
            Statement::of_session([initiator, responder], &self.commits, &matches, &outcome).to_text();
        let text = statement.to_text();
        let differing = expected.lines().zip(text.lines()).position(|(expected, got)| expected != got);
        differing.map_or(Ok(()), |line| {
            Err(format!("statement.note: line {} is not what the transcript says", line + 1))
        })?;
        let smaller = statement
            .lists
            .iter()
            .position(|(sides, matches)| sides.iter().any(|side| side.items < *matches));
        smaller.map_or(Ok(()), |list| Err(format!("statement.note: list {list} has more matches than items")))
    }
}

fn in_record(role: Role, record: &str, reason: impl std::fmt::Display) -> String {
    format!("transcript: the {} {record}: {reason}", role.name())
}
