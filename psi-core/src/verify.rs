//! Checking a finished session offline, from what may be handed out: the statement and the transcript, and the evidence
//! where it was kept (docs/AUDITING.md).
//!
//! Nothing here needs a list, a key or the network. Every check is reported by name: passed, failed with the record, or not
//! possible and why. What no transcript can show is listed as such, so that nobody reads more into a verdict than it says.

use std::collections::BTreeMap;

use crate::{
    dleq,
    element::{ELEMENT_BYTES, Element, strictly_ascending},
    error::Fault,
    evidence::EvidenceChunk,
    key::Role,
    merkle,
    message::{Commit, Digest, Hello, StepEnd},
    plan::{Chunk, Plan},
    session::{Outcome as SessionOutcome, check_list_commitment, check_not_ours, compare},
    signature::PublicKey,
    statement::Statement,
    transcript::{self, Answered, Transcript},
};

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not; where and why.
    Failed(String),
    /// It could not be checked; why.
    NotPossible(&'static str),
}

/// One check by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked, as a sentence that is true if it passed.
    pub name: &'static str,
    /// Whether it holds.
    pub outcome: Outcome,
}

/// What the checks come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that can be checked holds, and the signers are the institutions that were pinned.
    Verified,
    /// Everything holds, but nobody said whose keys these should be.
    IdentitiesNotChecked,
    /// Something does not hold.
    Failed,
}

/// Every check, in order, and the statement if it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the parties signed.
    pub statement: Option<Statement>,
    /// The checks; after a failed one, those that build on it are missing.
    pub checks: Vec<Check>,
}

impl Report {
    /// What the checks come to.
    pub fn verdict(&self) -> Verdict {
        let unpinned = |check: &Check| check.name == IDENTITIES && check.outcome != Outcome::Passed;
        match () {
            () if self.failures().next().is_some() => Verdict::Failed,
            () if self.checks.iter().any(unpinned) => Verdict::IdentitiesNotChecked,
            () => Verdict::Verified,
        }
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_)))
    }
}

/// The chunks that were kept; an item may be the reason why the rest cannot be read.
pub type Evidence<'a> = &'a mut dyn Iterator<Item = Result<EvidenceChunk, String>>;

const IDENTITIES: &str = "both signers are the pinned institutions";
const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

/// Checks a session's statement and transcript; `pins` are the keys of the two institutions, in any order.
pub fn verify(
    note: &[u8],
    transcript: &[u8],
    pins: Option<[PublicKey; 2]>,
    evidence: Option<Evidence<'_>>,
) -> Report {
    let mut report = Report { statement: None, checks: Vec::new() };
    // A failed check ends the run: what follows would be checked against something that nobody signed.
    let _ = run(&mut report, note, transcript, pins, evidence);
    report
}

/// A check has failed and is in the report.
struct Stop;

fn run(
    report: &mut Report,
    note: &[u8],
    transcript: &[u8],
    pins: Option<[PublicKey; 2]>,
    evidence: Option<Evidence<'_>>,
) -> Result<(), Stop> {
    let read = Statement::read_note(note);
    let (statement, signatures) = report.check("statement.note is a statement in canonical form", read)?;
    report.statement = Some(statement.clone());
    for (role, signature) in ROLES.into_iter().zip(&signatures) {
        let name = ["the initiator's signature is valid", "the responder's signature is valid"];
        let signed =
            statement.is_signed_by(role, signature).then_some(()).ok_or("statement.note: wrong signature");
        report.check(name[usize::from(role.code())], signed)?;
    }
    report.identities(&statement, pins)?;
    let transcript =
        report.check("transcript is complete and in canonical form", Transcript::decode(transcript))?;
    let named = check_session_id(&statement, &transcript);
    report.check("the statement is about this transcript's hellos", named)?;
    let session =
        report.check("both hellos agree on parties, terms and counts", Session::read(&transcript))?;
    report.check("both commits are signed, with a proof of each key", session.check_commits())?;
    let running =
        report.check("every step is committed to and signed by both", session.check_steps(&transcript))?;
    let follows = session.check_statement(&statement, running);
    report.check("the statement follows from the transcript", follows)?;
    report.evidence(&session, &transcript, evidence)?;
    report.note(
        "each masked list was made with the committed key",
        Outcome::NotPossible("no transcript shows it; only opening the list to an auditor does"),
    );
    Ok(())
}

