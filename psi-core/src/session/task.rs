//! The expensive parts of a session, cut loose so that the caller can run them on its own threads.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    dleq::{self, PROOF_BYTES},
    element::{ELEMENT_BYTES, Element, ElementAt, ElementFault, strictly_ascending},
    error::{Error, Fault, Place},
    evidence::EvidenceChunk,
    key::{MaskKey, Role},
    mask::OwnList,
    merkle,
    message::Evaluated,
    plan::Chunk,
    session::Context,
    suite::Side as Operand,
    tag,
    transcript::Answered,
};

/// What the join compares: the first 16 bytes of a doubly masked element (proved), or its tag, zero-padded (unproved).
///
/// Doubly masked elements are uniform to both parties until both have committed, so two different ones share 16 bytes with
/// probability 2^-127; tags are cut so that over all pairs it is 2^-40.
pub type JoinKey = [u8; JOIN_KEY_BYTES];

const JOIN_KEY_BYTES: usize = 16;

/// Whose items a batch of join keys belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Ours, in masked order.
    Ours,
    /// The peer's.
    Theirs,
}

/// The join keys of one chunk.
pub struct JoinKeys {
    /// Whose items they are.
    pub side: Side,
    /// Which of that side's items.
    pub chunk: Chunk,
    /// One key an item.
    pub keys: Vec<JoinKey>,
    /// What was sent both ways, where the terms say that evidence is kept.
    pub evidence: Option<EvidenceChunk>,
}

/// A chunk of the peer's list, to be checked and multiplied by our key.
pub struct EvaluateTask {
    pub(crate) context: Arc<Context>,
    pub(crate) chunk: Chunk,
    /// Position among the peer's chunks of the session.
    pub(crate) at: usize,
    pub(crate) elements: Bytes,
    /// Last element of the list's chunk before this one.
    pub(crate) previous: Option<Element>,
}

/// Our answer to a chunk of the peer's list, to be handed back to the session.
pub struct Answer {
    pub(crate) at: usize,
    pub(crate) message: Evaluated,
    pub(crate) record: Answered,
}

impl EvaluateTask {
    /// Checks the chunk against its hash, its order and ours, then evaluates it; `own` are our masked lists.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`], with the element, or that our list can't be read.
    pub fn run<L: OwnList>(self, own: &[L]) -> Result<(Answer, JoinKeys), L::Error> {
        let context = &*self.context;
        let elements = as_elements(&self.elements);
        let own = &own[usize::from(self.chunk.list)];
        self.check(elements, own)?;
        let mut evaluated = vec![[0; ELEMENT_BYTES]; elements.len()];
        let proof = self.evaluate(own.key(), elements, &mut evaluated)?;
        let answers = match &proof {
            Some(_) => Bytes::copy_from_slice(evaluated.as_flattened()),
            None => tags(context, self.chunk.list, context.role, &evaluated).into(),
        };
        let keys = match &proof {
            Some(_) => evaluated.iter().map(join_key).collect(),
            None => {
                let width = context.list(self.chunk.list).tag_bytes;
                let tags = tags(context, self.chunk.list, context.role.opposite(), &evaluated);
                tags.chunks(width).map(join_key).collect()
            }
        };
        let record = Answered {
            list: self.chunk.list,
            index: self.chunk.index,
            masked: *context.committed(context.role.opposite(), &self.chunk),
            answers: merkle::leaf_hash(&answers),
            proof,
        };
        let proof = proof.map_or_else(Bytes::new, |proof| Bytes::copy_from_slice(&proof));
        let message = Evaluated { list: self.chunk.list, index: self.chunk.index, answers, proof };
        let evidence = context.evidence(
            context.role.opposite(),
            &self.chunk,
            || self.elements.to_vec(),
            &message.answers,
        );
        let keys = JoinKeys { side: Side::Theirs, chunk: self.chunk, keys, evidence };
        Ok((Answer { at: self.at, message, record }, keys))
    }

    fn check<L: OwnList>(&self, elements: &[Element], own: &L) -> Result<(), L::Error> {
        let peer = self.context.role.opposite();
        if merkle::leaf_hash(&self.elements) != *self.context.committed(peer, &self.chunk) {
            return Err(Fault::NotCommitted.at(self.place(None)).into());
        }
        strictly_ascending(self.previous.as_ref(), elements).map_err(|wrong| self.element(wrong))?;
        match own.first_common(elements)? {
            Some(index) => Err(self.element(ElementAt { index, fault: ElementFault::Reflected }).into()),
            None => Ok(()),
        }
    }

