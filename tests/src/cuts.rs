//! Two sessions in one process whose connection is cut after any message, and whose parties may forget all that was not
//! kept: each goes on from bytes alone.
//!
//! What a party keeps, and when, is what docs/PROTOCOL.md, "Resume", demands: its Commit before it is sent, the peer's
//! before anything is sent after it, its signed statement before its Close. Steps may be lost at a crash, the last first.

use std::collections::{BTreeMap, HashSet, VecDeque};

use psi_core::{
    error::Error,
    identifier::CanonicalSet,
    key::{Role, SessionSeed},
    mask::MaskedList,
    message::{Close, Message},
    session::{
        Closing, Committed, Common, Exchange, JoinKey, JoinKeys, KeptStep, Opening, Outgoing, Received, Side,
    },
};
use psi_node::link::Frame;

use crate::{
    chance::Chance,
    pair::{NOW, Party, identity},
};

/// What survives a crash: bytes.
#[derive(Clone, Default)]
pub struct Kept {
    /// Both Hellos, initiator first.
    pub hellos: [Vec<u8>; 2],
    /// Our Commit and the peer's.
    pub commit: Vec<u8>,
    /// The peer's Commit.
    pub their_commit: Option<Vec<u8>>,
    /// Finished steps.
    pub steps: Vec<Vec<u8>>,
    /// Join keys by side, list and chunk.
    pub keys: BTreeMap<(bool, u16, u32), Vec<JoinKey>>,
    /// Transcript and note with our signature alone.
    pub closing: Option<(Vec<u8>, Vec<u8>)>,
    /// The note with both signatures.
    pub signed: Option<Vec<u8>>,
}

enum Live {
    Committed(Box<Committed>),
    Exchange(Box<Exchange>),
    Closing(Box<Closing>),
    Done,
}

/// How a party finds its state after a cut.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Finished steps that were not made durable.
    pub steps: usize,
}

/// One party over all its connections.
pub struct Survivor {
    role: Role,
    set: CanonicalSet,
    /// Its masked lists, made again from its seed.
    pub lists: Vec<MaskedList>,
    /// What it has on its disk.
    pub kept: Kept,
    live: Live,
    early: Option<Close>,
    /// Every message that it has sent, by what it is, with its bytes.
    sent: BTreeMap<String, Vec<u8>>,
    /// Messages that it has sent again.
    pub resent: usize,
    /// Every Resume that it took, as what both have.
    pub resumed: Vec<Common>,
}

/// Two parties and the wire between them.
pub struct Wire {
    inbox: [VecDeque<Message>; 2],
    alter: Box<dyn FnMut(Role, Message) -> Message>,
    /// What was done, over all connections: messages sent or handled, and statements signed.
    pub done: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self::altering(|_, message| message)
    }
}

impl Wire {
    /// A wire that changes messages on their way.
    pub fn altering(alter: impl FnMut(Role, Message) -> Message + 'static) -> Self {
        Self { inbox: [VecDeque::new(), VecDeque::new()], alter: Box::new(alter), done: 0 }
    }

    fn send(&mut self, from: Role, message: Message) {
        let arriving = (self.alter)(from, message);
        self.inbox[usize::from(from.opposite().code())].push_back(arriving);
    }

    fn next(&mut self, to: Role) -> Option<Message> {
        self.inbox[usize::from(to.code())].pop_front()
    }

    fn cut(&mut self) {
        self.inbox.iter_mut().for_each(VecDeque::clear);
    }
}