/// Binds both Hellos to what was signed, before anything in them is believed.
fn check_session_id(statement: &Statement, transcript: &Transcript) -> Result<(), &'static str> {
    let [initiator, responder] = &transcript.hellos;
    let sid = transcript::session_id(initiator, responder);
    if sid == statement.sid {
        Ok(())
    } else {
        Err("transcript: the hellos are not those of the session that was signed")
    }
}

impl Report {
    fn note(&mut self, name: &'static str, outcome: Outcome) {
        self.checks.push(Check { name, outcome });
    }

    fn check<T>(&mut self, name: &'static str, result: Result<T, impl ToString>) -> Result<T, Stop> {
        let outcome = match &result {
            Ok(_) => Outcome::Passed,
            Err(reason) => Outcome::Failed(reason.to_string()),
        };
        self.note(name, outcome);
        result.map_err(|_| Stop)
    }

    fn identities(&mut self, statement: &Statement, pins: Option<[PublicKey; 2]>) -> Result<(), Stop> {
        let Some(mut pins) = pins else {
            self.note(IDENTITIES, Outcome::NotPossible("no keys to compare with were given"));
            return Ok(());
        };
        let mut keys = statement.parties.each_ref().map(|party| party.key);
        keys.sort();
        pins.sort();
        let unpinned = keys.into_iter().zip(pins).find(|(key, pin)| key != pin).map(|(key, _)| key);
        let reason = unpinned.map(|key| format!("statement.note: {key} is not one of the two pinned keys"));
        self.check(IDENTITIES, reason.map_or(Ok(()), Err))
    }

    fn evidence(
        &mut self,
        session: &Session,
        transcript: &Transcript,
        evidence: Option<Evidence<'_>>,
    ) -> Result<(), Stop> {
        const NAME: &str = "every answer was multiplied by the committed key";
        match evidence {
            _ if !session.hello(Role::Initiator).terms.proved => {
                self.note(NAME, Outcome::NotPossible("the terms have no proofs"));
                Ok(())
            }
            None => {
                self.note(NAME, Outcome::NotPossible("the masked and evaluated bytes were not kept"));
                Ok(())
            }
            Some(evidence) => self.check(NAME, session.check_evidence(transcript, evidence)),
        }
    }
}

/// A transcript's Hellos and Commits, read.
struct Session {
    hellos: [Hello; 2],
    commits: [Commit; 2],
    encoded_commits: [Vec<u8>; 2],
    sid: Digest,
    plan: Plan,
}

