//! The messages of a session and their canonical encodings (docs/PROTOCOL.md, "Messages").
//!
//! Control messages travel as their canonical encoding: what is signed is what was sent. The two bulk messages, [`Masked`]
//! and [`Evaluated`], hold packed arrays and are covered by the hashes of their chunks.

mod resume;

pub use resume::Resume;

use bytes::Bytes;

use crate::{
    dleq::PROOF_BYTES,
    element::{ELEMENT_BYTES, Element},
    error::{Error, Fault, Incompatible, Place},
    key::Role,
    signature::{PublicKey, SIGNATURE_BYTES, Signature},
    suite::SuiteId,
    terms::{MAX_LISTS, Terms},
    wire::{Malformed, Reader, Writer},
};

/// A SHA-256 or SHA-512/256 digest.
pub type Digest = [u8; 32];

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// Chunk hashes that one list's commitment may hold: 2^40 items.
const MAX_CHUNKS: usize = 1 << 26;
/// Statements that one message may carry.
pub const MAX_STATEMENTS: usize = 64;

/// Anything that one party sends the other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a message is made once and handled once, never stored in bulk"
)]
pub enum Message {
    /// Who I am, and what I want to exchange.
    Hello(Hello),
    /// I want to go on with a session that was cut, and this is how far I have it.
    Resume(Resume),
    /// The end of my chain of statements, for a peer that lacks it: signed notes, oldest first.
    Statements(Vec<Vec<u8>>),
    /// My key and my lists, before I see anything of yours.
    Commit(Commit),
    /// A chunk of my masked list.
    Masked(Masked),
    /// My answer to a chunk of yours.
    Evaluated(Evaluated),
    /// My signature under a finished step.
    StepEnd(StepEnd),
    /// My signature under the statement.
    Close(Close),
    /// I am alive and masking; not part of the transcript.
    Working(Working),
    /// I end this session, and why; not part of the transcript.
    Refusal(Refusal),
}

impl Message {
    /// The name in errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Resume(_) => "resume",
            Self::Statements(_) => "statements",
            Self::Commit(_) => "commit",
            Self::Masked(_) => "masked",
            Self::Evaluated(_) => "evaluated",
            Self::StepEnd(_) => "step end",
            Self::Close(_) => "close",
            Self::Working(_) => "working",
            Self::Refusal(_) => "refusal",
        }
    }

    /// The error for this message where only `expected` may come.
    pub fn out_of_phase(&self, expected: &'static str) -> Error {
        Fault::OutOfPhase { expected, got: self.name() }.at(self.place())
    }

    fn place(&self) -> Place {
        match self {
            Self::Hello(_) => Place::Hello,
            Self::Resume(_) => Place::Resume,
            Self::Statements(_) => Place::Statements,
            Self::Commit(_) => Place::Commit { list: None },
            Self::Masked(m) => Place::Masked { list: m.list, index: m.index, element: None },
            Self::Evaluated(m) => Place::Evaluated { list: m.list, index: m.index, element: None },
            Self::StepEnd(m) => Place::StepEnd { step: m.step },
            Self::Close(_) => Place::Close,
            Self::Working(_) | Self::Refusal(_) => Place::Frame,
        }
    }
}

/// Where a pair's chain of statements for a job ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainHead {
    /// How many statements the chain has.
    pub height: u64,
    /// Digest of the last one; zero where there is none.
    pub digest: Digest,
}

/// The first message of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions that the sender speaks.
    pub versions: Vec<u16>,
    /// Codes of the suites that the sender knows.
    pub suites: Vec<u16>,
    /// Who called: the sender is the initiator, or the responder.
    pub role: Role,
    /// The sender's identity key.
    pub key: PublicKey,
    /// The identity key that the sender expects on the other side.
    pub peer_key: PublicKey,
    /// Name of the job, the same on both sides.
    pub job: String,
    /// The agreement under which the exchange takes place; may be empty.
    pub agreement: String,
    /// What was agreed.
    pub terms: Terms,
    /// Exact number of items in each list, in the order of the terms' profiles.
    pub items: Vec<u64>,
    /// Fresh random bytes.
    pub nonce: [u8; 32],
    /// The sender's wall clock, in seconds since 1970.
    pub started: u64,
    /// Name and version of the sender's program.
    pub software: String,
    /// Name of the sender's institution.
    pub operator: String,
    /// Where the sender's chain with this peer ends.
    pub chain: ChainHead,
}

impl Hello {
    /// Codes of the suites that this version of the program can run.
    pub fn known_suites() -> Vec<u16> {
        SuiteId::ALL.iter().map(|suite| suite.code()).collect()
    }

