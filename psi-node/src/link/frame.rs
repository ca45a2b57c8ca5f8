//! Frames, and the account that each direction keeps of them.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// One message of the wire. Control messages are the core's canonical encodings, as they are hashed and signed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// Opens a session.
    Hello(Bytes),
    /// Commits to a key and a list.
    Commit(Bytes),
    /// Signs how far a step came.
    StepEnd(Bytes),
    /// The signed statement.
    Close(Bytes),
    /// Statements of the chain that the other side lacks.
    Statements(Bytes),
    /// Says why the sender leaves.
    Refusal(Bytes),
    /// Opens a session that goes on.
    Resume(Bytes),
    /// A chunk of the sender's masked list.
    Masked {
        /// Which list.
        list: u32,
        /// Which chunk of it.
        index: u32,
        /// Elements of 32 bytes, packed.
        elements: Bytes,
    },
    /// The answer to one chunk.
    Evaluated {
        /// Which list.
        list: u32,
        /// Which chunk of it.
        index: u32,
        /// Elements of 32 bytes, or tags, packed.
        answers: Bytes,
        /// Empty where the terms don't ask for proofs.
        proof: Bytes,
    },
    /// A sign of life, outside the transcript.
    Working {
        /// Done so far.
        done: u64,
        /// Of how many.
        of: u64,
    },
}

/// A frame taken apart: what the end mark's hash and `Debug` go by.
struct Parts<'a> {
    /// The field number in `psi.v1.Frame`.
    number: u8,
    name: &'static str,
    numbers: [Option<u64>; 2],
    bytes: [Option<&'a Bytes>; 2],
}

impl Frame {
    /// More than the protobuf around the bytes ever takes.
    const OVERHEAD: usize = 64;

    /// An upper bound of the encoded length, in bytes.
    pub(crate) fn max_encoded_len(&self) -> usize {
        self.payload_len() + Self::OVERHEAD
    }

    fn payload_len(&self) -> usize {
        self.parts().bytes.into_iter().flatten().map(Bytes::len).sum()
    }

    fn parts(&self) -> Parts<'_> {
        let control =
            |number, name, bytes| Parts { number, name, numbers: [None; 2], bytes: [Some(bytes), None] };
        match self {
            Self::Hello(bytes) => control(1, "Hello", bytes),
            Self::Commit(bytes) => control(2, "Commit", bytes),
            Self::StepEnd(bytes) => control(3, "StepEnd", bytes),
            Self::Close(bytes) => control(4, "Close", bytes),
            Self::Statements(bytes) => control(5, "Statements", bytes),
            Self::Refusal(bytes) => control(6, "Refusal", bytes),
            Self::Resume(bytes) => control(7, "Resume", bytes),
            Self::Masked { list, index, elements } => Parts {
                numbers: [Some((*list).into()), Some((*index).into())],
                ..control(9, "Masked", elements)
            },
            Self::Evaluated { list, index, answers, proof } => Parts {
                numbers: [Some((*list).into()), Some((*index).into())],
                bytes: [Some(answers), Some(proof)],
                ..control(10, "Evaluated", answers)
            },
            Self::Working { done, of } => {
                Parts { number: 13, name: "Working", numbers: [Some(*done), Some(*of)], bytes: [None; 2] }
            }
        }
    }
}

/// Names and sizes only: never elements.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.parts().name, self.payload_len())
    }
}

/// What travels through a link's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Frame(Frame),
    End(EndMark),
}

/// Closes a direction: how many frames there were, and their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndMark {
    pub(crate) frames: u64,
    pub(crate) hash: [u8; 32],
}

/// Counts and hashes the frames of one direction, as `End` in `psi.proto` defines it.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    frames: u64,
    hash: Sha256,
}

impl Tally {
    pub(crate) fn add(&mut self, frame: &Frame) {
        let parts = frame.parts();
        self.frames += 1;
        self.hash.update([parts.number]);
        for number in parts.numbers.into_iter().flatten() {
            self.hash.update(number.to_be_bytes());
        }
        for bytes in parts.bytes.into_iter().flatten() {
            self.hash.update((bytes.len() as u64).to_be_bytes());
            self.hash.update(bytes);
        }
    }

    pub(crate) fn end(&self) -> EndMark {
        EndMark { frames: self.frames, hash: self.hash.clone().finalize().into() }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("frames", &self.frames).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(frames: &[Frame]) -> EndMark {
        let mut tally = Tally::default();
        frames.iter().for_each(|frame| tally.add(frame));
        tally.end()
    }

    #[test]
    fn the_hash_is_as_the_proto_says() {
        let elements = Bytes::from_static(b"abc");
        let mut bytes = vec![9];
        bytes.extend(1_u64.to_be_bytes());
        bytes.extend(2_u64.to_be_bytes());
        bytes.extend(3_u64.to_be_bytes());
        bytes.extend(b"abc");
        let end = end_of(&[Frame::Masked { list: 1, index: 2, elements }]);
        assert_eq!(end, EndMark { frames: 1, hash: Sha256::digest(&bytes).into() });
    }

    #[test]
    fn kind_field_and_order_change_the_hash() {
        let b = Bytes::from_static;
        let (hello, commit) = (Frame::Hello(b(b"x")), Frame::Commit(b(b"x")));
        let evaluated = |answers, proof| Frame::Evaluated { list: 0, index: 0, answers, proof };
        assert_ne!(end_of(&[hello.clone(), commit.clone()]), end_of(&[commit, hello]));
        assert_ne!(end_of(&[evaluated(b(b"ab"), b(b"c"))]), end_of(&[evaluated(b(b"a"), b(b"bc"))]));
    }

    #[test]
    fn debug_shows_no_bytes() {
        let frame = Frame::Masked { list: 7, index: 8, elements: Bytes::from_static(b"secret") };
        assert_eq!(format!("{frame:?}"), "Masked(6 bytes)");
    }
}
