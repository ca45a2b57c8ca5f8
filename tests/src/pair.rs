//! Two sessions in one process, without a network, every message passing through the test's hands.

use std::collections::VecDeque;

use psi_core::{
    error::Error,
    identifier::{CanonicalSet, Profile, SetBuilder},
    key::{Role, SessionSeed},
    mask::MaskedList,
    message::{ChainHead, Hello, Message, PROTOCOL_VERSION},
    session::{
        Agreed, Closing, Exchange, JoinKeys, MAX_CLOCK_SKEW, Opening, Outgoing, Received, Side, Signed,
    },
    signature::{Identity, PublicKey},
    suite::SuiteId,
    terms::{Output, Terms},
};

/// The wall clock of both parties.
pub const NOW: u64 = 1_800_000_000;

/// Terms that allow lists of any size.
pub fn terms(proved: bool) -> Terms {
    Terms {
        suite: SuiteId::Ristretto255Sha512,
        output: Output::Mutual,
        proved,
        profiles: vec![Profile::parse("text/1").unwrap()],
        min_items: 0,
        max_items: 1 << 20,
        max_runs_per_day: 1,
        evidence_days: 0,
        openable: true,
    }
}

/// The identity key of a role in these tests.
pub fn identity(role: Role) -> Identity {
    Identity::from_seed(&[role.code() + 1; 32])
}

/// A canonical set of these texts.
pub fn set_of<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> CanonicalSet {
    let mut builder = SetBuilder::new();
    items.into_iter().for_each(|item| {
        builder.push(item.as_ref()).unwrap();
    });
    builder.finish().0
}

/// One party before the session.
pub struct Party {
    /// What it says first.
    pub hello: Hello,
    /// Its list.
    pub set: CanonicalSet,
    /// The lists behind the first, where the terms have several profiles.
    pub more: Vec<CanonicalSet>,
    /// Its session's secret.
    pub seed: [u8; 32],
    /// Changes its masked list before it commits to it.
    pub spoil: Box<dyn FnOnce(&mut MaskedList)>,
}

impl Party {
    /// An honest party with this list.
    pub fn new(role: Role, terms: Terms, set: CanonicalSet) -> Self {
        let hello = Hello {
            versions: vec![PROTOCOL_VERSION],
            suites: Hello::known_suites(),
            role,
            key: identity(role).public_key(),
            peer_key: identity(role.opposite()).public_key(),
            job: "agents".to_owned(),
            agreement: "AGR-1".to_owned(),
            items: vec![set.len() as u64; terms.profiles.len()],
            terms,
            nonce: [role.code() + 0x10; 32],
            started: NOW + u64::from(role.code()),
            software: "psi-tests".to_owned(),
            operator: format!("bank-{}", role.code()),
            chain: ChainHead::default(),
        };
        Self { hello, set, more: Vec::new(), seed: [role.code() + 0x20; 32], spoil: Box::new(|_| {}) }
    }

    /// An honest party with a list for each of the terms' profiles.
    pub fn of_lists(role: Role, terms: Terms, sets: Vec<CanonicalSet>) -> Self {
        let items = sets.iter().map(|set| set.len() as u64).collect();
        let mut sets = sets.into_iter();
        let mut party = Self::new(role, terms, sets.next().unwrap());
        party.hello.items = items;
        party.more = sets.collect();
        party
    }
}

/// What one party has at the end.
#[derive(Debug)]
pub struct Finished {
    /// Statement and transcript.
    pub signed: Signed,
    /// The matching items of its own list, or of its first one, sorted.
    pub matches: Vec<Vec<u8>>,
    /// Those of the lists behind it.
    pub more: Vec<Vec<Vec<u8>>>,
}

/// A failure, and the party that noticed it.
#[derive(Debug, PartialEq)]
pub struct Noticed {
    /// Who noticed.
    pub by: Role,
    /// What.
    pub error: Error,
}

/// Changes the messages of a session on their way: what is returned arrives instead.
pub type Alter<'a> = &'a mut dyn FnMut(Role, Message) -> Vec<Message>;

/// Runs an honest session to its end.
pub fn run(initiator: Party, responder: Party) -> Result<[Finished; 2], Noticed> {
    run_altered(initiator, responder, &mut |_, message| vec![message])
}