/// Two parties that have said Hello and masked their lists; neither has sent its Commit.
pub fn agreed(initiator: Party, responder: Party) -> [Survivor; 2] {
    let hellos = [&initiator, &responder].map(|party| party.hello.clone());
    let [a, b] = [(initiator, hellos[1].clone()), (responder, hellos[0].clone())].map(|(party, theirs)| {
        let role = party.hello.role;
        let (opening, _) = Opening::new(party.hello.clone());
        let agreed = opening.accept(Message::Hello(theirs), NOW).unwrap();
        let seed = SessionSeed::from_bytes(party.seed);
        let lists = vec![agreed.masking(0).run(&party.set, &seed, &|_| {})];
        let (committed, commit) = agreed.commit(&lists, &identity(role)).unwrap();
        let Message::Commit(commit) = commit else { panic!("a commit is a commit") };
        let kept = Kept {
            hellos: hellos.each_ref().map(|h| h.encode()),
            commit: commit.encode(),
            ..Kept::default()
        };
        let live = Live::Committed(Box::new(committed));
        Survivor {
            role,
            set: party.set,
            lists,
            kept,
            live,
            early: None,
            sent: BTreeMap::new(),
            resent: 0,
            resumed: Vec::new(),
        }
    });
    [a, b]
}

/// Sends both Commits: the first connection.
pub fn start(parties: &mut [Survivor; 2], wire: &mut Wire) {
    for party in parties {
        let Live::Committed(committed) = &party.live else { panic!("a session starts once") };
        let commit = committed.commit();
        party.send(wire, commit);
    }
}

/// Runs until both are done (`true`) or `limit` things were done in all; turns are taken by chance.
///
/// # Errors
/// What a party noticed, and which.
///
/// # Panics
/// If both wait for each other.
pub fn run(
    parties: &mut [Survivor; 2],
    wire: &mut Wire,
    chance: &mut Chance,
    limit: usize,
) -> Result<bool, (Role, Error)> {
    let mut idle = 0;
    while !parties.iter().all(|party| matches!(party.live, Live::Done)) {
        if wire.done >= limit {
            return Ok(false);
        }
        let party = &mut parties[chance.below(2) as usize];
        let acted = party.turn(wire).map_err(|error| (party.role, error))?;
        wire.done += usize::from(acted);
        idle = if acted { 0 } else { idle + 1 };
        assert!(idle < 200, "both parties wait for each other");
    }
    Ok(true)
}

/// Cuts the connection, lets both forget, and opens another; `caller` says Resume first. Whether both have taken it
/// before `limit` things were done in all.
///
/// # Errors
/// What a party noticed, and which.
pub fn reconnect(
    parties: &mut [Survivor; 2],
    wire: &mut Wire,
    losses: [Loss; 2],
    caller: Role,
    limit: usize,
) -> Result<bool, (Role, Error)> {
    wire.cut();
    for (party, loss) in parties.iter_mut().zip(losses) {
        party.restore(loss);
    }
    let (calling, called) = (usize::from(caller.code()), usize::from(caller.opposite().code()));
    let resume = parties[calling].resume();
    wire.send(caller, resume);
    let mut answered = false;
    for at in [called, calling] {
        if wire.done >= limit {
            return Ok(false);
        }
        let party = &mut parties[at];
        let role = party.role;
        let message = wire.next(role).expect("each has said something");
        wire.done += 1;
        if !answered {
            answered = true;
            // Whoever has both signatures shows them in the place of an answer.
            let answer = match &party.kept.signed {
                Some(note) => Message::Statements(vec![note.clone()]),
                None => party.resume(),
            };
            wire.send(role, answer);
        }
        party.rejoin(message, wire).map_err(|error| (role, error))?;
    }
    Ok(true)
}

impl Survivor {
    /// The matching items of its own list, sorted.
    pub fn matches(&self) -> Vec<Vec<u8>> {
        let of = |ours: bool| self.kept.keys.iter().filter(move |((side, _, _), _)| *side == ours);
        let theirs: HashSet<&JoinKey> = of(false).flat_map(|(_, keys)| keys).collect();
        let ours = of(true).flat_map(|(_, keys)| keys).enumerate();
        let item = |index: usize| self.set.get(self.lists[0].items[index].item as usize).to_vec();
        let mut matches: Vec<_> =
            ours.filter(|(_, key)| theirs.contains(key)).map(|(index, _)| item(index)).collect();
        matches.sort();
        matches
    }

