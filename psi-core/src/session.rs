//! One session between two parties, as a state machine without I/O (docs/PROTOCOL.md, "A session").
//!
//! ```text
//! Opening   --accept(Hello)-->  Agreed     sid; terms equal; chain compared; now mask
//! Agreed    --commit(lists)-->  Committed  our Commit is on the table
//! Committed --accept(Commit)->  Exchange   so is theirs: points may flow
//! Exchange  --close(matches)->  Closing    every step sent, answered, verified and signed
//! Closing   --accept(Close)-->  Signed     statement with both signatures, transcript
//! ```
//!
//! A session that was cut goes on from what was kept of it: `restore` in the place of the ways above, then `resume` and
//! `rejoin`.
//!
//! Both parties run the same code. A step that is expensive comes out as a task ([`EvaluateTask`], [`VerifyTask`]) that the
//! caller runs where it likes and whose result it hands back, in any order; the session puts them in theirs. No state holds
//! a whole list: the caller lends its own masked lists, wherever they lie ([`OwnList`](crate::mask::OwnList)), and stores the join
//! keys that the tasks give out.

mod closing;
mod exchange;
mod opening;
mod resume;
mod task;

pub use closing::{Closing, Signed};
pub use exchange::{Exchange, Outgoing, Received};
pub use opening::{Agreed, ChainGap, Committed, MAX_CLOCK_SKEW, Opening};
pub use resume::{Common, KeptStep};
pub use task::{Answer, EvaluateTask, JoinKey, JoinKeys, Side, Verified, VerifyTask};

pub(crate) use exchange::Outcome;
pub(crate) use opening::{check_list_commitment, check_not_ours, compare};

use crate::{
    element::Element,
    evidence::EvidenceChunk,
    key::Role,
    message::Digest,
    plan::{Chunk, Plan},
    suite::Suite,
    tag,
};

/// What every part of a running session needs to know.
pub(crate) struct Context {
    sid: Digest,
    role: Role,
    suite: &'static dyn Suite,
    proved: bool,
    keeps_evidence: bool,
    plan: Plan,
    lists: Vec<ListContext>,
}

/// The peer's key and both sides' commitments of one list; our key is in our masked list.
struct ListContext {
    their_public: Element,
    /// Hashes of the chunks that each role committed to.
    chunks: [Vec<Digest>; 2],
    tag_bytes: usize,
}

impl Context {
    fn list(&self, list: u16) -> &ListContext {
        &self.lists[usize::from(list)]
    }

    /// The hash that `role` committed to for one of its chunks.
    fn committed(&self, role: Role, chunk: &Chunk) -> &Digest {
        &self.list(chunk.list).chunks[usize::from(role.code())][chunk.index as usize]
    }

    /// A chunk and the answer to it, where the terms say that they are kept.
    fn evidence(
        &self,
        role: Role,
        chunk: &Chunk,
        masked: impl FnOnce() -> Vec<u8>,
        answers: &[u8],
    ) -> Option<EvidenceChunk> {
        self.keeps_evidence.then(|| EvidenceChunk {
            role,
            list: chunk.list,
            index: chunk.index,
            masked: masked(),
            answers: answers.to_vec(),
        })
    }

    /// Bytes of one answer to an element of that list.
    fn answer_bytes(&self, list: u16) -> usize {
        if self.proved { crate::element::ELEMENT_BYTES } else { self.list(list).tag_bytes }
    }
}

/// Bytes of a tag for lists of these sizes.
fn tag_bytes(items: [u64; 2]) -> usize {
    tag::tag_bytes(items[0], items[1])
}
