//! From the first Hello to both Commits on the table.

use std::{collections::HashSet, sync::Arc};

use rayon::prelude::*;

use crate::{
    dleq,
    error::{Error, Fault, Incompatible, Misuse, Place},
    key::Role,
    mask::{Masking, OwnList},
    merkle,
    message::{ChainHead, Commit, Digest, Hello, ListCommitment, MAX_STATEMENTS, Message, PROTOCOL_VERSION},
    plan::{Chunk, Plan},
    session::{Context, Exchange, ListContext, tag_bytes},
    signature::Identity,
    statement::Statement,
    transcript,
};

/// The most seconds that the two wall clocks may differ.
pub const MAX_CLOCK_SKEW: i64 = 300;

/// Our Hello is said; the peer's is awaited.
#[derive(Debug)]
pub struct Opening {
    ours: Hello,
}

impl Opening {
    /// Starts a session with this Hello.
    pub fn new(ours: Hello) -> (Self, Message) {
        let message = Message::Hello(ours.clone());
        (Self { ours }, message)
    }

    /// Compares the peer's Hello with ours; `now` is our wall clock, in seconds since 1970.
    ///
    /// # Errors
    /// [`Incompatible`] if the two want different things; [`Error::PeerMisbehaved`] if the message is none that an honest
    /// party sends.
    pub fn accept(self, message: Message, now: u64) -> Result<Agreed, Error> {
        let Message::Hello(theirs) = message else { return Err(message.out_of_phase("hello")) };
        let ours = self.ours;
        let gap = compare(&ours, &theirs)?;
        check_clock(&theirs, now)?;
        Ok(Agreed::new(ours, theirs, gap))
    }
}

/// Whether two Hellos want the same exchange, by whoever has both.
pub(crate) fn compare(ours: &Hello, theirs: &Hello) -> Result<ChainGap, Error> {
    check_parties(ours, theirs)?;
    if !(ours.versions.contains(&PROTOCOL_VERSION) && theirs.versions.contains(&PROTOCOL_VERSION)) {
        return Err(Incompatible::Nothing("protocol version").into());
    }
    check_agreement(ours, theirs)?;
    let suite = ours.terms.suite.code();
    if !(ours.suites.contains(&suite) && theirs.suites.contains(&suite)) {
        return Err(Incompatible::Nothing("suite").into());
    }
    check_items(ours, theirs)?;
    Ok(ChainGap::between(ours.chain, theirs.chain)?)
}

fn check_parties(ours: &Hello, theirs: &Hello) -> Result<(), Error> {
    if theirs.nonce == ours.nonce {
        return Err(Fault::Reflected { what: "nonce" }.at(Place::Hello));
    }
    if theirs.role == ours.role {
        return Err(Fault::Contradiction { what: "role" }.at(Place::Hello));
    }
    if theirs.key != ours.peer_key {
        return Err(Incompatible::Identity("its own").into());
    }
    if theirs.peer_key != ours.key {
        return Err(Incompatible::Identity("ours").into());
    }
    if theirs.operator == ours.operator {
        let (ours, theirs) = (ours.operator.clone(), theirs.operator.clone());
        return Err(Incompatible::Terms { field: "operator (must differ)", ours, theirs }.into());
    }
    Ok(())
}

fn check_agreement(ours: &Hello, theirs: &Hello) -> Result<(), Incompatible> {
    for (field, ours, theirs) in
        [("job", &ours.job, &theirs.job), ("agreement", &ours.agreement, &theirs.agreement)]
    {
        if ours != theirs {
            return Err(Incompatible::Terms { field, ours: ours.clone(), theirs: theirs.clone() });
        }
    }
    ours.terms.agree(&theirs.terms)
}

fn check_clock(theirs: &Hello, now: u64) -> Result<(), Incompatible> {
    let seconds = i128::from(theirs.started) - i128::from(now);
    if seconds.abs() <= i128::from(MAX_CLOCK_SKEW) {
        return Ok(());
    }
    let seconds = seconds.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    Err(Incompatible::Clock { seconds, most: MAX_CLOCK_SKEW })
}