    fn evaluate(
        &self,
        key: &MaskKey,
        elements: &[Element],
        out: &mut [Element],
    ) -> Result<Option<[u8; PROOF_BYTES]>, Error> {
        let context = &*self.context;
        if !context.proved {
            let done = context.suite.evaluate(key.scalar(), elements, out, None);
            return done.map(|_| None).map_err(|wrong| self.element(wrong));
        }
        let (list, index) = (self.chunk.list, self.chunk.index);
        let statement = dleq::Statement { sid: &context.sid, role: context.role, list, index };
        let proof = dleq::evaluate(context.suite, key, &statement, elements, out);
        proof.map(|proof| Some(proof.to_bytes())).map_err(|wrong| self.element(wrong))
    }

    fn element(&self, wrong: ElementAt) -> Error {
        Fault::Element(wrong.fault).at(self.place(Some(wrong.index)))
    }

    fn place(&self, element: Option<usize>) -> Place {
        Place::Masked { list: self.chunk.list, index: self.chunk.index, element }
    }
}

/// The peer's answer to a chunk of our list, to be verified.
pub struct VerifyTask {
    pub(crate) context: Arc<Context>,
    pub(crate) chunk: Chunk,
    /// Position among our chunks of the session.
    pub(crate) at: usize,
    pub(crate) answers: Bytes,
    pub(crate) proof: Option<[u8; PROOF_BYTES]>,
}

/// A verified answer, to be handed back to the session.
pub struct Verified {
    pub(crate) at: usize,
    pub(crate) record: Answered,
}

impl VerifyTask {
    /// Verifies the proof, where the terms have one; `own` are our masked lists.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`], with the chunk, and the element where one is concerned; or that our list can't be read.
    pub fn run<L: OwnList>(self, own: &[L]) -> Result<(Verified, JoinKeys), L::Error> {
        let context = &*self.context;
        let elements = match self.proof.is_some() || context.keeps_evidence {
            true => own[usize::from(self.chunk.list)].elements(self.chunk.range())?,
            false => Vec::new(),
        };
        self.verify(&elements)?;
        let record = Answered {
            list: self.chunk.list,
            index: self.chunk.index,
            masked: *context.committed(context.role, &self.chunk),
            answers: merkle::leaf_hash(&self.answers),
            proof: self.proof,
        };
        let keys = self.answers.chunks(context.answer_bytes(self.chunk.list)).map(join_key).collect();
        let evidence =
            context.evidence(context.role, &self.chunk, || elements.into_flattened(), &self.answers);
        let keys = JoinKeys { side: Side::Ours, chunk: self.chunk, keys, evidence };
        Ok((Verified { at: self.at, record }, keys))
    }

    fn verify(&self, elements: &[Element]) -> Result<(), Error> {
        let context = &*self.context;
        let (list, index) = (self.chunk.list, self.chunk.index);
        let Some(bytes) = &self.proof else { return Ok(()) };
        let statement = dleq::Statement { sid: &context.sid, role: context.role.opposite(), list, index };
        let public = &context.list(list).their_public;
        let wrong = |element, fault: Fault| fault.at(Place::Evaluated { list, index, element });
        let answers = as_elements(&self.answers);
        let verified = dleq::Proof::from_bytes(context.suite, bytes)
            .and_then(|proof| dleq::verify(context.suite, &statement, public, elements, answers, &proof));
        verified.map_err(|invalid| match invalid {
            dleq::Invalid::Element(Operand::D, at) => wrong(Some(at.index), Fault::Element(at.fault)),
            _ => wrong(None, Fault::ProofWrong { what: "proof" }),
        })
    }
}

fn tags(context: &Context, list: u16, evaluator: Role, elements: &[Element]) -> Vec<u8> {
    let width = context.list(list).tag_bytes;
    let mut out = vec![0; width * elements.len()];
    tag::tags(&context.sid, evaluator, elements, width, &mut out);
    out
}

/// The whole elements of a packed array; the session has checked that nothing is left over.
fn as_elements(packed: &[u8]) -> &[Element] {
    packed.as_chunks().0
}

fn join_key(answer: impl AsRef<[u8]>) -> JoinKey {
    let answer = answer.as_ref();
    let mut key = [0; JOIN_KEY_BYTES];
    let width = answer.len().min(JOIN_KEY_BYTES);
    key[..width].copy_from_slice(&answer[..width]);
    key
}
