//! A party that breaks the protocol, over a real link: an honest session whose list and messages a test spoils.

use std::sync::Arc;

use psi_core::{
    error::Error,
    identifier::CanonicalSet,
    key::SessionSeed,
    mask::MaskedList,
    message::{Close, Hello, Message, Refusal},
    session::{Exchange, Opening, Outgoing, Received},
    signature::Identity,
};
use psi_node::{
    link::{
        Frame, Link, LinkError, LinkReceiver, LinkSender,
        grpc::{self, Handler, Pong, Status},
    },
    node::Node,
    tls::accept::Peer,
};
use tokio::{net::TcpListener, sync::mpsc};

/// Changes a message on its way out: what is returned is sent instead.
pub type Alter = Box<dyn FnMut(Message) -> Vec<Frame> + Send>;

/// A rogue party, before its session.
pub struct Rogue {
    /// Its Hello.
    pub hello: Hello,
    /// Its list.
    pub set: CanonicalSet,
    /// The lists behind the first, where the job has several keys.
    pub more: Vec<CanonicalSet>,
    /// Its key.
    pub identity: Identity,
    /// Changes its masked list before it commits to it.
    pub spoil: Box<dyn FnOnce(&mut MaskedList) + Send>,
    /// Changes what it sends.
    pub alter: Alter,
}

/// How the session ended for the rogue.
#[derive(Debug)]
pub enum End {
    /// The honest side noticed, and said so.
    Refused(Refusal),
    /// The honest side's own fault by the rogue's count, or none: nobody noticed anything.
    Unnoticed,
    /// The link ended otherwise.
    Link(LinkError),
    /// The rogue itself could not go on.
    Stuck(Error),
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Stuck(error)
    }
}

/// Sends messages as they are.
pub fn honest() -> Alter {
    Box::new(|message| vec![message.into()])
}

impl Rogue {
    /// Runs its session.
    pub async fn run(self, link: Link, now: u64) -> End {
        let mut wire = Wire { sender: link.sender, receiver: link.receiver, alter: self.alter };
        let Self { hello, set, more, identity, spoil, .. } = self;
        let session = Session { hello, set, more, identity, spoil };
        match session.run(&mut wire, now).await {
            // What the honest side has to say may still be on its way.
            Ok(()) | Err(End::Stuck(_) | End::Link(LinkError::Closed)) => match wire.last_word().await {
                Some(refusal) => End::Refused(refusal),
                None => End::Unnoticed,
            },
            Err(end) => end,
        }
    }

    /// Serves as a rogue on `listener` with the keys of `node`, for one session; the receiver tells how it ended.
    pub fn serve(self, node: Arc<Node>, listener: TcpListener, now: u64) -> mpsc::Receiver<End> {
        let (ended, end) = mpsc::channel(1);
        let handler = Arc::new(Serving { rogue: std::sync::Mutex::new(Some(self)), ended, now });
        tokio::spawn(async move {
            let settings = crate::nodes::settings();
            grpc::serve(listener, node.tls(), handler, &settings, std::future::pending()).await
        });
        end
    }
}

struct Serving {
    rogue: std::sync::Mutex<Option<Rogue>>,
    ended: mpsc::Sender<End>,
    now: u64,
}

impl Handler for Serving {
    async fn session(&self, _: Peer, link: Link) -> Result<(), Status> {
        let rogue = self.rogue.lock().unwrap().take();
        if let Some(rogue) = rogue {
            let end = rogue.run(link, self.now).await;
            let _ = self.ended.send(end).await;
        }
        Ok(())
    }

    async fn ping(&self, _: Peer) -> Result<Pong, Status> {
        Err(Status { code: psi_node::link::Code::Unimplemented, text: "a rogue does not answer" })
    }
}

struct Wire {
    sender: LinkSender,
    receiver: LinkReceiver,
    alter: Alter,
}

impl Wire {
    async fn send(&mut self, message: Message) -> Result<(), End> {
        for frame in (self.alter)(message) {
            self.sender.send(frame).await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Message, End> {
        loop {
            match Message::try_from(self.receiver.receive().await?)? {
                Message::Working(_) => {}
                Message::Refusal(refusal) => return Err(End::Refused(refusal)),
                message => return Ok(message),
            }
        }
    }

    async fn last_word(&mut self) -> Option<Refusal> {
        loop {
            match self.receive().await {
                Ok(_) => {}
                Err(End::Refused(refusal)) => return Some(refusal),
                Err(_) => return None,
            }
        }
    }
}

struct Session {
    hello: Hello,
    set: CanonicalSet,
    more: Vec<CanonicalSet>,
    identity: Identity,
    spoil: Box<dyn FnOnce(&mut MaskedList) + Send>,
}

impl Session {
    async fn run(self, wire: &mut Wire, now: u64) -> Result<(), End> {
        let (opening, hello) = Opening::new(self.hello);
        wire.send(hello).await?;
        let agreed = opening.accept(wire.receive().await?, now)?;
        let seed = SessionSeed::from_bytes([0x77; 32]);
        let mut list = agreed.masking(0).run(&self.set, &seed, &|_| {});
        (self.spoil)(&mut list);
        let more = self.more.iter().zip(1..).map(|(set, list)| agreed.masking(list).run(set, &seed, &|_| {}));
        let lists: Vec<MaskedList> = std::iter::once(list).chain(more).collect();
        let (committed, commit) = agreed.commit(&lists, &self.identity)?;
        wire.send(commit).await?;
        let exchange = committed.accept(wire.receive().await?)?;
        exchange_steps(exchange, &lists, wire).await
    }
}

/// The steps, one message at a time; the rogue counts no matches: it signs what the honest side would have to agree to.
async fn exchange_steps(mut exchange: Exchange, lists: &[MaskedList], wire: &mut Wire) -> Result<(), End> {
    let mut early: Option<Close> = None;
    let (mut ours, mut theirs) = (Vec::new(), std::collections::HashSet::new());
    while !exchange.is_finished() {
        while let Some(outgoing) = exchange.next_outgoing() {
            let message = match outgoing {
                Outgoing::Message(message) => message,
                Outgoing::Masked(chunk) => Exchange::masked_message(&chunk, lists)?,
            };
            wire.send(message).await?;
        }
        if exchange.is_finished() {
            break;
        }
        match exchange.receive(wire.receive().await?)? {
            Received::Noted => {}
            Received::Close(close) => early = Some(close),
            Received::Evaluate(task) => {
                let (answer, keys) = task.run(lists)?;
                theirs.extend(keys.keys.into_iter().map(|key| (keys.chunk.list, key)));
                exchange.answered(answer);
            }
            Received::Verify(task) => {
                let (verified, keys) = task.run(lists)?;
                ours.extend(keys.keys.into_iter().map(|key| (keys.chunk.list, key)));
                exchange.verified(verified)?;
            }
        }
    }
    while let Some(Outgoing::Message(message)) = exchange.next_outgoing() {
        wire.send(message).await?;
    }
    let mut matches = vec![0; lists.len()];
    let shared = ours.iter().filter(|key| theirs.contains(*key));
    shared.for_each(|(list, _)| matches[usize::from(*list)] += 1);
    let (closing, close) = exchange.close(&matches)?;
    wire.send(close).await?;
    let close = match early {
        Some(close) => close,
        None => match wire.receive().await? {
            Message::Close(close) => close,
            other => return Err(other.out_of_phase("close").into()),
        },
    };
    closing.accept(&close)?;
    Ok(())
}
