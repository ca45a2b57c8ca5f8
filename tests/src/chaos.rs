//! A TCP proxy between a caller and a server that is slow, or breaks, at a place that the test names.
//!
//! ```text
//! caller --> read -> queue: rate, delay -> hand on: count, fault --> server      up
//! caller <-- hand on: count, fault <- queue: rate, delay <- read <-- server      down
//! ```
//!
//! Nothing happens at random in here: a fault strikes when the byte it names is about to be handed on, and is counted when it
//! has. Each connection meets the next fault that was planned; those after the last one meet none, so that whoever calls again
//! gets through. Names of faults can be printed and read back, so a failure can be played again.

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// Bytes that are read at once.
const READ: usize = 64 << 10;
/// Reads of one direction that may be under way: enough for a fast line with a long delay.
const QUEUE: usize = 4096;
/// How much a line with a rate takes ahead of what it has sent.
const AHEAD: Duration = Duration::from_millis(20);

/// A direction through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the caller to the server.
    Up,
    /// From the server to the caller.
    Down,
}

impl Direction {
    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        ["up", "down"][self.index()]
    }
}

/// What one direction of every connection is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How long a byte is under way.
    pub delay: Duration,
    /// Bytes a second; without it, as fast as it goes.
    pub rate: Option<u64>,
}

impl Line {
    /// How long so many bytes take to be sent, before the first of them is under way.
    fn sending(&self, bytes: usize) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate as f64))
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both ends see a proper end of the connection.
    Fin,
    /// Both ends see the connection reset.
    Rst,
    /// Everything vanishes from here on, both ways, and neither end hears of it.
    BlackHole,
    /// Nothing goes on, both ways, for so long; for ever without a time.
    Stall(Option<Duration>),
    /// What goes that way vanishes from here on; the other way is fine.
    Deaf(Direction),
    /// One bit of the byte is another.
    Flip,
}

/// A fault, and where it strikes: when the byte of that number is about to be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What goes wrong.
    pub fault: Fault,
    /// The direction whose bytes are counted; without it those of both together.
    pub counted: Option<Direction>,
    /// Number of the byte, from 0.
    pub byte: u64,
}

impl Fault {
    /// Strikes at a byte of both directions, in the order in which they are handed on.
    pub fn at(self, byte: u64) -> Planned {
        Planned { fault: self, counted: None, byte }
    }

    /// Strikes at a byte of one direction.
    pub fn at_of(self, direction: Direction, byte: u64) -> Planned {
        Planned { fault: self, counted: Some(direction), byte }
    }
}

/// `rst@1000`, `flip@up:77`, `stall:500@down:0`: the form that [`Planned::from_str`] reads.
impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Fin => f.write_str("fin"),
            Fault::Rst => f.write_str("rst"),
            Fault::BlackHole => f.write_str("black-hole"),
            Fault::Stall(None) => f.write_str("stall"),
            Fault::Stall(Some(time)) => write!(f, "stall:{}", time.as_millis()),
            Fault::Deaf(direction) => write!(f, "deaf:{}", direction.name()),
            Fault::Flip => f.write_str("flip"),
        }?;
        let counted = self.counted.map_or_else(String::new, |direction| format!("{}:", direction.name()));
        write!(f, "@{counted}{}", self.byte)
    }
}

impl FromStr for Planned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?}: expected FAULT@[up:|down:]BYTE, as in rst@1000 or stall:500@up:77");
        let (fault, place) = text.split_once('@').ok_or_else(form)?;
        let (counted, byte) = match place.split_once(':') {
            Some((direction, byte)) => (Some(direction.parse().map_err(|()| form())?), byte),
            None => (None, place),
        };
        let fault = match fault.split_once(':').unwrap_or((fault, "")) {
            ("fin", "") => Fault::Fin,
            ("rst", "") => Fault::Rst,
            ("black-hole", "") => Fault::BlackHole,
            ("flip", "") => Fault::Flip,
            ("stall", "") => Fault::Stall(None),
            ("stall", time) => Fault::Stall(Some(Duration::from_millis(time.parse().map_err(|_| form())?))),
            ("deaf", direction) => Fault::Deaf(direction.parse().map_err(|()| form())?),
            _ => return Err(form()),
        };
        Ok(Self { fault, counted, byte: byte.parse().map_err(|_| form())? })
    }
}