    fn send(&mut self, wire: &mut Wire, message: Message) {
        let name = match &message {
            Message::Masked(masked) => format!("masked {}", masked.index),
            Message::Evaluated(evaluated) => format!("evaluated {}", evaluated.index),
            Message::StepEnd(end) => format!("step end {}", end.step),
            other => other.name().to_owned(),
        };
        let bytes = match Frame::from(message.clone()) {
            Frame::Masked { elements, .. } => elements.to_vec(),
            Frame::Evaluated { answers, proof, .. } => [answers, proof].concat(),
            Frame::Commit(bytes) | Frame::StepEnd(bytes) | Frame::Close(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        match self.sent.get(&name) {
            None => drop(self.sent.insert(name, bytes)),
            Some(before) => {
                assert!(*before == bytes, "{name} was sent again, and differs");
                self.resent += 1;
            }
        }
        wire.send(self.role, message);
    }

    /// Handles one message, or does what needs none; whether anything was done.
    fn turn(&mut self, wire: &mut Wire) -> Result<bool, Error> {
        if self.send_all(wire) || self.close(wire)? {
            return Ok(true);
        }
        let Some(message) = wire.next(self.role) else { return Ok(false) };
        self.receive(message)?;
        Ok(true)
    }

    fn receive(&mut self, message: Message) -> Result<(), Error> {
        match std::mem::replace(&mut self.live, Live::Done) {
            Live::Committed(committed) => {
                let Message::Commit(commit) = &message else { return Err(message.out_of_phase("commit")) };
                let encoded = commit.encode();
                self.live = Live::Exchange(Box::new(committed.accept(message)?));
                self.kept.their_commit = Some(encoded);
                Ok(())
            }
            Live::Exchange(mut exchange) => {
                let keys = self.step(&mut exchange, message);
                self.live = Live::Exchange(exchange);
                self.keep(keys?);
                Ok(())
            }
            Live::Closing(closing) => match message {
                Message::Close(close) => self.finish(*closing, &close),
                Message::Statements(notes) => self.adopt(*closing, &notes[0]),
                other => Err(other.out_of_phase("close")),
            },
            Live::Done => Ok(()),
        }
    }

    fn step(&mut self, exchange: &mut Exchange, message: Message) -> Result<Option<JoinKeys>, Error> {
        match exchange.receive(message)? {
            Received::Noted => Ok(None),
            Received::Close(close) => {
                self.early = Some(close);
                Ok(None)
            }
            Received::Evaluate(task) => {
                let (answer, keys) = task.run(&self.lists)?;
                exchange.answered(answer);
                Ok(Some(keys))
            }
            Received::Verify(task) => {
                let (verified, keys) = task.run(&self.lists)?;
                exchange.verified(verified)?;
                Ok(Some(keys))
            }
        }
    }

    /// Keeps keys, and every step that is finished by now.
    fn keep(&mut self, keys: Option<JoinKeys>) {
        if let Some(JoinKeys { side, chunk, keys, .. }) = keys {
            self.kept.keys.insert((side == Side::Ours, chunk.list, chunk.index), keys);
        }
        let Live::Exchange(exchange) = &self.live else { return };
        while let Some(step) = exchange.kept_step(self.kept.steps.len() as u32) {
            self.kept.steps.push(step.encode());
        }
    }

    fn send_all(&mut self, wire: &mut Wire) -> bool {
        let Live::Exchange(exchange) = &mut self.live else { return false };
        let Some(outgoing) = exchange.next_outgoing() else { return false };
        let message = match outgoing {
            Outgoing::Message(message) => message,
            Outgoing::Masked(chunk) => Exchange::masked_message(&chunk, &self.lists).unwrap(),
        };
        self.send(wire, message);
        true
    }

    fn close(&mut self, wire: &mut Wire) -> Result<bool, Error> {
        let Live::Exchange(exchange) = &self.live else { return Ok(false) };
        if !exchange.is_finished() {
            return Ok(false);
        }
        let matches = self.matches().len() as u64;
        let Live::Exchange(exchange) = std::mem::replace(&mut self.live, Live::Done) else {
            return Ok(false);
        };
        let (closing, close) = exchange.close(&[matches])?;
        let note = closing.half_signed_note();
        if let Some((_, before)) = &self.kept.closing {
            assert!(*before == note, "a second statement was signed");
        }
        self.kept.closing = Some((closing.transcript().encode(), note));
        self.send(wire, close);
        match self.early.take() {
            Some(close) => self.finish(closing, &close)?,
            None => self.live = Live::Closing(Box::new(closing)),
        }
        Ok(true)
    }

    fn finish(&mut self, closing: Closing, close: &Close) -> Result<(), Error> {
        self.kept.signed = Some(closing.accept(close)?.note());
        self.live = Live::Done;
        Ok(())
    }

    fn adopt(&mut self, closing: Closing, note: &[u8]) -> Result<(), Error> {
        self.kept.signed = Some(closing.accept_note(note)?.note());
        self.live = Live::Done;
        Ok(())
    }

    /// Forgets everything but what was kept.
    fn restore(&mut self, loss: Loss) {
        self.early = None;
        let left = self.kept.steps.len().saturating_sub(loss.steps);
        if self.kept.closing.is_none() {
            self.kept.steps.truncate(left);
        }
        self.live = self.read();
    }

    fn read(&self) -> Live {
        let (kept, identity) = (&self.kept, identity(self.role));
        if let Some((transcript, note)) = &kept.closing {
            let (closing, _) = Closing::restore(transcript, note, &identity).unwrap();
            return Live::Closing(Box::new(closing));
        }
        match &kept.their_commit {
            None => {
                let hellos = kept.hellos.each_ref().map(Vec::as_slice);
                let committed = Committed::restore(hellos, &kept.commit, &identity).unwrap();
                committed.check_lists(&self.lists).unwrap();
                Live::Committed(Box::new(committed))
            }
            Some(_) => Live::Exchange(Box::new(self.exchange())),
        }
    }

    fn exchange(&self) -> Exchange {
        let kept = &self.kept;
        let theirs = kept.their_commit.clone().unwrap();
        let commits = match self.role {
            Role::Initiator => [kept.commit.clone(), theirs],
            Role::Responder => [theirs, kept.commit.clone()],
        };
        let steps = kept.steps.iter().map(|step| KeptStep::decode(step).unwrap()).collect();
        let exchange = Exchange::restore(kept.hellos.clone(), commits, steps, &identity(self.role)).unwrap();
        exchange.check_lists(&self.lists).unwrap();
        exchange
    }

    fn resume(&self) -> Message {
        match &self.live {
            Live::Committed(committed) => committed.resume(),
            Live::Exchange(exchange) => exchange.resume(),
            Live::Closing(closing) => closing.resume(),
            Live::Done => panic!("a restored party is not done"),
        }
    }

    /// Takes the peer's first message on a new connection.
    fn rejoin(&mut self, message: Message, wire: &mut Wire) -> Result<(), Error> {
        if let Some(note) = self.kept.signed.clone() {
            self.live = Live::Done;
            // The caller has not shown it yet.
            if matches!(message, Message::Resume(_)) {
                wire.send(self.role, Message::Statements(vec![note]));
            }
            return Ok(());
        }
        if let Message::Statements(_) = message {
            return self.receive(message);
        }
        let (common, commit) = match &mut self.live {
            Live::Committed(committed) => (committed.rejoin(message)?, committed.commit()),
            Live::Exchange(exchange) => (exchange.rejoin(message)?, exchange.commit()),
            Live::Closing(closing) => {
                let common = closing.rejoin(message.clone())?;
                if common.steps == closing.statement().steps {
                    let (_, close) = self.closing();
                    self.send(wire, close);
                } else {
                    let mut exchange = self.exchange();
                    assert_eq!(exchange.rejoin(message)?, common);
                    self.live = Live::Exchange(Box::new(exchange));
                }
                self.resumed.push(common);
                return Ok(());
            }
            Live::Done => return Ok(()),
        };
        self.resumed.push(common);
        if common.lacks_commit {
            self.send(wire, commit);
        }
        Ok(())
    }

    fn closing(&self) -> (Closing, Message) {
        let (transcript, note) = self.kept.closing.as_ref().unwrap();
        Closing::restore(transcript, note, &identity(self.role)).unwrap()
    }
}
