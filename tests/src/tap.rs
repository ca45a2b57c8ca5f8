//! A relay between two nodes that has the keys of both, and so hears in clear what each tells the other.
//!
//! No stranger can do that: each side compares the other's key. The tests own both homes. What is heard is kept as hashes by
//! session and place, so that bytes which are sent again under one key and differ are noticed at once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use psi_core::{
    message::{Commit, Digest, Resume, StepEnd},
    signature::{Identity, PublicKey},
    transcript::session_id,
};
use psi_node::{
    clock::System,
    link::{
        Code, Frame, Link, LinkError, LinkReceiver, LinkSender, Settings,
        grpc::{self, Connection, Handler, Pong, Status, Target},
    },
    tls::{NodeTls, Pins, accept::Peer},
};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{chaos::Direction, nodes::Place};

/// What was said in the sessions so far.
#[derive(Debug, Default)]
pub struct Heard {
    /// By session id.
    pub sessions: BTreeMap<Digest, Session>,
    /// Frames that passed.
    pub frames: u64,
    /// Connections on which both sides went on with a session.
    pub resumed: u64,
    /// Places where a party said two different things in one session.
    pub contradictions: Vec<String>,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Both Hellos, the initiator's first.
    pub hellos: [Vec<u8>; 2],
    /// Both Commits, as soon as they have passed.
    pub commits: [Option<Commit>; 2],
    /// The initiator's key, to know who speaks on a later connection.
    initiator: PublicKey,
    said: [BTreeMap<Spot, Digest>; 2],
}

/// Kind of message, list, index.
type Spot = (&'static str, u32, u32);

/// A running relay.
pub struct Tap {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    serving: JoinHandle<()>,
}

impl Tap {
    /// Listens on a free port of loopback in the place of `b`, and calls the true `b` at `to` in the place of `a`.
    pub async fn start(a: &Place, b: &Place, to: SocketAddr, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let outward = tls(a.identity(), b.identity().public_key());
        let inward = tls(b.identity(), a.identity().public_key());
        let endpoint = format!("https://{to}").parse().unwrap();
        let target = Target { endpoint, key: b.identity().public_key(), proxy: None };
        let speakers = [a, b].map(|place| place.identity().public_key());
        let relay = Arc::new(Relay { target, outward, settings, speakers, heard: heard.clone() });
        let serving = tokio::spawn(async move {
            let _ = grpc::serve(listener, &inward, relay, &settings, std::future::pending()).await;
        });
        Self { address, heard, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was heard so far.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn tls(own: Identity, peer: PublicKey) -> NodeTls {
    NodeTls::new(own, Pins::new([peer]), System::shared()).unwrap()
}

struct Relay {
    target: Target,
    outward: NodeTls,
    settings: Settings,
    /// The caller's key and the server's.
    speakers: [PublicKey; 2],
    heard: Arc<Mutex<Heard>>,
}

impl Relay {
    async fn call(&self) -> Result<Connection, Status> {
        let opened = Connection::open(&self.target, &self.outward, &self.settings).await;
        opened.map_err(|_| Status { code: Code::Unavailable, text: "the server behind the tap is not there" })
    }
}

impl Handler for Relay {
    async fn session(&self, _: Peer, inner: Link) -> Result<(), Status> {
        let connection = self.call().await?;
        let outer = connection.session();
        let (heard, speakers) = (self.heard.clone(), self.speakers);
        let listener = Mutex::new(Listener { heard, speakers, hellos: [None, None], resumes: 0, sid: None });
        // As soon as one direction breaks, both links are dropped: either end sees a stream without its end mark.
        let _ = tokio::try_join!(
            pass(Direction::Up, inner.receiver, outer.sender, &listener),
            pass(Direction::Down, outer.receiver, inner.sender, &listener),
        );
        Ok(())
    }

    async fn ping(&self, _: Peer) -> Result<Pong, Status> {
        let gone =
            |_: LinkError| Status { code: Code::Unavailable, text: "the server behind the tap is silent" };
        self.call().await?.ping().await.map_err(gone)
    }
}

async fn pass(
    direction: Direction,
    mut from: LinkReceiver,
    mut to: LinkSender,
    listener: &Mutex<Listener>,
) -> Result<(), LinkError> {
    loop {
        match from.receive().await {
            Ok(frame) => {
                listener.lock().unwrap().hear(direction, &frame);
                to.send(frame).await?;
            }
            Err(LinkError::Finished) => return to.end().await,
            Err(error) => return Err(error),
        }
    }
}

/// Listens to one connection.
struct Listener {
    heard: Arc<Mutex<Heard>>,
    speakers: [PublicKey; 2],
    /// The Hellos of the caller and of the server, by which a new session is known.
    hellos: [Option<Vec<u8>>; 2],
    /// Resumes, by which one is known that goes on.
    resumes: u8,
    sid: Option<Digest>,
}

impl Listener {
    fn hear(&mut self, direction: Direction, frame: &Frame) {
        let heard = self.heard.clone();
        let mut heard = heard.lock().unwrap();
        heard.frames += 1;
        if let Frame::Hello(bytes) = frame {
            self.hellos[direction as usize] = Some(bytes.to_vec());
            self.sid = self.opened(&mut heard);
        }
        if let Frame::Resume(bytes) = frame
            && let Ok(resume) = Resume::decode(bytes)
        {
            self.resumes += 1;
            heard.resumed += u64::from(self.resumes == 2);
            self.sid = Some(resume.sid);
        }
        if let Some(sid) = self.sid {
            heard.note(sid, self.speakers[direction as usize], frame);
        }
    }

    fn opened(&self, heard: &mut Heard) -> Option<Digest> {
        let [Some(caller), Some(server)] = &self.hellos else { return None };
        let sid = session_id(caller, server);
        let hellos = [caller.clone(), server.clone()];
        let (commits, initiator, said) = ([None, None], self.speakers[0], <[BTreeMap<_, _>; 2]>::default());
        heard.sessions.entry(sid).or_insert_with(|| Session { hellos, commits, initiator, said });
        Some(sid)
    }
}

impl Heard {
    fn note(&mut self, sid: Digest, speaker: PublicKey, frame: &Frame) {
        let Some(session) = self.sessions.get_mut(&sid) else { return };
        let role = usize::from(speaker != session.initiator);
        if let Frame::Commit(bytes) = frame {
            session.commits[role] = Commit::decode(bytes).ok();
        }
        let Some((spot, hash)) = spot_of(frame) else { return };
        if *session.said[role].entry(spot).or_insert(hash) != hash {
            self.contradictions.push(format!("{spot:?} of {speaker}"));
        }
    }
}

/// What may be said only in one way in a session, and its hash. The rest is outside of the transcript.
fn spot_of(frame: &Frame) -> Option<(Spot, Digest)> {
    let hash = |parts: &[&[u8]]| {
        parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
    };
    Some(match frame {
        Frame::Commit(bytes) => (("commit", 0, 0), hash(&[bytes])),
        Frame::Masked { list, index, elements } => (("masked", *list, *index), hash(&[elements])),
        Frame::Evaluated { list, index, answers, proof } => {
            (("evaluated", *list, *index), hash(&[answers, proof]))
        }
        Frame::StepEnd(bytes) => (("step end", 0, StepEnd::decode(bytes).ok()?.step), hash(&[bytes])),
        Frame::Close(bytes) => (("close", 0, 0), hash(&[bytes])),
        _ => return None,
    })
}
