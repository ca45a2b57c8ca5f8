//! What can go wrong in a session, by whose fault it is.
//!
//! * [`Incompatible`]: both are honest, but they do not want the same exchange. Nothing was disclosed.
//! * [`Misbehaved`]: the peer broke the protocol, at a [`Place`].
//! * [`Damaged`]: what we kept of a session is not what we had written.
//! * [`Misuse`]: our own program called the session wrongly.
//!
//! No variant holds an identifier, a group element, a tag or a key.

use std::fmt;

use thiserror::Error;

use crate::{element::ElementFault, wire::Malformed};

/// Any failure of a session.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The two do not want the same exchange.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The peer broke the protocol.
    #[error(transparent)]
    PeerMisbehaved(#[from] Misbehaved),
    /// What we kept of the session contradicts itself.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The caller broke the session's contract.
    #[error(transparent)]
    Misuse(#[from] Misuse),
}

/// Two honest parties that do not want the same exchange.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// No protocol version or suite is offered by both.
    #[error("no common {0}")]
    Nothing(&'static str),
    /// The peer's terms have a value that this version does not know.
    #[error("the peer's terms have an unknown {0}")]
    Unknown(&'static str),
    /// The two agreements differ in this field.
    #[error("terms differ in {field}: ours {ours}, theirs {theirs}")]
    Terms {
        /// Name of the field, as the configuration has it.
        field: &'static str,
        /// Our value.
        ours: String,
        /// The peer's value.
        theirs: String,
    },
    /// The peer's Hello names other keys than those that we know.
    #[error("the hello names another key as {0}")]
    Identity(&'static str),
    /// The wall clocks are too far apart.
    #[error("clocks differ by {seconds} s, at most {most} s are allowed")]
    Clock {
        /// Seconds that the peer's clock is ahead of ours.
        seconds: i64,
        /// The most that is tolerated.
        most: i64,
    },
    /// One side's list is smaller or larger than the terms allow.
    #[error("{side} list of {profile} has {items} items, the terms allow {min} to {max}")]
    Items {
        /// `our` or `the peer's`.
        side: &'static str,
        /// The type of the list's identifiers.
        profile: String,
        /// Items declared.
        items: u64,
        /// Least that the terms allow.
        min: u64,
        /// Most that the terms allow.
        max: u64,
    },
    /// Both have a statement at this height, and they are not the same one.
    #[error("the chain of statements is forked at height {height}")]
    Forked {
        /// Height of the two different statements.
        height: u64,
    },
    /// Both have this step of a session that is resumed, and they are not the same one.
    #[error("the records of the session differ after {steps} steps")]
    Diverged {
        /// Steps that both have.
        steps: u32,
    },
    /// The peer shows what we signed in this session, and we know nothing of it: our state is an earlier one.
    #[error(
        "the peer has our signature under {what}, of which we have no record: was our state restored from a copy?"
    )]
    RolledBack {
        /// What we signed.
        what: &'static str,
    },
}

/// A violation of the protocol by the peer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {fault}")]
pub struct Misbehaved {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// Where in the exchange the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The peer's Hello.
    Hello,
    /// The peer's Resume.
    Resume,
    /// The statements by which the peer proves that its chain is longer.
    Statements,
    /// The peer's Commit, or the part of it that is about one list.
    Commit {
        /// Which list, where one is concerned.
        list: Option<u16>,
    },
    /// A chunk of the peer's masked list.
    Masked {
        /// Which list.
        list: u16,
        /// Which chunk of it.
        index: u32,
        /// Which element of the chunk, where one is concerned.
        element: Option<usize>,
    },
    /// The peer's answer to a chunk of ours.
    Evaluated {
        /// Which list.
        list: u16,
        /// Which chunk of it.
        index: u32,
        /// Which element of the chunk, where one is concerned.
        element: Option<usize>,
    },
    /// The signature that ends a step.
    StepEnd {
        /// Which step.
        step: u32,
    },
    /// The peer's Close.
    Close,
    /// A frame that carries no message of the protocol.
    Frame,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, list, index, element) = match *self {
            Self::Hello => return f.write_str("hello"),
            Self::Resume => return f.write_str("resume"),
            Self::Statements => return f.write_str("statements"),
            Self::Commit { list: None } => return f.write_str("commit"),
            Self::Commit { list: Some(list) } => return write!(f, "commit, list {list}"),
            Self::StepEnd { step } => return write!(f, "end of step {step}"),
            Self::Close => return f.write_str("close"),
            Self::Frame => return f.write_str("frame"),
            Self::Masked { list, index, element } => ("masked", list, index, element),
            Self::Evaluated { list, index, element } => ("evaluated", list, index, element),
        };
        write!(f, "{kind}, list {list}, chunk {index}")?;
        element.map_or(Ok(()), |element| write!(f, ", element {element}"))
    }
}

