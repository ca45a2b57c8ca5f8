//! Going on with a session over a new connection: what was kept of it is read and checked, and both go back to the step
//! that both have (docs/PROTOCOL.md, "Resume").
//!
//! ```text
//! Agreed | Committed | Exchange | Closing ::restore      from bytes that were kept; whatever does not fit is damage
//! .resume()  ->                  our Resume
//!            <-  .rejoin(theirs) the common step; says whether the peer lacks our Commit
//! then as if the step before had just ended: what is sent again is byte for byte what was sent the first time
//! ```

use crate::{
    element::Element,
    error::{Damaged, Error, Fault, Incompatible, Place},
    key::Role,
    mask::OwnList,
    merkle,
    message::{Commit, Digest, Hello, ListCommitment, Message, Resume},
    plan::{Chunk, Plan},
    record::Record,
    session::{
        Agreed, ChainGap, Closing, Committed, Exchange,
        exchange::Progress,
        opening::{check_list_commitment, compare},
    },
    signature::{Identity, PublicKey},
    statement::Statement,
    transcript::{SignedStep, StepRecord, Transcript, running_next, running_start},
    wire::{Malformed, Reader, Writer},
};

/// A finished step in the form in which it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptStep {
    /// Its record, with both signatures.
    pub signed: SignedStep,
    /// The last element that the peer sent in it: the list goes on above it.
    pub last: Element,
}

impl KeptStep {
    /// The canonical encoding: the record, the initiator's and the responder's signature, the element.
    ///
    /// # Panics
    /// If a signature is missing: such a step is not finished.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new().bytes(&self.signed.record.encode());
        let signed = |signature: &Option<_>| signature.expect("a kept step is signed by both");
        let [initiator, responder] = self.signed.signatures.each_ref().map(signed);
        writer.fixed(&initiator).fixed(&responder).fixed(&self.last).finish()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`Malformed`], with the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let record = StepRecord::decode(reader.bytes("step record")?)?;
        let signatures = [Some(reader.fixed("signature")?), Some(reader.fixed("signature")?)];
        let last = reader.fixed("last element")?;
        reader.finish().map(|()| Self { signed: SignedStep { record, signatures }, last })
    }
}

/// Where a session stands: what our Resume says, and what the peer's is compared with.
struct Standing<'a> {
    sid: &'a Digest,
    role: Role,
    their_key: &'a PublicKey,
    /// Steps of the whole session.
    of: u32,
    /// The running hashes that we have: the start, and one a kept step; none where the peer's Commit is lacking.
    running: &'a [Digest],
}

/// What both have, by their Resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// The lesser number of kept steps: both go on after them.
    pub steps: u32,
    /// Whether our Commit is to be sent again, before anything else.
    pub lacks_commit: bool,
}

impl Standing<'_> {
    fn kept(&self) -> u32 {
        self.running.len().saturating_sub(1) as u32
    }

    fn resume(&self, identity: &Identity) -> Message {
        let running = self.running.last().copied();
        Message::Resume(Resume::new(*self.sid, self.role, self.kept(), running, identity))
    }

    fn compare(&self, message: Message) -> Result<Common, Error> {
        let Message::Resume(theirs) = message else { return Err(message.out_of_phase("resume")) };
        self.check(&theirs)?;
        if !theirs.committed {
            return Ok(Common { steps: 0, lacks_commit: true });
        }
        let steps = theirs.steps.min(self.kept());
        match self.running.get(theirs.steps as usize) {
            Some(ours) if *ours != theirs.running => Err(Incompatible::Diverged { steps }.into()),
            None if self.running.is_empty() && theirs.steps > 0 => {
                Err(Incompatible::RolledBack { what: "a step" }.into())
            }
            _ => Ok(Common { steps, lacks_commit: false }),
        }
    }

    fn check(&self, theirs: &Resume) -> Result<(), Error> {
        let contradiction = |what| Err(Fault::Contradiction { what }.at(Place::Resume));
        if theirs.sid != *self.sid {
            return contradiction("session");
        }
        if theirs.role == self.role {
            return contradiction("role");
        }
        if !self.their_key.verifies(&theirs.signed_bytes(), &theirs.signature) {
            return Err(Fault::Signature.at(Place::Resume));
        }
        if theirs.steps > self.of {
            return contradiction("number of steps");
        }
        if !theirs.committed && (theirs.steps, theirs.running) != (0, Digest::default()) {
            return contradiction("progress without our commit");
        }
        Ok(())
    }
}

