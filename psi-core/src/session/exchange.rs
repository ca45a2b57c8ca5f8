//! The steps: own chunks out, the peer's in, answers both ways, and a signature under each step.
//!
//! Two rules keep it fair and free of deadlock. An answer in step s is sent only after every answer of the peer in the steps
//! before s has been verified, so that who aborts is ahead by one step at most. A chunk of step s is sent only while
//! s < (steps of the peer verified) + 3, so that a receiver never holds more than three steps and can always read on.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    dleq::PROOF_BYTES,
    element::{ELEMENT_BYTES, Element},
    error::{Error, Fault, Misuse, Place},
    identifier::Profile,
    mask::OwnList,
    message::{Close, Commit, Digest, Evaluated, Masked, Message, StepEnd},
    plan::{Chunk, MAX_CHUNK},
    session::{Agreed, Answer, Closing, Context, EvaluateTask, Verified, VerifyTask, opening::by_role},
    signature::Identity,
    statement::Statement,
    transcript::{self, Answered, SignedStep, StepRecord, Transcript},
};

/// Steps that a masked chunk may be ahead of the answers: with fewer, a round trip shows in every step.
const STEPS_AHEAD: u32 = 3;

/// What the session wants sent next.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Outgoing {
    /// This message.
    Message(Message),
    /// This chunk of our masked list, by [`Exchange::masked_message`].
    Masked(Chunk),
}

/// What a received message asks of the caller.
pub enum Received {
    /// Run this and hand the result to [`Exchange::answered`].
    Evaluate(EvaluateTask),
    /// Run this and hand the result to [`Exchange::verified`].
    Verify(VerifyTask),
    /// Nothing: the session took note.
    Noted,
    /// The peer has finished; keep it for [`Closing::accept`].
    Close(Close),
}

/// Counters of one direction.
#[derive(Default)]
pub(super) struct Progress {
    /// Chunks of a masked list.
    pub(super) masked: usize,
    /// Answers.
    pub(super) answers: usize,
}

/// Points flow.
pub struct Exchange {
    pub(super) context: Arc<Context>,
    pub(super) agreed: Agreed,
    pub(super) commits: [Commit; 2],
    pub(super) identity: Identity,
    pub(super) sent: Progress,
    pub(super) received: Progress,
    /// The last element that the peer sent in each step.
    pub(super) lasts: Vec<Element>,
    /// Our answers that are made but not sent, by position among the peer's chunks.
    pub(super) ready: BTreeMap<usize, (Evaluated, Answered)>,
    /// Records of what is not yet part of the transcript: answers that we sent, and answers that we verified.
    pub(super) sent_answers: BTreeMap<usize, Answered>,
    pub(super) verified_answers: BTreeMap<usize, Answered>,
    /// What the peer answered before we went back to an earlier step, by position: it has to answer the same again.
    pub(super) known: BTreeMap<usize, Answered>,
    /// Answers of the peer verified without a gap.
    pub(super) verified: usize,
    /// Running hashes: the start, and one after each complete step.
    pub(super) running: Vec<Digest>,
    pub(super) transcript: Transcript,
    /// Steps of which we have sent our signature, and of which the peer's was verified.
    pub(super) ends_sent: u32,
    pub(super) ends_verified: u32,
    /// The peer's signatures under steps that we have not finished ourselves.
    pub(super) early_ends: BTreeMap<u32, StepEnd>,
    /// The peer has sent its Close.
    pub(super) peer_closed: bool,
}

impl Exchange {
    pub(crate) fn new(
        context: Arc<Context>,
        agreed: Agreed,
        commits: [Commit; 2],
        encoded: [Vec<u8>; 2],
        identity: Identity,
    ) -> Self {
        let running = transcript::running_start(&context.sid, [&encoded[0], &encoded[1]]);
        let hellos = agreed.hellos().map(|hello| hello.encode());
        Self {
            context,
            agreed,
            commits,
            identity,
            sent: Progress::default(),
            received: Progress::default(),
            lasts: Vec::new(),
            ready: BTreeMap::new(),
            sent_answers: BTreeMap::new(),
            verified_answers: BTreeMap::new(),
            known: BTreeMap::new(),
            verified: 0,
            running: vec![running],
            transcript: Transcript { hellos, commits: encoded, steps: Vec::new() },
            ends_sent: 0,
            ends_verified: 0,
            early_ends: BTreeMap::new(),
            peer_closed: false,
        }
    }

