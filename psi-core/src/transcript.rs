//! The transcript: what was exchanged, as hashes and proofs, in an order that does not depend on arrival
//! (docs/PROTOCOL.md, "Transcript").
//!
//! A transcript is a title and records of `kind (1) ‖ length (4) ‖ payload`: both Hellos, both Commits, and for each step its
//! record and the two signatures under it. A running hash goes over all of them but the signatures, which verify on their
//! own; the statement names its last value.

use sha2::{Digest as _, Sha512_256};
use thiserror::Error;

use crate::{
    dleq::PROOF_BYTES,
    key::Role,
    message::Digest,
    signature::Signature,
    wire::{Malformed, Reader, Writer},
};

/// The first bytes of a transcript.
pub const TITLE: &[u8] = b"XPSI1-TRANSCRIPT\n";

/// SHA-512/256("XPSI1-SID" ‖ initiator's Hello ‖ responder's Hello), each length-prefixed: the session's id.
pub fn session_id(initiator: &[u8], responder: &[u8]) -> Digest {
    digest(Writer::new().text("XPSI1-SID").bytes(initiator).bytes(responder))
}

/// The running hash before the first step.
pub(crate) fn running_start(sid: &Digest, commits: [&[u8]; 2]) -> Digest {
    digest(Writer::new().text("XPSI1-RUNNING").fixed(sid).bytes(commits[0]).bytes(commits[1]))
}

/// The running hash after a step with this record.
pub(crate) fn running_next(running: &Digest, record: &[u8]) -> Digest {
    digest(Writer::new().text("XPSI1-STEP").fixed(running).bytes(record))
}

fn digest(writer: Writer) -> Digest {
    Sha512_256::digest(writer.finish()).into()
}

/// One chunk of a masked list and the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Which list.
    pub list: u16,
    /// Which chunk of it.
    pub index: u32,
    /// Leaf hash of the chunk, as in the Commit.
    pub masked: Digest,
    /// Leaf hash of the packed answers.
    pub answers: Digest,
    /// The batched proof, where the terms have proofs.
    pub proof: Option<[u8; PROOF_BYTES]>,
}

/// One step: for each direction, the chunks of that party's lists and the answers of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// Number of the step within the session.
    pub step: u32,
    /// The initiator's chunks, then the responder's.
    pub sides: [Vec<Answered>; 2],
}

impl StepRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let writer = Writer::new().u32(self.step);
        self.sides.iter().fold(writer, |writer, side| writer.list(side, write_answered)).finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let step = reader.u32("step")?;
        let mut side = || reader.list(bytes.len(), "chunks", read_answered);
        let sides = [side()?, side()?];
        reader.finish().map(|()| Self { step, sides })
    }
}

fn write_answered(writer: Writer, answered: &Answered) -> Writer {
    let writer =
        writer.u16(answered.list).u32(answered.index).fixed(&answered.masked).fixed(&answered.answers);
    match &answered.proof {
        None => writer.u8(0),
        Some(proof) => writer.u8(1).fixed(proof),
    }
}

fn read_answered(reader: &mut Reader<'_>) -> Result<Answered, Malformed> {
    Ok(Answered {
        list: reader.u16("list")?,
        index: reader.u32("index")?,
        masked: reader.fixed("masked hash")?,
        answers: reader.fixed("answers hash")?,
        proof: if reader.flag("proof")? { Some(reader.fixed("proof")?) } else { None },
    })
}

/// A step with the signatures under it; a run that was aborted may lack them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStep {
    /// What was exchanged.
    pub record: StepRecord,
    /// The initiator's and the responder's signature.
    pub signatures: [Option<Signature>; 2],
}

/// A session's transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Both Hellos in their canonical encoding, initiator first.
    pub hellos: [Vec<u8>; 2],
    /// Both Commits in their canonical encoding, initiator first.
    pub commits: [Vec<u8>; 2],
    /// The steps, in order.
    pub steps: Vec<SignedStep>,
}