impl Agreed {
    /// Both Hellos as they were kept, initiator first: they agreed once, and the chains had been brought together.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn restore(hellos: [&[u8]; 2], identity: &Identity) -> Result<Self, Damaged> {
        let read = |role: Role| match Hello::decode(hellos[usize::from(role.code())]) {
            Ok(hello) if hello.role == role => Ok(hello),
            Ok(_) => Err(Damaged::new(format!("{role}'s hello: another role"))),
            Err(error) => Err(Damaged::new(format!("{role}'s hello: {error}"))),
        };
        let (initiator, responder) = (read(Role::Initiator)?, read(Role::Responder)?);
        compare(&initiator, &responder).map_err(|error| Damaged::new(format!("hellos: {error}")))?;
        let us = identity.public_key();
        match (initiator.key == us, responder.key == us) {
            (true, _) => Ok(Self::new(initiator, responder, ChainGap::None)),
            (_, true) => Ok(Self::new(responder, initiator, ChainGap::None)),
            _ => Err(Damaged::new("neither hello is ours")),
        }
    }

    /// Our Resume: our Commit is not even made.
    pub fn resume(&self, identity: &Identity) -> Message {
        self.standing().resume(identity)
    }

    /// Takes the peer's Resume. It can't have our Commit; its own comes next, after ours.
    ///
    /// # Errors
    /// As [`Committed::rejoin`], also if the peer has a Commit of ours.
    pub fn rejoin(&self, theirs: Message) -> Result<Common, Error> {
        match &theirs {
            Message::Resume(resume) if resume.committed => {
                self.standing().check(resume)?;
                Err(Incompatible::RolledBack { what: "a commit" }.into())
            }
            _ => self.standing().compare(theirs),
        }
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            sid: self.sid(),
            role: self.ours().role,
            their_key: &self.theirs().key,
            of: self.plan().steps(),
            running: &[],
        }
    }
}

impl Committed {
    /// A session of which we have no Commit of the peer: both Hellos, initiator first, and our Commit, as they were kept.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn restore(hellos: [&[u8]; 2], commit: &[u8], identity: &Identity) -> Result<Self, Damaged> {
        let agreed = Agreed::restore(hellos, identity)?;
        let commit = Commit::decode(commit).map_err(|error| Damaged::new(format!("our commit: {error}")))?;
        let ours = agreed.ours();
        let signed = Commit::signed_bytes(agreed.sid(), ours.role, &commit.lists);
        if !ours.key.verifies(&signed, &commit.signature) || commit.lists.len() != ours.items.len() {
            return Err(Damaged::new("our commit is not of this session"));
        }
        for (list, commitment) in commit.lists.iter().enumerate() {
            check_list_commitment(ours, agreed.sid(), agreed.plan(), list as u16, commitment)
                .map_err(|fault| Damaged::new(format!("our commit, list {list}: {fault}")))?;
        }
        Ok(Self { agreed, commit, identity: identity.clone() })
    }

    /// What was agreed.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Whether these are the masked lists that we committed to, as every list has to be that is read back.
    ///
    /// # Errors
    /// [`Damaged`], with the list; why a list can't be read.
    pub fn check_lists<L: OwnList>(&self, lists: &[L]) -> Result<(), L::Error> {
        are_committed(self.agreed.plan(), self.agreed.ours().role, &self.commit, lists)
    }

    /// Our Resume.
    pub fn resume(&self) -> Message {
        self.standing().resume(&self.identity)
    }

    /// Takes the peer's Resume. The peer's Commit comes next, for [`accept`](Self::accept).
    ///
    /// # Errors
    /// [`Incompatible::RolledBack`] if the peer has steps that we signed; [`Error::PeerMisbehaved`] at [`Place::Resume`].
    pub fn rejoin(&self, theirs: Message) -> Result<Common, Error> {
        self.standing().compare(theirs)
    }

    /// Our Commit, to be sent again.
    pub fn commit(&self) -> Message {
        Message::Commit(self.commit.clone())
    }

    fn standing(&self) -> Standing<'_> {
        self.agreed.standing()
    }
}