fn check_items(ours: &Hello, theirs: &Hello) -> Result<(), Error> {
    if [ours, theirs].iter().any(|hello| hello.items.len() != hello.terms.profiles.len()) {
        return Err(Fault::Contradiction { what: "number of lists" }.at(Place::Hello));
    }
    ours.terms.allow("our", &ours.items)?;
    Ok(ours.terms.allow("the peer's", &theirs.items)?)
}

/// How the two chains of statements compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainGap {
    /// Both end in the same statement.
    None,
    /// The peer lacks our statements above this height.
    TheyLack(u64),
    /// We lack the peer's statements above this height.
    WeLack(u64),
}

impl ChainGap {
    fn between(ours: ChainHead, theirs: ChainHead) -> Result<Self, Incompatible> {
        match ours.height.cmp(&theirs.height) {
            std::cmp::Ordering::Greater => Ok(Self::TheyLack(theirs.height)),
            std::cmp::Ordering::Less => Ok(Self::WeLack(ours.height)),
            std::cmp::Ordering::Equal if ours.digest == theirs.digest => Ok(Self::None),
            std::cmp::Ordering::Equal => Err(Incompatible::Forked { height: ours.height }),
        }
    }
}

/// Both Hellos are said and agree.
pub struct Agreed {
    ours: Hello,
    theirs: Hello,
    sid: Digest,
    plan: Plan,
    gap: ChainGap,
    /// The end of our chain, as far as the peer has shown that it goes on.
    head: ChainHead,
}

impl Agreed {
    pub(super) fn new(ours: Hello, theirs: Hello, gap: ChainGap) -> Self {
        let [initiator, responder] = by_role(ours.role, &ours, &theirs);
        let sid = transcript::session_id(&initiator.encode(), &responder.encode());
        let plan = Plan::new([&initiator.items, &responder.items]);
        let head = ours.chain;
        Self { ours, theirs, sid, plan, gap, head }
    }

    /// The session's id.
    pub fn sid(&self) -> &Digest {
        &self.sid
    }

    /// Our Hello.
    pub fn ours(&self) -> &Hello {
        &self.ours
    }

    /// The peer's Hello.
    pub fn theirs(&self) -> &Hello {
        &self.theirs
    }

    /// Who sends what when.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is missing on which side before the session can continue the chain.
    pub fn gap(&self) -> ChainGap {
        self.gap
    }

    /// Adopts statements that we lack; each is verified: both signatures, the same pair and job, the chain unbroken.
    ///
    /// Returns them as statements; the gap is closed once the peer's head is reached.
    ///
    /// # Errors
    /// [`Fault::Unchained`] or [`Fault::Signature`] with the place, [`Incompatible::Forked`] where the peer's chain does not
    /// contain our end.
    pub fn adopt(&mut self, message: Message) -> Result<Vec<Statement>, Error> {
        let (ChainGap::WeLack(_), Message::Statements(notes)) = (self.gap, &message) else {
            return Err(message.out_of_phase("commit"));
        };
        if notes.is_empty() || notes.len() > MAX_STATEMENTS {
            return Err(Fault::Unchained { height: self.head.height + 1 }.at(Place::Statements));
        }
        let statements = notes.iter().map(|note| self.adopt_one(note)).collect::<Result<Vec<_>, _>>()?;
        if self.head == self.theirs.chain {
            self.gap = ChainGap::None;
        }
        Ok(statements)
    }

    fn adopt_one(&mut self, note: &[u8]) -> Result<Statement, Error> {
        let next = self.head.height + 1;
        let unchained = || Fault::Unchained { height: next }.at(Place::Statements);
        let (statement, _) =
            Statement::from_note(note).map_err(|_| Fault::Signature.at(Place::Statements))?;
        let mut keys = statement.parties.each_ref().map(|party| party.key);
        let mut pair = [self.ours.key, self.theirs.key];
        keys.sort();
        pair.sort();
        if keys != pair || statement.job != self.ours.job || next > self.theirs.chain.height {
            return Err(unchained());
        }
        if statement.previous != self.head {
            let same_height = statement.previous.height == self.head.height;
            let forked = Error::from(Incompatible::Forked { height: self.head.height });
            return Err(if same_height { forked } else { unchained() });
        }
        self.head = statement.head();
        let reached = next == self.theirs.chain.height;
        if reached && self.head != self.theirs.chain {
            return Err(unchained());
        }
        Ok(statement)
    }

