//! Frames, and the mark that ends each direction.

use std::fmt;

use bytes::Bytes;

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

impl Frame {
    /// More than the protobuf around the bytes ever takes.
    const OVERHEAD: usize = 64;

    /// An upper bound of the encoded length, in bytes.
    pub(crate) fn max_encoded_len(&self) -> usize {
        self.parts().1 + Self::OVERHEAD
    }

    /// Its name, and how many bytes it carries.
    fn parts(&self) -> (&'static str, usize) {
        match self {
            Self::Hello(bytes) => ("Hello", bytes.len()),
            Self::Commit(bytes) => ("Commit", bytes.len()),
            Self::StepEnd(bytes) => ("StepEnd", bytes.len()),
            Self::Close(bytes) => ("Close", bytes.len()),
            Self::Statements(bytes) => ("Statements", bytes.len()),
            Self::Refusal(bytes) => ("Refusal", bytes.len()),
            Self::Resume(bytes) => ("Resume", bytes.len()),
            Self::Masked { elements, .. } => ("Masked", elements.len()),
            Self::Evaluated { answers, proof, .. } => ("Evaluated", answers.len() + proof.len()),
            Self::Working { .. } => ("Working", 0),
        }
    }
}

/// Names and sizes only: never elements.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = self.parts();
        write!(f, "{name}({bytes} bytes)")
    }
}

/// What travels through a link's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Frame(Frame),
    /// Closes a direction: how many frames there were.
    End {
        frames: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_bytes() {
        let frame = Frame::Masked { list: 7, index: 8, elements: Bytes::from_static(b"secret") };
        assert_eq!(format!("{frame:?}"), "Masked(6 bytes)");
    }
}