impl Exchange {
    /// A session of which both Commits and these first steps were kept; Hellos and Commits initiator first.
    ///
    /// # Errors
    /// [`Damaged`]: everything is checked as an auditor would.
    pub fn restore(
        hellos: [Vec<u8>; 2],
        commits: [Vec<u8>; 2],
        steps: Vec<KeptStep>,
        identity: &Identity,
    ) -> Result<Self, Damaged> {
        let agreed = Agreed::restore(hellos.each_ref().map(Vec::as_slice), identity)?;
        let (lasts, steps): (_, Vec<_>) = steps.into_iter().map(|kept| (kept.last, kept.signed)).unzip();
        let transcript = Transcript { hellos, commits, steps };
        let (record, running) = check(&transcript)?;
        let [initiator, responder] = record.commits;
        let (commit, theirs) = match agreed.ours().role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        };
        let mut exchange = Committed { agreed, commit, identity: identity.clone() }.exchange(theirs);
        (exchange.transcript, exchange.running, exchange.lasts) = (transcript, running, lasts);
        let kept = exchange.transcript.steps.len() as u32;
        exchange.go_back(kept);
        Ok(exchange)
    }

    /// What was agreed.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Steps that are finished: sent, verified and signed by both.
    pub fn finished_steps(&self) -> u32 {
        self.ends_verified
    }

    /// A finished step, to be kept.
    pub fn kept_step(&self, step: u32) -> Option<KeptStep> {
        let signed = self.transcript.steps.get(step as usize).filter(|_| step < self.ends_verified)?;
        Some(KeptStep { signed: signed.clone(), last: *self.lasts.get(step as usize)? })
    }

    /// Whether these are the masked lists that we committed to, as every list has to be that is read back.
    ///
    /// # Errors
    /// [`Damaged`], with the list; why a list can't be read.
    pub fn check_lists<L: OwnList>(&self, lists: &[L]) -> Result<(), L::Error> {
        are_committed(&self.context.plan, self.context.role, self.our_commit(), lists)
    }

    /// Our Resume; every finished step has to be kept, durably, by now.
    pub fn resume(&self) -> Message {
        self.standing().resume(&self.identity)
    }

    /// Takes the peer's Resume and goes back to the common step.
    ///
    /// # Errors
    /// [`Incompatible::Diverged`] if the peer's record of the steps is another; [`Error::PeerMisbehaved`] at
    /// [`Place::Resume`].
    pub fn rejoin(&mut self, theirs: Message) -> Result<Common, Error> {
        let common = self.standing().compare(theirs)?;
        self.go_back(common.steps);
        Ok(common)
    }

    /// Our Commit, to be sent again.
    pub fn commit(&self) -> Message {
        Message::Commit(self.our_commit().clone())
    }

    fn our_commit(&self) -> &Commit {
        &self.commits[usize::from(self.context.role.code())]
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            sid: &self.context.sid,
            role: self.context.role,
            their_key: &self.agreed.theirs().key,
            of: self.context.plan.steps(),
            running: &self.running[..=self.ends_verified as usize],
        }
    }

    /// As if step `steps - 1` had just ended. What the peer answered after it has to come again, the same.
    fn go_back(&mut self, steps: u32) {
        let role = self.context.role;
        let chunks = |role: Role| self.context.plan.chunks(role).partition_point(|chunk| chunk.step < steps);
        let (ours, theirs) = (chunks(role), chunks(role.opposite()));
        let later = self.transcript.steps.split_off(steps as usize);
        let answers = later.into_iter().flat_map(|step| {
            let [initiator, responder] = step.record.sides;
            if role == Role::Initiator { initiator } else { responder }
        });
        self.known = (ours..).zip(answers).collect();
        self.running.truncate(steps as usize + 1);
        self.lasts.truncate(steps as usize);
        self.sent = Progress { masked: ours, answers: theirs };
        self.received = Progress { masked: theirs, answers: ours };
        self.verified = ours;
        (self.ends_sent, self.ends_verified, self.peer_closed) = (steps, steps, false);
        self.ready.clear();
        self.sent_answers.clear();
        self.verified_answers.clear();
        self.early_ends.clear();
    }
}