    /// The canonical encoding; both Hellos together make the session id.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new()
            .list(&self.versions, |writer, version| writer.u16(*version))
            .list(&self.suites, |writer, suite| writer.u16(*suite))
            .u8(self.role.code())
            .fixed(self.key.as_bytes())
            .fixed(self.peer_key.as_bytes())
            .text(&self.job)
            .text(&self.agreement);
        self.terms
            .write(writer)
            .list(&self.items, |writer, items| writer.u64(*items))
            .fixed(&self.nonce)
            .u64(self.started)
            .text(&self.software)
            .text(&self.operator)
            .u64(self.chain.height)
            .fixed(&self.chain.digest)
            .finish()
    }

    /// Reads a Hello.
    ///
    /// # Errors
    /// [`Fault::Malformed`], or [`Incompatible::Unknown`] for a suite, output or profile of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        Self::read(&mut reader).and_then(|hello| reader.finish().map(|()| hello)).map_err(|malformed| {
            // The versions come first, so that a Hello of another version is known as such whatever follows them.
            if Reader::new(bytes).versions().is_ok_and(|versions| !versions.contains(&PROTOCOL_VERSION)) {
                Incompatible::Nothing("protocol version").into()
            } else if malformed.unknown {
                Incompatible::Unknown(malformed.what).into()
            } else {
                Fault::Malformed(malformed).at(Place::Hello)
            }
        })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            versions: reader.versions()?,
            suites: reader.list(64, "suites", |reader| reader.u16("suite"))?,
            role: read_role(reader)?,
            key: read_key(reader, "key")?,
            peer_key: read_key(reader, "peer key")?,
            job: reader.text("job")?,
            agreement: reader.text("agreement")?,
            terms: Terms::read(reader)?,
            items: reader.list(MAX_LISTS, "items", |reader| reader.u64("items"))?,
            nonce: reader.fixed("nonce")?,
            started: reader.u64("started")?,
            software: reader.text("software")?,
            operator: read_operator(reader)?,
            chain: ChainHead { height: read_height(reader)?, digest: reader.fixed("chain digest")? },
        })
    }
}

/// Whether `name` may stand in a statement's signature line (C2SP signed note): not empty, no white space, no `+`.
pub fn is_operator_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

fn read_operator(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let name = reader.text("operator")?;
    if is_operator_name(&name) { Ok(name) } else { Err(reader.malformed("operator")) }
}

impl Reader<'_> {
    fn versions(&mut self) -> Result<Vec<u16>, Malformed> {
        self.list(64, "versions", |reader| reader.u16("version"))
    }
}

/// Far above what any pair reaches, and far below what could overflow.
fn read_height(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let height = reader.u64("chain height")?;
    if height < 1 << 48 { Ok(height) } else { Err(reader.malformed("chain height")) }
}

fn read_key(reader: &mut Reader<'_>, what: &'static str) -> Result<PublicKey, Malformed> {
    let bytes = reader.fixed(what)?;
    PublicKey::from_bytes(&bytes).map_err(|_| reader.malformed(what))
}

fn read_role(reader: &mut Reader<'_>) -> Result<Role, Malformed> {
    match reader.flag("role")? {
        false => Ok(Role::Initiator),
        true => Ok(Role::Responder),
    }
}

/// What binds a party to one of its lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCommitment {
    /// Y = k·G.
    pub public: Element,
    /// Proof of knowledge of k.
    pub knowledge: [u8; PROOF_BYTES],
    /// Exact number of items; the Hello's.
    pub items: u64,
    /// Hash of every chunk of the masked list, as a leaf of RFC 6962.
    pub chunks: Vec<Digest>,
    /// Root over the chunk hashes, RFC 6962.
    pub root: Digest,
    /// What a later opening of the list is checked against; present where the terms say `openable`.
    pub opening: Option<OpeningCommitment>,
}

/// Binds a party to the identifiers behind its masked list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningCommitment {
    /// Root over the salted leaves of the list, in masked order.
    pub list_root: Digest,
    /// SHA-256 of the salted mask proof.
    pub mask_proof: Digest,
}

/// The second message of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// One commitment a list, in the order of the terms' profiles.
    pub lists: Vec<ListCommitment>,
    /// The sender's signature over [`Commit::signed_bytes`].
    pub signature: Signature,
}

impl Commit {
    /// The canonical encoding, signature last.
    pub fn encode(&self) -> Vec<u8> {
        write_lists(Writer::new(), &self.lists).fixed(&self.signature).finish()
    }

    /// Reads a Commit.
    ///
    /// # Errors
    /// [`Malformed`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let lists = reader.list(MAX_LISTS, "lists", read_list)?;
        let signature = reader.fixed::<SIGNATURE_BYTES>("signature")?;
        reader.finish()?;
        Ok(Self { lists, signature })
    }

    /// What the signature covers: label, session, role and the commitments.
    pub fn signed_bytes(sid: &Digest, role: Role, lists: &[ListCommitment]) -> Vec<u8> {
        write_lists(Writer::new().text("XPSI1-COMMIT").fixed(sid).u8(role.code()), lists).finish()
    }
}