impl Session {
    fn read(transcript: &Transcript) -> Result<Self, String> {
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

    fn hello(&self, role: Role) -> &Hello {
        &self.hellos[usize::from(role.code())]
    }

    fn commit(&self, role: Role) -> &Commit {
        &self.commits[usize::from(role.code())]
    }

    fn check_commits(&self) -> Result<(), String> {
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

    /// Returns the running hash after the last step.
    fn check_steps(&self, transcript: &Transcript) -> Result<Digest, String> {
        let mut running =
            transcript::running_start(&self.sid, [&self.encoded_commits[0], &self.encoded_commits[1]]);
        if transcript.steps.len() != self.plan.steps() as usize {
            return Err(format!("expected {} steps, got {}", self.plan.steps(), transcript.steps.len()));
        }
        for (step, signed) in transcript.steps.iter().enumerate() {
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
        }
        Ok(running)
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

    fn check_statement(&self, statement: &Statement, running: Digest) -> Result<(), String> {
        let matches: Vec<u64> = statement.lists.iter().map(|(_, matches)| *matches).collect();
        if matches.len() != self.commits[0].lists.len() {
            return Err("statement.note: another number of lists than the transcript".to_owned());
        }
        let [initiator, responder] = &self.hellos;
        let previous =
            if responder.chain.height > initiator.chain.height { responder.chain } else { initiator.chain };
        let outcome =
            SessionOutcome { sid: self.sid, steps: self.plan.steps(), transcript: running, previous };
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

    fn check_evidence(&self, transcript: &Transcript, evidence: Evidence<'_>) -> Result<(), String> {
        let answered = transcript.steps.iter().flat_map(|step| ROLES.into_iter().zip(&step.record.sides));
        let mut due: BTreeMap<(u8, u16, u32), &Answered> = answered
            .flat_map(|(role, side)| side.iter().map(move |a| ((role.code(), a.list, a.index), a)))
            .collect();
        let mut ends = BTreeMap::new();
        for chunk in evidence {
            let chunk = chunk?;
            let key = (chunk.role.code(), chunk.list, chunk.index);
            let place = format!("evidence, {} list {}, chunk {}", chunk.role.name(), chunk.list, chunk.index);
            let answered =
                due.remove(&key).ok_or_else(|| format!("{place}: not in the transcript, or twice"))?;
            let end = self.check_chunk(&chunk, answered).map_err(|reason| format!("{place}: {reason}"))?;
            ends.insert(key, end);
        }
        if let Some((_, list, index)) = due.keys().next() {
            return Err(format!("evidence: list {list}, chunk {index} is missing"));
        }
        check_ends(&ends)
    }

    /// Returns the chunk's first and last element.
    fn check_chunk(&self, chunk: &EvidenceChunk, answered: &Answered) -> Result<(Element, Element), String> {
        if merkle::leaf_hash(&chunk.masked) != answered.masked {
            return Err(Fault::NotCommitted.to_string());
        }
        if merkle::leaf_hash(&chunk.answers) != answered.answers {
            return Err("the answers are not those of the transcript".to_owned());
        }
        let (masked, rest) = chunk.masked.as_chunks::<ELEMENT_BYTES>();
        let (answers, over) = chunk.answers.as_chunks::<ELEMENT_BYTES>();
        let due = self.plan.chunks_of(chunk.role, chunk.list).find(|due| due.index == chunk.index);
        let whole = rest.is_empty() && over.is_empty();
        let (Some(first), Some(last), true) = (masked.first(), masked.last(), whole) else {
            return Err("no whole number of elements".to_owned());
        };
        if due.is_none_or(|due| due.len as usize != masked.len()) {
            return Err("another number of elements than planned".to_owned());
        }
        strictly_ascending(None, masked).map_err(|wrong| wrong.to_string())?;
        self.check_proof(chunk, answered, masked, answers)?;
        Ok((*first, *last))
    }

    fn check_proof(
        &self,
        chunk: &EvidenceChunk,
        answered: &Answered,
        masked: &[Element],
        answers: &[Element],
    ) -> Result<(), String> {
        let evaluator = chunk.role.opposite();
        let suite = self.hello(evaluator).terms.suite.suite();
        let public = &self.commit(evaluator).lists[usize::from(chunk.list)].public;
        let statement =
            dleq::Statement { sid: &self.sid, role: evaluator, list: chunk.list, index: chunk.index };
        let proof = answered.proof.as_ref().ok_or_else(|| Fault::ProofMissing.to_string())?;
        let proof = dleq::Proof::from_bytes(suite, proof).map_err(|invalid| invalid.to_string())?;
        dleq::verify(suite, &statement, public, masked, answers, &proof)
            .map_err(|invalid| invalid.to_string())
    }
}

/// Consecutive chunks of a list must ascend too.
fn check_ends(ends: &BTreeMap<(u8, u16, u32), (Element, Element)>) -> Result<(), String> {
    let mut before: Option<((u8, u16), Element)> = None;
    for ((role, list, index), (first, last)) in ends {
        if before.is_some_and(|(of, element)| of == (*role, *list) && element >= *first) {
            return Err(format!("evidence: list {list}, chunk {index} does not ascend from the one before"));
        }
        before = Some(((*role, *list), *last));
    }
    Ok(())
}

fn in_record(role: Role, record: &str, reason: impl std::fmt::Display) -> String {
    format!("transcript: the {} {record}: {reason}", role.name())
}