    /// How list number `list` is to be masked.
    pub fn masking(&self, list: u16) -> Masking {
        Masking {
            suite: self.ours.terms.suite.suite(),
            sid: self.sid,
            role: self.ours.role,
            list,
            profile: self.ours.terms.profiles[usize::from(list)].clone(),
            openable: self.ours.terms.openable,
        }
    }

    /// Commits to our masked lists, one for each of the terms' profiles.
    ///
    /// # Errors
    /// [`Misuse::Count`] if the lists are not those of our Hello, [`Misuse::Behind`] while we lack statements of the peer, or
    /// that a list can't be read.
    pub fn commit<L: OwnList>(
        self,
        lists: &[L],
        identity: &Identity,
    ) -> Result<(Committed, Message), L::Error> {
        if let ChainGap::WeLack(_) = self.gap {
            return Err(Error::from(Misuse::Behind).into());
        }
        check_count("lists", self.ours.items.len() as u64, lists.len() as u64)?;
        let role = self.ours.role;
        let commitments = lists
            .iter()
            .enumerate()
            .map(|(list, masked)| self.commitment(list as u16, masked))
            .collect::<Result<Vec<_>, _>>()?;
        let signature = identity.sign(&Commit::signed_bytes(&self.sid, role, &commitments));
        let commit = Commit { lists: commitments, signature };
        let message = Message::Commit(commit.clone());
        Ok((Committed { agreed: self, commit, identity: identity.clone() }, message))
    }

    fn commitment<L: OwnList>(&self, list: u16, masked: &L) -> Result<ListCommitment, L::Error> {
        let items = self.ours.items[usize::from(list)];
        check_count("items", items, masked.items())?;
        let role = self.ours.role;
        let hash = |chunk: &Chunk| Ok(merkle::leaf_hash(masked.elements(chunk.range())?.as_flattened()));
        let chunks: Vec<&Chunk> = self.plan.chunks_of(role, list).collect();
        let chunks = chunks.into_par_iter().map(hash).collect::<Result<Vec<Digest>, L::Error>>()?;
        let (suite, identity) = (self.ours.terms.suite.suite(), self.ours.key.as_bytes());
        let knowledge = dleq::prove_knowledge(suite, masked.key(), &self.sid, role, list, identity);
        Ok(ListCommitment {
            public: *masked.key().public(),
            knowledge: knowledge.to_bytes(),
            items,
            root: merkle::root_of(&chunks),
            chunks,
            opening: masked.opening(),
        })
    }

    /// What this session's statement will say that came before it.
    pub fn previous(&self) -> ChainHead {
        if self.theirs.chain.height > self.ours.chain.height { self.theirs.chain } else { self.ours.chain }
    }

    /// The initiator's and the responder's Hello.
    pub fn hellos(&self) -> [&Hello; 2] {
        by_role(self.ours.role, &self.ours, &self.theirs)
    }
}

/// Ours and theirs as initiator's and responder's.
pub(crate) fn by_role<T>(role: Role, ours: T, theirs: T) -> [T; 2] {
    match role {
        Role::Initiator => [ours, theirs],
        Role::Responder => [theirs, ours],
    }
}

fn check_count(what: &'static str, expected: u64, got: u64) -> Result<(), Error> {
    match expected == got {
        true => Ok(()),
        false => Err(Misuse::Count { what, expected, got }.into()),
    }
}

/// Our Commit is on the table; the peer's is awaited.
pub struct Committed {
    pub(super) agreed: Agreed,
    pub(super) commit: Commit,
    pub(super) identity: Identity,
}