/// A record that is not what must stand in its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("record {record}: {reason}")]
pub struct RecordError {
    /// Number of the record, from 0; the title counts as none.
    pub record: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Transcript {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = TITLE.to_vec();
        let mut put = |kind: Kind, payload: &[u8]| {
            file.extend(Writer::new().u8(kind as u8).bytes(payload).finish());
        };
        self.hellos.iter().for_each(|hello| put(Kind::Hello, hello));
        self.commits.iter().for_each(|commit| put(Kind::Commit, commit));
        for step in &self.steps {
            put(Kind::Step, &step.record.encode());
            let signed = [Role::Initiator, Role::Responder].into_iter().zip(&step.signatures);
            for (role, signature) in signed.filter_map(|(role, signature)| signature.map(|s| (role, s))) {
                put(Kind::StepEnd, &Writer::new().u8(role.code()).fixed(&signature).finish());
            }
        }
        file
    }

    /// Reads a transcript's bytes.
    ///
    /// # Errors
    /// [`RecordError`], with the first record that is cut short, out of place or malformed.
    pub fn decode(file: &[u8]) -> Result<Self, RecordError> {
        let mut records = Records::new(file)?;
        let hellos = [records.expect(Kind::Hello)?.to_vec(), records.expect(Kind::Hello)?.to_vec()];
        let commits = [records.expect(Kind::Commit)?.to_vec(), records.expect(Kind::Commit)?.to_vec()];
        let mut steps = Vec::new();
        while let Some(record) = records.next_is(Kind::Step)? {
            let record =
                StepRecord::decode(record).map_err(|malformed| records.wrong(&malformed.to_string()))?;
            let signatures = [records.signature(Role::Initiator)?, records.signature(Role::Responder)?];
            steps.push(SignedStep { record, signatures });
        }
        records.finish().map(|()| Self { hellos, commits, steps })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hello = 1,
    Commit = 2,
    Step = 3,
    StepEnd = 4,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Commit => "commit",
            Self::Step => "step",
            Self::StepEnd => "step end",
        }
    }
}

/// Reads records one after the other.
struct Records<'a> {
    rest: &'a [u8],
    read: usize,
}

impl<'a> Records<'a> {
    fn new(file: &'a [u8]) -> Result<Self, RecordError> {
        let wrong = RecordError { record: 0, reason: "the file is not a transcript".to_owned() };
        file.strip_prefix(TITLE).map(|rest| Self { rest, read: 0 }).ok_or(wrong)
    }

    fn expect(&mut self, kind: Kind) -> Result<&'a [u8], RecordError> {
        let missing = RecordError { record: self.read, reason: format!("expected a {}", kind.name()) };
        self.next_is(kind)?.ok_or(missing)
    }

    /// The next record's payload if it is of that kind; `None` at another kind and at the end.
    fn next_is(&mut self, kind: Kind) -> Result<Option<&'a [u8]>, RecordError> {
        if self.rest.first() != Some(&(kind as u8)) {
            return Ok(None);
        }
        let cut = RecordError { record: self.read, reason: format!("the {} is cut short", kind.name()) };
        let payload = Reader::new(&self.rest[1..]).bytes("payload").map_err(|_| cut)?;
        self.rest = &self.rest[5 + payload.len()..];
        self.read += 1;
        Ok(Some(payload))
    }

    fn signature(&mut self, role: Role) -> Result<Option<Signature>, RecordError> {
        let before = Self { ..*self };
        let Some(payload) = self.next_is(Kind::StepEnd)? else { return Ok(None) };
        let mut reader = Reader::new(payload);
        let read = (|| {
            let code = reader.u8("role")?;
            let signature = reader.fixed("signature")?;
            Ok((code, signature))
        })();
        let (code, signature) = read.map_err(|malformed: Malformed| self.wrong(&malformed.to_string()))?;
        reader.finish().map_err(|malformed| self.wrong(&malformed.to_string()))?;
        if code != role.code() {
            *self = before;
            return Ok(None);
        }
        Ok(Some(signature))
    }

    /// The error for the record that was read last.
    fn wrong(&self, reason: &str) -> RecordError {
        RecordError { record: self.read.saturating_sub(1), reason: reason.to_owned() }
    }

    fn finish(self) -> Result<(), RecordError> {
        let reason = "unexpected bytes after the last step".to_owned();
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError { record: self.read, reason }) }
    }
}