/// Runs a session whose messages pass through `alter`, until both are done or one notices something.
///
/// # Panics
/// If both wait for each other, which no session may.
pub fn run_altered(initiator: Party, responder: Party, alter: Alter<'_>) -> Result<[Finished; 2], Noticed> {
    let mut wire = Wire { inbox: [VecDeque::new(), VecDeque::new()], alter };
    let [initiator, responder] = [initiator, responder].map(|party| Open::start(party, &mut wire));
    let mut open = [initiator.agree(&mut wire)?, responder.agree(&mut wire)?];
    open.iter_mut().for_each(|party| party.commit(&mut wire));
    let [initiator, responder] = open;
    let mut running = [initiator.exchange(&mut wire)?, responder.exchange(&mut wire)?];
    while !running.iter().all(Running::is_done) {
        let before = wire.passed(&running);
        for party in &mut running {
            party.turn(&mut wire)?;
        }
        assert_ne!(before, wire.passed(&running), "both parties wait for each other");
    }
    let [initiator, responder] = running.map(Running::finish);
    Ok([initiator, responder])
}

struct Wire<'a> {
    inbox: [VecDeque<Message>; 2],
    alter: Alter<'a>,
}

impl Wire<'_> {
    fn send(&mut self, from: Role, message: Message) {
        let arriving = (self.alter)(from, message);
        self.inbox[usize::from(from.opposite().code())].extend(arriving);
    }

    fn next(&mut self, to: Role) -> Option<Message> {
        self.inbox[usize::from(to.code())].pop_front()
    }

    fn expect(&mut self, to: Role) -> Message {
        self.next(to).expect("the peer has sent its message")
    }

    /// Something that changes whenever anything happens.
    fn passed(&self, running: &[Running; 2]) -> (usize, usize, usize) {
        let handled = running.iter().map(|party| party.handled).sum();
        (self.inbox[0].len(), self.inbox[1].len(), handled)
    }
}

struct Open {
    party: Party,
    opening: Opening,
}

impl Open {
    fn start(party: Party, wire: &mut Wire<'_>) -> Self {
        let (opening, hello) = Opening::new(party.hello.clone());
        wire.send(party.hello.role, hello);
        Self { party, opening }
    }

    fn agree(mut self, wire: &mut Wire<'_>) -> Result<Masked, Noticed> {
        let role = self.party.hello.role;
        let hello = wire.expect(role);
        let agreed = self.opening.accept(hello, NOW).map_err(|error| Noticed { by: role, error })?;
        let seed = SessionSeed::from_bytes(self.party.seed);
        let mut list = agreed.masking(0).run(&self.party.set, &seed, &|_| {});
        std::mem::replace(&mut self.party.spoil, Box::new(|_| {}))(&mut list);
        let more =
            self.party.more.iter().zip(1..).map(|(set, list)| agreed.masking(list).run(set, &seed, &|_| {}));
        let lists = std::iter::once(list).chain(more).collect();
        Ok(Masked { party: self.party, agreed: Some(agreed), committed: None, lists })
    }
}

struct Masked {
    party: Party,
    agreed: Option<Agreed>,
    committed: Option<psi_core::session::Committed>,
    lists: Vec<MaskedList>,
}

impl Masked {
    fn commit(&mut self, wire: &mut Wire<'_>) {
        let role = self.party.hello.role;
        let agreed = self.agreed.take().expect("commit is called once");
        let (committed, commit) = agreed.commit(&self.lists, &identity(role)).unwrap();
        wire.send(role, commit);
        self.committed = Some(committed);
    }

    fn exchange(self, wire: &mut Wire<'_>) -> Result<Running, Noticed> {
        let role = self.party.hello.role;
        let commit = wire.expect(role);
        let committed = self.committed.expect("commit came before");
        let exchange = committed.accept(commit).map_err(|error| Noticed { by: role, error })?;
        Ok(Running {
            role,
            sets: std::iter::once(self.party.set).chain(self.party.more).collect(),
            lists: self.lists,
            state: State::Exchange(Box::new(exchange)),
            early_close: None,
            ours: Vec::new(),
            theirs: Vec::new(),
            handled: 0,
        })
    }
}

enum State {
    Exchange(Box<Exchange>),
    Closing(Box<Closing>),
    Done(Box<Signed>),
    Moving,
}

struct Running {
    role: Role,
    sets: Vec<CanonicalSet>,
    lists: Vec<MaskedList>,
    state: State,
    early_close: Option<psi_core::message::Close>,
    ours: Vec<JoinKeys>,
    theirs: Vec<JoinKeys>,
    handled: usize,
}

