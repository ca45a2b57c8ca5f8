//! The end: both sign the statement.

use crate::{
    error::{Error, Fault, Place},
    key::Role,
    message::{Close, Commit, Hello, Message, PROTOCOL_VERSION},
    session::{exchange::Outcome, opening::by_role},
    signature::{Identity, Signature},
    statement::{ListRecord, Party, Statement},
    transcript::Transcript,
};

/// Our Close is signed; the peer's is awaited.
pub struct Closing {
    pub(super) role: Role,
    pub(super) statement: Statement,
    pub(super) transcript: Transcript,
    pub(super) ours: Close,
    pub(super) identity: Identity,
}

impl Closing {
    pub(crate) fn new(
        role: Role,
        statement: Statement,
        transcript: Transcript,
        matches: &[u64],
        identity: Identity,
    ) -> (Self, Message) {
        let ours = Close { matches: matches.to_vec(), signature: statement.sign(&identity) };
        let close = Message::Close(ours.clone());
        (Self { role, statement, transcript, ours, identity }, close)
    }

    /// The statement that we signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The note with our signature alone: what is made durable before our Close is sent.
    pub fn half_signed_note(&self) -> Vec<u8> {
        self.statement.to_note(by_role(self.role, Some(&self.ours.signature), None))
    }

    /// The transcript, complete but for the statement.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Takes the peer's Close: the same counts, and its signature under the same statement.
    ///
    /// # Errors
    /// [`Fault::Matches`] or [`Fault::Signature`] at [`Place::Close`].
    pub fn accept(self, theirs: &Close) -> Result<Signed, Error> {
        check_matches(&self.ours.matches, &theirs.matches)?;
        if !self.statement.is_signed_by(self.role.opposite(), &theirs.signature) {
            return Err(Fault::Signature.at(Place::Close));
        }
        let signatures = by_role(self.role, self.ours.signature, theirs.signature);
        Ok(Signed { statement: self.statement, signatures, transcript: self.transcript })
    }

    /// Takes the statement with both signatures in the place of a Close.
    ///
    /// # Errors
    /// [`Fault::Signature`] at [`Place::Statements`] if it is none with both signatures; [`Fault::Changed`] if it is not the
    /// statement that we signed.
    pub fn accept_note(self, note: &[u8]) -> Result<Signed, Error> {
        let read = Statement::from_note(note).map_err(|_| Fault::Signature.at(Place::Statements));
        let (statement, signatures) = read?;
        if statement != self.statement {
            return Err(Fault::Changed { what: "statement" }.at(Place::Statements));
        }
        Ok(Signed { statement, signatures, transcript: self.transcript })
    }
}

fn check_matches(ours: &[u64], theirs: &[u64]) -> Result<(), Error> {
    if ours.len() != theirs.len() {
        return Err(Fault::Contradiction { what: "number of lists" }.at(Place::Close));
    }
    match ours.iter().zip(theirs).enumerate().find(|(_, (ours, theirs))| ours != theirs) {
        None => Ok(()),
        Some((list, (&ours, &theirs))) => {
            Err(Fault::Matches { list: list as u16, ours, theirs }.at(Place::Close))
        }
    }
}

/// A finished session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What both signed.
    pub statement: Statement,
    /// The initiator's and the responder's signature.
    pub signatures: [Signature; 2],
    /// What it is about.
    pub transcript: Transcript,
}

impl Signed {
    /// The signed note, as it is stored and handed out.
    pub fn note(&self) -> Vec<u8> {
        self.statement.to_note(self.signatures.each_ref().map(Some))
    }
}

impl Statement {
    /// The statement of a session with these Hellos, Commits and result.
    pub(crate) fn of_session(
        hellos: [&Hello; 2],
        commits: &[Commit; 2],
        matches: &[u64],
        outcome: &Outcome,
    ) -> Self {
        let record = |side: usize, list: usize| {
            let commitment = &commits[side].lists[list];
            let list_root = commitment.opening.map(|opening| opening.list_root);
            ListRecord { items: commitment.items, root: commitment.root, list_root }
        };
        let lists = matches.iter().enumerate();
        Self {
            sid: outcome.sid,
            protocol: PROTOCOL_VERSION,
            job: hellos[0].job.clone(),
            agreement: hellos[0].agreement.clone(),
            terms: hellos[0].terms.clone(),
            parties: hellos.map(party),
            lists: lists.map(|(list, matches)| ([record(0, list), record(1, list)], *matches)).collect(),
            steps: outcome.steps,
            transcript: outcome.transcript,
            previous: outcome.previous,
        }
    }
}

fn party(hello: &Hello) -> Party {
    Party {
        operator: hello.operator.clone(),
        key: hello.key,
        software: hello.software.clone(),
        started: hello.started,
    }
}