    /// The identifier types of the session's lists.
    pub fn profiles(&self) -> &[Profile] {
        &self.agreed.ours().terms.profiles
    }

    /// The transcript up to now, for the record of a run that was aborted.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// What to send next, and takes it as sent; `None` until something is received or a task is done.
    ///
    /// Signatures go before answers, and answers before chunks.
    pub fn next_outgoing(&mut self) -> Option<Outgoing> {
        self.next_end().or_else(|| self.next_answer()).or_else(|| self.next_masked())
    }

    /// The message for a chunk of our masked list; `own` are our masked lists.
    ///
    /// # Errors
    /// If the list can't be read.
    pub fn masked_message<L: OwnList>(chunk: &Chunk, own: &[L]) -> Result<Message, L::Error> {
        let elements = own[usize::from(chunk.list)].elements(chunk.range())?.into_flattened();
        Ok(Message::Masked(Masked { list: chunk.list, index: chunk.index, elements: elements.into() }))
    }

    /// Takes a message of the peer.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`], with the place.
    pub fn receive(&mut self, message: Message) -> Result<Received, Error> {
        match message {
            Message::Masked(masked) => self.receive_masked(masked).map(Received::Evaluate),
            Message::Evaluated(evaluated) => self.receive_evaluated(evaluated).map(Received::Verify),
            Message::StepEnd(end) => self.receive_end(end).map(|()| Received::Noted),
            Message::Close(close) if self.peer_is_done() && !self.peer_closed => {
                self.peer_closed = true;
                Ok(Received::Close(close))
            }
            other => Err(other.out_of_phase("masked, evaluated or step end")),
        }
    }

    /// Takes the result of an [`EvaluateTask`].
    pub fn answered(&mut self, answer: Answer) {
        self.ready.insert(answer.at, (answer.message, answer.record));
    }

    /// Takes the result of a [`VerifyTask`].
    ///
    /// # Errors
    /// [`Fault::Signature`] if a signature under a step, which came before the step was verified, is wrong;
    /// [`Fault::Changed`] if the peer answers otherwise than before the session was resumed.
    pub fn verified(&mut self, verified: Verified) -> Result<(), Error> {
        if self.known.remove(&verified.at).is_some_and(|known| known != verified.record) {
            let Answered { list, index, .. } = verified.record;
            return Err(Fault::Changed { what: "answer" }.at(Place::Evaluated {
                list,
                index,
                element: None,
            }));
        }
        self.verified_answers.insert(verified.at, verified.record);
        while self.verified_answers.contains_key(&self.verified) {
            self.verified += 1;
        }
        self.finish_steps()
    }

    /// Whether every step is sent, answered, verified and signed by both.
    pub fn is_finished(&self) -> bool {
        self.ends_sent == self.context.plan.steps() && self.ends_verified == self.ends_sent
    }