impl Running {
    fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Sends what may be sent, and handles one message.
    fn turn(&mut self, wire: &mut Wire<'_>) -> Result<(), Noticed> {
        self.send_all(wire);
        let Some(message) = wire.next(self.role) else { return self.close(wire) };
        self.handled += 1;
        let noticed = |error| Noticed { by: self.role, error };
        match (&mut self.state, message) {
            (State::Exchange(exchange), message) => {
                let (close, keys) = step(exchange, &self.lists, message).map_err(noticed)?;
                self.early_close = close.or(self.early_close.take());
                keys.into_iter().for_each(|keys| match keys.side {
                    Side::Ours => self.ours.push(keys),
                    Side::Theirs => self.theirs.push(keys),
                });
                Ok(())
            }
            (State::Closing(_), Message::Close(close)) => self.accept(&close),
            (_, message) => panic!("{} after the end", message.name()),
        }
    }

    fn send_all(&mut self, wire: &mut Wire<'_>) {
        let State::Exchange(exchange) = &mut self.state else { return };
        while let Some(outgoing) = exchange.next_outgoing() {
            self.handled += 1;
            let message = match outgoing {
                Outgoing::Message(message) => message,
                Outgoing::Masked(chunk) => {
                    Exchange::masked_message(&chunk, &self.lists).expect("the list is in memory")
                }
            };
            wire.send(self.role, message);
        }
    }

    fn close(&mut self, wire: &mut Wire<'_>) -> Result<(), Noticed> {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Exchange(exchange) if exchange.is_finished() => {
                let matches: Vec<u64> = self.matches().iter().map(|matches| matches.len() as u64).collect();
                let (closing, close) = exchange.close(&matches).unwrap();
                self.state = State::Closing(Box::new(closing));
                self.handled += 1;
                wire.send(self.role, close);
                self.early_close.take().map_or(Ok(()), |close| self.accept(&close))
            }
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    fn accept(&mut self, close: &psi_core::message::Close) -> Result<(), Noticed> {
        let State::Closing(closing) = std::mem::replace(&mut self.state, State::Moving) else {
            return Ok(());
        };
        let signed = closing.accept(close).map_err(|error| Noticed { by: self.role, error })?;
        self.state = State::Done(Box::new(signed));
        Ok(())
    }

    /// The matching items of each list.
    fn matches(&self) -> Vec<Vec<Vec<u8>>> {
        (0..self.lists.len()).map(|list| self.matches_of(list)).collect()
    }

    fn matches_of(&self, list: usize) -> Vec<Vec<u8>> {
        let of_list = |keys: &&JoinKeys| usize::from(keys.chunk.list) == list;
        let theirs: std::collections::HashSet<_> =
            self.theirs.iter().filter(of_list).flat_map(|keys| &keys.keys).collect();
        let mut matches: Vec<Vec<u8>> = self
            .ours
            .iter()
            .filter(of_list)
            .flat_map(|keys| keys.chunk.range().zip(&keys.keys))
            .filter(|(_, key)| theirs.contains(key))
            .map(|(index, _)| self.sets[list].get(self.lists[list].items[index].item as usize).to_vec())
            .collect();
        matches.sort();
        matches
    }

    fn finish(self) -> Finished {
        let mut more = self.matches();
        let matches = more.remove(0);
        let State::Done(signed) = self.state else { panic!("not done") };
        Finished { signed: *signed, matches, more }
    }
}

/// Handles one message of the exchange, running its task at once.
fn step(
    exchange: &mut Exchange,
    lists: &[MaskedList],
    message: Message,
) -> Result<(Option<psi_core::message::Close>, Option<JoinKeys>), Error> {
    match exchange.receive(message)? {
        Received::Noted => Ok((None, None)),
        Received::Close(close) => Ok((Some(close), None)),
        Received::Evaluate(task) => {
            let (answer, keys) = task.run(lists)?;
            exchange.answered(answer);
            Ok((None, Some(keys)))
        }
        Received::Verify(task) => {
            let (verified, keys) = task.run(lists)?;
            exchange.verified(verified)?;
            Ok((None, Some(keys)))
        }
    }
}

/// The keys of both parties, for the offline check.
pub fn pins() -> [PublicKey; 2] {
    [identity(Role::Initiator).public_key(), identity(Role::Responder).public_key()]
}

/// The most that the two clocks may differ.
pub const SKEW: u64 = MAX_CLOCK_SKEW as u64;
