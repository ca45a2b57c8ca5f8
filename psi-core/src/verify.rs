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
    message::Digest,
    record::Record,
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
        report.check("both hellos agree on parties, terms and counts", Record::read(&transcript))?;
    report.check("both commits are signed, with a proof of each key", session.check_commits())?;
    let running =
        report.check("every step is committed to and signed by both", check_steps(&session, &transcript))?;
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

/// The running hash after the last step; every step has to be there.
fn check_steps(session: &Record, transcript: &Transcript) -> Result<Digest, String> {
    let (expected, got) = (session.plan.steps(), transcript.steps.len());
    if got != expected as usize {
        return Err(format!("expected {expected} steps, got {got}"));
    }
    let running = session.check_steps(&transcript.steps)?;
    Ok(*running.last().expect("the running hash has a start"))
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
        session: &Record,
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

impl Record {
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