fn write_lists(writer: Writer, lists: &[ListCommitment]) -> Writer {
    writer.list(lists, |writer, list| {
        let writer = writer
            .fixed(&list.public)
            .fixed(&list.knowledge)
            .u64(list.items)
            .list(&list.chunks, |writer, chunk| writer.fixed(chunk))
            .fixed(&list.root)
            .u8(list.opening.is_some().into());
        match &list.opening {
            Some(opening) => writer.fixed(&opening.list_root).fixed(&opening.mask_proof),
            None => writer,
        }
    })
}

fn read_list(reader: &mut Reader<'_>) -> Result<ListCommitment, Malformed> {
    Ok(ListCommitment {
        public: reader.fixed::<ELEMENT_BYTES>("public key")?,
        knowledge: reader.fixed("proof of knowledge")?,
        items: reader.u64("items")?,
        chunks: reader.list(MAX_CHUNKS, "chunks", |reader| reader.fixed("chunk"))?,
        root: reader.fixed("root")?,
        opening: match reader.flag("opening")? {
            false => None,
            true => Some(OpeningCommitment {
                list_root: reader.fixed("list root")?,
                mask_proof: reader.fixed("mask proof")?,
            }),
        },
    })
}

/// A chunk of the sender's masked list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// Which list.
    pub list: u16,
    /// Which chunk of it.
    pub index: u32,
    /// Packed elements, 32 bytes each, strictly ascending.
    pub elements: Bytes,
}

/// The sender's answer to a chunk of the receiver's masked list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluated {
    /// Which list.
    pub list: u16,
    /// Which chunk of it.
    pub index: u32,
    /// Packed elements (proved) or tags (unproved), in the order received.
    pub answers: Bytes,
    /// The batched proof, 64 bytes; empty where the terms have none.
    pub proof: Bytes,
}

/// The signature under a finished step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepEnd {
    /// Which step of the session.
    pub step: u32,
    /// Over [`StepEnd::signed_bytes`].
    pub signature: Signature,
}

impl StepEnd {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        Writer::new().u32(self.step).fixed(&self.signature).finish()
    }

    /// Reads a step's end.
    ///
    /// # Errors
    /// [`Malformed`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let end = Self { step: reader.u32("step")?, signature: reader.fixed("signature")? };
        reader.finish().map(|()| end)
    }

    /// What the signature covers: label, session, role, step and the running hash after it.
    pub fn signed_bytes(sid: &Digest, role: Role, step: u32, running: &Digest) -> Vec<u8> {
        Writer::new().text("XPSI1-STEP-END").fixed(sid).u8(role.code()).u32(step).fixed(running).finish()
    }
}

/// The signature under the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Matches that the sender counted, one number a list.
    pub matches: Vec<u64>,
    /// Over the statement's text.
    pub signature: Signature,
}

impl Close {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        Writer::new().list(&self.matches, |writer, count| writer.u64(*count)).fixed(&self.signature).finish()
    }

    /// Reads a Close.
    ///
    /// # Errors
    /// [`Malformed`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let matches = reader.list(MAX_LISTS, "matches", |reader| reader.u64("matches"))?;
        let close = Self { matches, signature: reader.fixed("signature")? };
        reader.finish().map(|()| close)
    }
}

/// How far the sender's masking is; coarse, so that it does not show which items were computed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Working {
    /// Items done.
    pub done: u64,
    /// Items in all.
    pub of: u64,
}

/// Why the sender ends the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Number of the sender's error in the table of errors.
    pub code: u16,
    /// A field's name or a place in the exchange; never content.
    pub detail: String,
}

impl Refusal {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        Writer::new().u16(self.code).text(&self.detail).finish()
    }

    /// Reads a refusal.
    ///
    /// # Errors
    /// [`Malformed`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let refusal = Self { code: reader.u16("code")?, detail: reader.text("detail")? };
        reader.finish().map(|()| refusal)
    }
}

/// The canonical encoding of a message of statements.
pub fn encode_statements(notes: &[Vec<u8>]) -> Vec<u8> {
    Writer::new().list(notes, |writer, note| writer.bytes(note)).finish()
}

/// Reads a message of statements: signed notes, oldest first.
///
/// # Errors
/// [`Malformed`], with the field.
pub fn decode_statements(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut reader = Reader::new(bytes);
    let notes =
        reader.list(MAX_STATEMENTS, "statements", |reader| reader.bytes("statement").map(<[u8]>::to_vec))?;
    reader.finish().map(|()| notes)
}