/// What the peer did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not a message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message that does not belong here.
    #[error("out of phase: expected {expected}, got {got}")]
    OutOfPhase {
        /// What may come now.
        expected: &'static str,
        /// What came.
        got: &'static str,
    },
    /// A chunk came before its turn, or again.
    #[error("out of order: expected list {list}, chunk {index}")]
    OutOfOrder {
        /// The list whose chunk is next.
        list: u16,
        /// The chunk that is next.
        index: u32,
    },
    /// A chunk came before its sender had verified the previous step.
    #[error("step {step} before step {verified} was answered")]
    TooEarly {
        /// Step of the chunk.
        step: u32,
        /// The step that should have been finished first.
        verified: u32,
    },
    /// An element that may not be multiplied.
    #[error("element is {0}")]
    Element(ElementFault),
    /// A chunk without elements.
    #[error("chunk is empty")]
    Empty,
    /// A length that is no whole number of elements or answers.
    #[error("length {got} is no multiple of {unit}")]
    Length {
        /// Bytes received.
        got: usize,
        /// Bytes of one element or answer.
        unit: usize,
    },
    /// A chunk above the size that the protocol allows.
    #[error("chunk of {got} elements, at most {most} are allowed")]
    Oversized {
        /// Elements received.
        got: usize,
        /// The protocol's limit.
        most: usize,
    },
    /// More elements than were committed to.
    #[error("too many elements: expected {expected}, got {got}")]
    TooMany {
        /// Elements due in this chunk.
        expected: usize,
        /// Elements received.
        got: usize,
    },
    /// Fewer elements than were committed to.
    #[error("too few elements: expected {expected}, got {got}")]
    TooFew {
        /// Elements due in this chunk.
        expected: usize,
        /// Elements received.
        got: usize,
    },
    /// The chunk's hash is not the one in the Commit.
    #[error("chunk is not the one committed to")]
    NotCommitted,
    /// A value that was declared twice, differently.
    #[error("{what} is not the one declared")]
    Contradiction {
        /// Which value.
        what: &'static str,
    },
    /// What was sent again after a resumption is not what was sent before.
    #[error("{what} is not the one given before the session was resumed")]
    Changed {
        /// Which value.
        what: &'static str,
    },
    /// The peer sends back what we sent.
    #[error("{what} is ours, reflected")]
    Reflected {
        /// Which value.
        what: &'static str,
    },
    /// An answer without the proof that the terms demand.
    #[error("proof is missing")]
    ProofMissing,
    /// A proof where the terms demand none.
    #[error("proof where the terms have none")]
    ProofUnexpected,
    /// A proof that is wrong, or belongs to another message.
    #[error("{what} does not verify")]
    ProofWrong {
        /// Which proof.
        what: &'static str,
    },
    /// A signature that is not the peer's over this.
    #[error("signature does not verify")]
    Signature,
    /// The peer's count of matches is not ours.
    #[error("counts of matches differ in list {list}: ours {ours}, theirs {theirs}")]
    Matches {
        /// Which list.
        list: u16,
        /// Matches that we found.
        ours: u64,
        /// Matches that the peer signed.
        theirs: u64,
    },
    /// A statement that does not continue our chain.
    #[error("statement does not continue the chain at height {height}")]
    Unchained {
        /// The height that should come next.
        height: u64,
    },
}

impl Fault {
    /// This fault, at that place.
    pub fn at(self, place: Place) -> Error {
        Error::PeerMisbehaved(Misbehaved { place, fault: self })
    }
}

/// Something kept of a session that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the record of the session is damaged: {what}")]
pub struct Damaged {
    /// Which part of it, and what is wrong.
    pub what: String,
}

impl Damaged {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// A call that the session's contract forbids.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The lists handed in are not those of the Hello.
    #[error("expected {expected} {what}, got {got}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many the session expects.
        expected: u64,
        /// How many were given.
        got: u64,
    },
    /// We commit before we have the statements that the peer has.
    #[error("statements of the peer are missing")]
    Behind,
    /// The exchange was closed before its last step ended.
    #[error("the exchange is not finished")]
    Unfinished,
}