    /// Ends the exchange with the number of matches in each list, and signs the statement.
    ///
    /// The caller makes the signed statement durable before it sends the message.
    ///
    /// # Errors
    /// [`Misuse`] if the exchange is not finished or the counts are not one a list.
    pub fn close(self, matches: &[u64]) -> Result<(Closing, Message), Error> {
        if !self.is_finished() {
            return Err(Misuse::Unfinished.into());
        }
        let lists = self.context.lists.len();
        if matches.len() != lists {
            let (expected, got) = (lists as u64, matches.len() as u64);
            return Err(Misuse::Count { what: "match counts", expected, got }.into());
        }
        let statement = Statement::of_session(self.agreed.hellos(), &self.commits, matches, &self.outcome());
        Ok(Closing::new(self.context.role, statement, self.transcript, matches, self.identity))
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            sid: self.context.sid,
            steps: self.context.plan.steps(),
            transcript: *self.running(),
            previous: self.agreed.previous(),
        }
    }

    fn our_chunks(&self) -> &[Chunk] {
        self.context.plan.chunks(self.context.role)
    }

    fn their_chunks(&self) -> &[Chunk] {
        self.context.plan.chunks(self.context.role.opposite())
    }

    /// Steps whose answers from the peer are all verified.
    fn steps_verified(&self) -> u32 {
        self.steps_before(self.our_chunks(), self.verified)
    }

    /// Steps whose answers to the peer are all sent.
    fn steps_answered(&self) -> u32 {
        self.steps_before(self.their_chunks(), self.sent.answers)
    }

    fn steps_before(&self, chunks: &[Chunk], done: usize) -> u32 {
        chunks.get(done).map_or(self.context.plan.steps(), |chunk| chunk.step)
    }

    fn peer_is_done(&self) -> bool {
        self.ends_verified + self.early_ends.len() as u32 == self.context.plan.steps()
    }

    fn next_end(&mut self) -> Option<Outgoing> {
        if self.ends_sent as usize == self.transcript.steps.len() {
            return None;
        }
        let step = self.ends_sent;
        self.ends_sent += 1;
        let signature =
            self.transcript.steps[step as usize].signatures[usize::from(self.context.role.code())];
        let signature = signature.expect("a step is signed by us when its record is made");
        Some(Outgoing::Message(Message::StepEnd(StepEnd { step, signature })))
    }

    fn next_answer(&mut self) -> Option<Outgoing> {
        let step = self.their_chunks().get(self.sent.answers)?.step;
        if step > self.steps_verified() {
            return None;
        }
        let (message, record) = self.ready.remove(&self.sent.answers)?;
        self.sent_answers.insert(self.sent.answers, record);
        self.sent.answers += 1;
        // The peer signs a step after it has our answers, so none of its signatures can be waiting for this step yet.
        self.complete_steps();
        Some(Outgoing::Message(Message::Evaluated(message)))
    }

    fn next_masked(&mut self) -> Option<Outgoing> {
        let chunk = *self.our_chunks().get(self.sent.masked)?;
        if chunk.step >= self.steps_verified() + STEPS_AHEAD {
            return None;
        }
        self.sent.masked += 1;
        Some(Outgoing::Masked(chunk))
    }

    fn receive_masked(&mut self, masked: Masked) -> Result<EvaluateTask, Error> {
        let place = Place::Masked { list: masked.list, index: masked.index, element: None };
        let at = self.received.masked;
        let due = self.their_chunks().get(at).copied();
        let chunk =
            in_order(due, masked.list, masked.index, masked.elements.len()).map_err(|f| f.at(place))?;
        check_length(&chunk, masked.elements.len(), ELEMENT_BYTES).map_err(|fault| fault.at(place))?;
        if chunk.step >= self.steps_answered() + STEPS_AHEAD {
            let (step, verified) = (chunk.step, self.steps_answered());
            return Err(Fault::TooEarly { step, verified }.at(place));
        }
        let previous = self.lasts.last().filter(|_| chunk.index > 0).copied();
        self.lasts.truncate(chunk.step as usize);
        self.lasts.extend(masked.elements.last_chunk::<ELEMENT_BYTES>());
        self.received.masked += 1;
        Ok(EvaluateTask { context: self.context.clone(), chunk, at, elements: masked.elements, previous })
    }

    fn receive_evaluated(&mut self, evaluated: Evaluated) -> Result<VerifyTask, Error> {
        let place = Place::Evaluated { list: evaluated.list, index: evaluated.index, element: None };
        let at = self.received.answers;
        if at >= self.sent.masked {
            return Err(Message::Evaluated(evaluated).out_of_phase("masked: nothing is unanswered"));
        }
        let due = self.our_chunks().get(at).copied();
        let chunk = in_order(due, evaluated.list, evaluated.index, evaluated.answers.len())
            .map_err(|f| f.at(place))?;
        let unit = self.context.answer_bytes(chunk.list);
        check_length(&chunk, evaluated.answers.len(), unit).map_err(|fault| fault.at(place))?;
        if chunk.step > self.steps_answered() {
            return Err(Fault::TooEarly { step: chunk.step, verified: self.steps_answered() }.at(place));
        }
        let proof = self.proof(&evaluated.proof).map_err(|fault| fault.at(place))?;
        self.received.answers += 1;
        Ok(VerifyTask { context: self.context.clone(), chunk, at, answers: evaluated.answers, proof })
    }

    fn proof(&self, proof: &[u8]) -> Result<Option<[u8; PROOF_BYTES]>, Fault> {
        match (self.context.proved, proof.len()) {
            (false, 0) => Ok(None),
            (false, _) => Err(Fault::ProofUnexpected),
            (true, 0) => Err(Fault::ProofMissing),
            (true, got) => {
                let wrong = Fault::Length { got, unit: PROOF_BYTES };
                proof.try_into().map(Some).map_err(|_| wrong)
            }
        }
    }

    fn receive_end(&mut self, end: StepEnd) -> Result<(), Error> {
        let expected = self.ends_verified + self.early_ends.len() as u32;
        if end.step != expected || expected >= self.steps_answered() {
            return Err(Message::StepEnd(end).out_of_phase("the end of the next answered step"));
        }
        self.early_ends.insert(end.step, end);
        self.finish_steps()
    }

    fn finish_steps(&mut self) -> Result<(), Error> {
        self.complete_steps();
        self.check_ends()
    }

    /// Makes the record of every step that is now complete in both directions, and signs it.
    fn complete_steps(&mut self) {
        let complete = self.steps_verified().min(self.steps_answered());
        for step in self.transcript.steps.len() as u32..complete {
            let record = self.record(step);
            let running = transcript::running_next(self.running(), &record.encode());
            let role = self.context.role;
            let signed = StepEnd::signed_bytes(&self.context.sid, role, step, &running);
            let signatures = by_role(role, Some(self.identity.sign(&signed)), None);
            self.transcript.steps.push(SignedStep { record, signatures });
            self.running.push(running);
        }
    }

    /// Verifies the peer's signatures under the steps that are complete.
    fn check_ends(&mut self) -> Result<(), Error> {
        let peer = self.context.role.opposite();
        while (self.ends_verified as usize) < self.transcript.steps.len() {
            let step = self.ends_verified;
            let Some(end) = self.early_ends.remove(&step) else { break };
            // The start stands before step 0.
            let running = &self.running[step as usize + 1];
            let signed = StepEnd::signed_bytes(&self.context.sid, peer, step, running);
            if !self.agreed.theirs().key.verifies(&signed, &end.signature) {
                return Err(Fault::Signature.at(Place::StepEnd { step }));
            }
            self.transcript.steps[step as usize].signatures[usize::from(peer.code())] = Some(end.signature);
            self.ends_verified += 1;
        }
        Ok(())
    }

    fn running(&self) -> &Digest {
        self.running.last().expect("the running hash has a start")
    }

    /// The record of a step; takes its answers out of the books.
    fn record(&mut self, step: u32) -> StepRecord {
        let ours = take_step(self.context.plan.chunks(self.context.role), step, &mut self.verified_answers);
        let theirs =
            take_step(self.context.plan.chunks(self.context.role.opposite()), step, &mut self.sent_answers);
        StepRecord { step, sides: by_role(self.context.role, ours, theirs) }
    }
}