impl Closing {
    /// A session that we have signed, from its complete transcript and a note with our signature, both as they were kept;
    /// returns our Close too, the same as ever.
    ///
    /// # Errors
    /// [`Damaged`]: everything is checked as an auditor would.
    pub fn restore(transcript: &[u8], note: &[u8], identity: &Identity) -> Result<(Self, Message), Damaged> {
        let damaged = |reason: &dyn std::fmt::Display| Damaged::new(reason.to_string());
        let transcript =
            Transcript::decode(transcript).map_err(|error| Damaged::new(format!("transcript: {error}")))?;
        let statement =
            Statement::of_note(note).map_err(|error| Damaged::new(format!("statement: {error}")))?;
        let [initiator, responder] = transcript.hellos.each_ref().map(Vec::as_slice);
        let role = Agreed::restore([initiator, responder], identity)?.ours().role;
        let (record, running) = check(&transcript)?;
        if transcript.steps.len() as u32 != record.plan.steps() {
            return Err(damaged(&"transcript: steps are missing"));
        }
        let end = *running.last().expect("the running hash has a start");
        record.check_statement(&statement, end).map_err(|reason| damaged(&reason))?;
        let matches: Vec<u64> = statement.lists.iter().map(|(_, matches)| *matches).collect();
        Ok(Self::new(role, statement, transcript, &matches, identity.clone()))
    }

    /// Our Resume: we have every step.
    pub fn resume(&self) -> Message {
        self.standing(&self.running()).resume(&self.identity)
    }

    /// Takes the peer's Resume. Where it has not kept every step, an [`Exchange`] has to go back to it.
    ///
    /// # Errors
    /// As [`Exchange::rejoin`].
    pub fn rejoin(&self, theirs: Message) -> Result<Common, Error> {
        self.standing(&self.running()).compare(theirs)
    }

    fn standing<'a>(&'a self, running: &'a [Digest]) -> Standing<'a> {
        Standing {
            sid: &self.statement.sid,
            role: self.role,
            their_key: &self.statement.party(self.role.opposite()).key,
            of: self.statement.steps,
            running,
        }
    }

    fn running(&self) -> Vec<Digest> {
        let [initiator, responder] = &self.transcript.commits;
        let mut running = vec![running_start(&self.statement.sid, [initiator, responder])];
        for step in &self.transcript.steps {
            let before = running.last().expect("the running hash has a start");
            running.push(running_next(before, &step.record.encode()));
        }
        running
    }
}

/// Checks what was kept as an auditor would, and returns the running hashes.
fn check(transcript: &Transcript) -> Result<(Record, Vec<Digest>), Damaged> {
    let record = Record::read(transcript).map_err(Damaged::new)?;
    record.check_commits().map_err(Damaged::new)?;
    if transcript.steps.len() as u32 > record.plan.steps() {
        return Err(Damaged::new("more steps than the session has"));
    }
    let running = record.check_steps(&transcript.steps).map_err(Damaged::new)?;
    Ok((record, running))
}

fn are_committed<L: OwnList>(plan: &Plan, role: Role, commit: &Commit, lists: &[L]) -> Result<(), L::Error> {
    let damaged = |what: String| Err(Error::from(Damaged { what }).into());
    if lists.len() != commit.lists.len() {
        return damaged("another number of lists than committed to".to_owned());
    }
    for (list, (kept, commitment)) in lists.iter().zip(&commit.lists).enumerate() {
        if !is_committed(kept, commitment, plan.chunks_of(role, list as u16))? {
            return damaged(format!("list {list} is not the one committed to"));
        }
    }
    Ok(())
}

fn is_committed<'a, L: OwnList>(
    list: &L,
    commitment: &ListCommitment,
    chunks: impl Iterator<Item = &'a Chunk>,
) -> Result<bool, L::Error> {
    if list.items() != commitment.items || *list.key().public() != commitment.public {
        return Ok(false);
    }
    for (chunk, hash) in chunks.zip(&commitment.chunks) {
        if merkle::leaf_hash(list.elements(chunk.range())?.as_flattened()) != *hash {
            return Ok(false);
        }
    }
    Ok(true)
}