impl FromStr for Direction {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Up, Self::Down].into_iter().find(|direction| direction.name() == text).ok_or(())
    }
}

/// What has gone through a proxy so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were taken.
    pub connections: u64,
    /// Bytes that were handed on: up, down.
    pub bytes: [u64; 2],
    /// Faults that struck.
    pub struck: u64,
}

impl Tally {
    /// Bytes of both directions.
    pub fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

/// A running proxy; dropped, it cuts what is open.
pub struct Chaos {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Chaos {
    /// Takes connections on a free port of loopback and carries them to `to`.
    pub async fn start(to: SocketAddr, lines: [Line; 2]) -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), to, lines).await
    }

    /// The same on that address; `lines` are those up and down.
    pub async fn listen(listen: SocketAddr, to: SocketAddr, lines: [Line; 2]) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { to, lines, ..Shared::default() });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plans a fault for one more of the connections to come.
    pub fn plan(&self, planned: Planned) {
        self.shared.planned.lock().unwrap().push_back(planned);
    }

    /// What has gone through so far.
    pub fn tally(&self) -> Tally {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Tally {
            connections: count(&self.shared.connections),
            bytes: self.shared.bytes.each_ref().map(count),
            struck: count(&self.shared.struck),
        }
    }

    /// A test of a fault that did not happen shows nothing.
    #[track_caller]
    pub fn assert_struck(&self, faults: u64) {
        assert_eq!(
            self.tally().struck,
            faults,
            "faults that struck; still planned: {:?}",
            self.shared.planned
        );
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Shared {
    to: SocketAddr,
    lines: [Line; 2],
    planned: Mutex<VecDeque<Planned>>,
    connections: AtomicU64,
    bytes: [AtomicU64; 2],
    struck: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            to: SocketAddr::from(([0, 0, 0, 0], 0)),
            lines: <[Line; 2]>::default(),
            planned: Mutex::default(),
            connections: AtomicU64::default(),
            bytes: <[AtomicU64; 2]>::default(),
            struck: AtomicU64::default(),
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut open = JoinSet::new();
    while let Ok((caller, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let planned = shared.planned.lock().unwrap().pop_front();
        open.spawn(Connection::new(shared.clone(), planned).carry(caller));
    }
}

/// What becomes of the bytes of a connection at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Stalled,
    /// By direction: whether what goes that way vanishes.
    Swallowing([bool; 2]),
    Cut {
        reset: bool,
    },
}

struct Connection {
    shared: Arc<Shared>,
    planned: Option<Planned>,
    /// Bytes up, down, and both.
    counted: [AtomicU64; 3],
    state: watch::Sender<State>,
}

/// What was read, and when it comes out at the other end; no bytes for the end.
struct Chunk {
    due: Instant,
    bytes: BytesMut,
}

impl Connection {
    fn new(shared: Arc<Shared>, planned: Option<Planned>) -> Self {
        let state = watch::Sender::new(State::Open);
        Self { shared, planned, counted: <[AtomicU64; 3]>::default(), state }
    }

    async fn carry(self, mut caller: TcpStream) {
        // Without a server the caller sees a reset, as behind a firewall that rejects.
        let Ok(mut server) = TcpStream::connect(self.shared.to).await else { return reset(&caller) };
        let _ = (caller.set_nodelay(true), server.set_nodelay(true));
        let ended = {
            let ((up_in, down_out), (down_in, up_out)) = (caller.split(), server.split());
            let up = self.pump(Direction::Up, up_in, up_out);
            let down = self.pump(Direction::Down, down_in, down_out);
            tokio::select! {
                ended = async { tokio::try_join!(up, down).map(drop) } => ended,
                () = self.until_cut() => Ok(()),
            }
        };
        match *self.state.borrow() {
            State::Cut { reset: false } => {}
            State::Cut { reset: true } => return [&caller, &server].into_iter().for_each(reset),
            // One end is gone in a way that is no proper end: the other sees that.
            _ if ended.is_err() => return [&caller, &server].into_iter().for_each(reset),
            _ => return,
        }
        tokio::join!(finish(&mut caller), finish(&mut server));
    }

    async fn until_cut(&self) {
        let mut state = self.state.subscribe();
        // The sender is in `self`.
        let _ = state.wait_for(|state| matches!(state, State::Cut { .. })).await;
    }

    async fn pump(&self, direction: Direction, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (queue, queued) = mpsc::channel(QUEUE);
        let pumped = tokio::try_join!(self.read(direction, from, queue), self.hand_on(direction, queued, to));
        // Into a hole no news travel either.
        let hole = matches!(*self.state.borrow(), State::Swallowing(_));
        pumped.map(drop).or_else(|error| if hole { Ok(()) } else { Err(error) })
    }

    async fn read(
        &self,
        direction: Direction,
        mut from: ReadHalf<'_>,
        queue: mpsc::Sender<Chunk>,
    ) -> io::Result<()> {
        let line = self.shared.lines[direction.index()];
        let mut sent = Instant::now();
        loop {
            let mut bytes = BytesMut::with_capacity(READ);
            let ended = from.read_buf(&mut bytes).await? == 0;
            sent = sent.max(Instant::now()) + line.sending(bytes.len());
            if queue.send(Chunk { due: sent + line.delay, bytes }).await.is_err() || ended {
                return Ok(());
            }
            sleep_until(sent - AHEAD).await;
        }
    }

    async fn hand_on(
        &self,
        direction: Direction,
        mut queued: mpsc::Receiver<Chunk>,
        mut to: WriteHalf<'_>,
    ) -> io::Result<()> {
        while let Some(Chunk { due, mut bytes }) = queued.recv().await {
            sleep_until(due).await;
            if bytes.is_empty() {
                return if self.passes(direction).await { to.shutdown().await } else { Ok(()) };
            }
            if let Some(clean) = self.clean(direction, bytes.len()) {
                self.write(direction, &bytes.split_to(clean), &mut to).await?;
                self.strike(&mut bytes);
            }
            self.write(direction, &bytes, &mut to).await?;
        }
        Ok(())
    }

    /// Counts so many bytes; how many of them come before the fault, if it is among them.
    fn clean(&self, direction: Direction, bytes: usize) -> Option<usize> {
        let [own, both] =
            [direction.index(), 2].map(|count| self.counted[count].fetch_add(bytes as u64, Ordering::SeqCst));
        let planned = self.planned?;
        let before = match planned.counted {
            None => both,
            Some(counted) if counted == direction => own,
            Some(_) => return None,
        };
        let clean = planned.byte.checked_sub(before)?;
        (clean < bytes as u64).then_some(clean as usize)
    }

    fn strike(&self, rest: &mut BytesMut) {
        let Some(Planned { fault, .. }) = self.planned else { return };
        self.shared.struck.fetch_add(1, Ordering::SeqCst);
        self.state.send_replace(match fault {
            Fault::Fin => State::Cut { reset: false },
            Fault::Rst => State::Cut { reset: true },
            Fault::BlackHole => State::Swallowing([true; 2]),
            Fault::Deaf(direction) => {
                State::Swallowing([Direction::Up, Direction::Down].map(|d| d == direction))
            }
            Fault::Stall(None) => State::Stalled,
            Fault::Stall(Some(time)) => {
                let state = self.state.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    state.send_replace(State::Open);
                });
                State::Stalled
            }
            Fault::Flip => {
                rest[0] ^= 1;
                State::Open
            }
        });
    }

    async fn write(&self, direction: Direction, bytes: &[u8], to: &mut WriteHalf<'_>) -> io::Result<()> {
        if bytes.is_empty() || !self.passes(direction).await {
            return Ok(());
        }
        to.write_all(bytes).await?;
        self.shared.bytes[direction.index()].fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    /// Whether what goes that way arrives; waits while nothing goes on.
    async fn passes(&self, direction: Direction) -> bool {
        let mut state = self.state.subscribe();
        let passing = |state: &State| !matches!(state, State::Stalled | State::Cut { .. });
        match state.wait_for(passing).await.as_deref() {
            Ok(State::Swallowing(swallowed)) => !swallowed[direction.index()],
            Ok(_) => true,
            Err(_) => false,
        }
    }
}

/// The end of this connection, whenever it is dropped, is a reset.
fn reset(stream: &TcpStream) {
    // A stream that is gone already needs none.
    let _ = stream.set_zero_linger();
}

/// A proper end: nothing more is sent, and what still comes is read, since the kernel resets a connection that is closed
/// with something unread.
async fn finish(stream: &mut TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

#[cfg(test)]
mod tests;