/// The chunk that is due, if it is the one that came.
fn in_order(due: Option<Chunk>, list: u16, index: u32, bytes: usize) -> Result<Chunk, Fault> {
    let Some(due) = due else { return Err(Fault::TooMany { expected: 0, got: bytes / ELEMENT_BYTES }) };
    if (due.list, due.index) == (list, index) {
        return Ok(due);
    }
    Err(Fault::OutOfOrder { list: due.list, index: due.index })
}

fn check_length(chunk: &Chunk, bytes: usize, unit: usize) -> Result<(), Fault> {
    let (expected, got) = (chunk.len as usize, bytes / unit);
    match got {
        _ if bytes == 0 => Err(Fault::Empty),
        _ if !bytes.is_multiple_of(unit) => Err(Fault::Length { got: bytes, unit }),
        _ if got > MAX_CHUNK => Err(Fault::Oversized { got, most: MAX_CHUNK }),
        _ if got > expected => Err(Fault::TooMany { expected, got }),
        _ if got < expected => Err(Fault::TooFew { expected, got }),
        _ => Ok(()),
    }
}

/// Takes the answers to one step's chunks out of the books; a complete step has them all.
fn take_step(chunks: &[Chunk], step: u32, answers: &mut BTreeMap<usize, Answered>) -> Vec<Answered> {
    let start = chunks.partition_point(|chunk| chunk.step < step);
    let end = chunks.partition_point(|chunk| chunk.step <= step);
    (start..end).filter_map(|at| answers.remove(&at)).collect()
}

/// What a session came to, as the statement needs it.
pub(crate) struct Outcome {
    pub(crate) sid: Digest,
    pub(crate) steps: u32,
    pub(crate) transcript: Digest,
    pub(crate) previous: crate::message::ChainHead,
}