impl Committed {
    /// Checks the peer's Commit: signature, keys with their proofs, counts, roots, and that nothing in it is ours.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`], with the list.
    pub fn accept(self, message: Message) -> Result<Exchange, Error> {
        let Message::Commit(theirs) = message else { return Err(message.out_of_phase("commit")) };
        check_commit(&self.agreed, &self.commit, &theirs)?;
        Ok(self.exchange(theirs))
    }

    /// The exchange of lists that both have committed to; the peer's Commit was checked.
    pub(super) fn exchange(self, theirs: Commit) -> Exchange {
        let role = self.agreed.ours.role;
        let commits = by_role(role, self.commit.encode(), theirs.encode());
        let lists = self.commit.lists.iter().zip(&theirs.lists);
        let lists = lists
            .map(|(ours, theirs)| ListContext {
                their_public: theirs.public,
                chunks: by_role(role, ours.chunks.clone(), theirs.chunks.clone()),
                tag_bytes: tag_bytes([ours.items, theirs.items]),
            })
            .collect();
        let context = Context {
            sid: self.agreed.sid,
            role,
            suite: self.agreed.ours.terms.suite.suite(),
            proved: self.agreed.ours.terms.proved,
            keeps_evidence: self.agreed.ours.terms.evidence_days > 0,
            plan: self.agreed.plan.clone(),
            lists,
        };
        let commits_by_role = by_role(role, self.commit, theirs);
        Exchange::new(Arc::new(context), self.agreed, commits_by_role, commits, self.identity)
    }
}

fn check_commit(agreed: &Agreed, ours: &Commit, theirs: &Commit) -> Result<(), Error> {
    let role = agreed.ours.role.opposite();
    if theirs.lists.len() != agreed.theirs.items.len() {
        return Err(Fault::Contradiction { what: "number of lists" }.at(Place::Commit { list: None }));
    }
    let signed = Commit::signed_bytes(&agreed.sid, role, &theirs.lists);
    if !agreed.theirs.key.verifies(&signed, &theirs.signature) {
        return Err(Fault::Signature.at(Place::Commit { list: None }));
    }
    for (list, (ours, theirs)) in ours.lists.iter().zip(&theirs.lists).enumerate() {
        let list = list as u16;
        let place = Place::Commit { list: Some(list) };
        check_not_ours(ours, theirs).map_err(|fault| fault.at(place))?;
        check_list_commitment(&agreed.theirs, &agreed.sid, &agreed.plan, list, theirs)
            .map_err(|f| f.at(place))?;
    }
    Ok(())
}

/// Nothing of one party's commitment may be the other's.
pub(crate) fn check_not_ours(ours: &ListCommitment, theirs: &ListCommitment) -> Result<(), Fault> {
    if theirs.public == ours.public {
        return Err(Fault::Reflected { what: "public key" });
    }
    let our_chunks: HashSet<&Digest> = ours.chunks.iter().collect();
    if theirs.chunks.iter().any(|chunk| our_chunks.contains(chunk)) {
        return Err(Fault::Reflected { what: "chunk" });
    }
    Ok(())
}

/// What can be checked of one list's commitment by anyone who has the Hellos.
pub(crate) fn check_list_commitment(
    hello: &Hello,
    sid: &Digest,
    plan: &Plan,
    list: u16,
    commitment: &ListCommitment,
) -> Result<(), Fault> {
    if commitment.items != hello.items[usize::from(list)] {
        return Err(Fault::Contradiction { what: "number of items" });
    }
    if commitment.chunks.len() != plan.chunks_of(hello.role, list).count() {
        return Err(Fault::Contradiction { what: "number of chunks" });
    }
    if commitment.root != merkle::root_of(&commitment.chunks) {
        return Err(Fault::Contradiction { what: "root" });
    }
    if commitment.opening.is_some() != hello.terms.openable {
        return Err(Fault::Contradiction { what: "opening" });
    }
    let suite = hello.terms.suite.suite();
    let verified = dleq::KnowledgeProof::from_bytes(suite, &commitment.knowledge).and_then(|proof| {
        dleq::verify_knowledge(suite, sid, hello.role, list, hello.key.as_bytes(), &commitment.public, &proof)
    });
    verified.map_err(|_| Fault::ProofWrong { what: "proof of knowledge" })
}
