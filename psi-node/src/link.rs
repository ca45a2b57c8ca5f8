//! A link: frames to and from one peer, in order, until both directions have ended properly. docs/PROTOCOL.md, "The
//! wire".
//!
//! [`grpc`] carries it over mutual TLS, [`memory`] inside one process. Both bound what is under way by a queue, so a
//! sender waits for a receiver that doesn't read. Each direction closes with an end mark that names the count of
//! its frames; a direction that just stops was cut ([`LinkError::Ended`]), whatever the transport says.
//!
//! ```text
//! sender.send(frame)... sender.end()   ->   receiver.receive()... receiver.end()
//! ```

mod frame;
pub mod grpc;
pub mod memory;
mod message;

use std::{pin::Pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{error::Elapsed, timeout},
};
use tokio_stream::{Stream, StreamExt};
pub use tonic::Code;

pub use self::frame::Frame;
use self::frame::Item;
use crate::tls::{
    TlsError,
    connect::{ConnectError, ConnectLimits},
};

/// The most that one frame may take encoded, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Both directions of a link.
#[derive(Debug)]
pub struct Link {
    /// To the peer.
    pub sender: LinkSender,
    /// From the peer.
    pub receiver: LinkReceiver,
}

/// What a link and a node's edge allow. The defaults are docs/PROTOCOL.md's; tests shorten the times and narrow the
/// windows.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a `send` or `receive` may wait for the peer.
    pub idle_timeout: Duration,
    /// How long a whole session may take.
    pub session_deadline: Duration,
    /// How long to wait at first before a lost connection is tried again.
    pub retry_pause: Duration,
    /// Frames of one direction that wait to be sent.
    pub queue: usize,
    /// HTTP/2 flow control: bytes of one stream that may be under way.
    pub stream_window: u32,
    /// HTTP/2 flow control: bytes of one connection that may be under way.
    pub connection_window: u32,
    /// Time between HTTP/2 pings.
    pub keepalive_interval: Duration,
    /// Time for the answer to an HTTP/2 ping.
    pub keepalive_timeout: Duration,
    /// Time to connect, and for a proxy's answer.
    pub connect_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// A server's connections in their handshake at a time.
    pub max_handshakes: usize,
    /// A server's verified connections at a time.
    pub max_connections: usize,
    /// After the shutdown signal, the time for open sessions to end before they are cut.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(60),
            session_deadline: Duration::from_secs(24 * 60 * 60),
            retry_pause: Duration::from_secs(1),
            queue: 4,
            stream_window: 16 << 20,
            connection_window: 16 << 20,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 128,
            max_connections: 256,
            drain: Duration::from_secs(7),
        }
    }
}

impl Settings {
    pub(crate) fn connect_limits(&self) -> ConnectLimits {
        ConnectLimits { connect_timeout: self.connect_timeout, handshake_timeout: self.handshake_timeout }
    }
}

/// The sending half.
#[derive(Debug)]
pub struct LinkSender {
    queue: mpsc::Sender<Item>,
    frames: u64,
    idle_timeout: Duration,
}

impl LinkSender {
    pub(crate) fn new(queue: mpsc::Sender<Item>, idle_timeout: Duration) -> Self {
        Self { queue, frames: 0, idle_timeout }
    }

    /// Queues a frame; waits while the queue is full. Frames that are queued when the sender is dropped still go out.
    /// Dropping the future before it is ready queues nothing.
    ///
    /// [`LinkError::Closed`] says only that nobody takes frames any more: why is what the receiver returns.
    pub async fn send(&mut self, frame: Frame) -> Result<(), LinkError> {
        if frame.max_encoded_len() > MAX_FRAME_BYTES {
            return Err(LinkError::TooLarge);
        }
        let place = place(&self.queue, self.idle_timeout).await?;
        self.frames += 1;
        place.send(Item::Frame(frame));
        Ok(())
    }

    /// Ends this direction properly; the peer's [`LinkReceiver::end`] then succeeds.
    pub async fn end(self) -> Result<(), LinkError> {
        place(&self.queue, self.idle_timeout).await?.send(Item::End { frames: self.frames });
        Ok(())
    }
}

/// A place in the queue, as soon as there is one.
async fn place(
    queue: &mpsc::Sender<Item>,
    idle_timeout: Duration,
) -> Result<mpsc::Permit<'_, Item>, LinkError> {
    let reserved = timeout(idle_timeout, queue.reserve()).await;
    reserved
        .map_err(|elapsed| LinkError::timed_out(Direction::Sending, elapsed))?
        .map_err(|_| LinkError::Closed)
}

type Source = Pin<Box<dyn Stream<Item = Result<Item, LinkError>> + Send>>;

/// The receiving half.
pub struct LinkReceiver {
    source: Source,
    frames: u64,
    idle_timeout: Duration,
    finished: bool,
}

impl LinkReceiver {
    pub(crate) fn new(
        source: impl Stream<Item = Result<Item, LinkError>> + Send + 'static,
        idle_timeout: Duration,
    ) -> Self {
        Self { source: Box::pin(source), frames: 0, idle_timeout, finished: false }
    }

    /// The next frame. A proper end where a frame is expected is [`LinkError::Finished`]. Dropping the future before it
    /// is ready loses nothing.
    pub async fn receive(&mut self) -> Result<Frame, LinkError> {
        match self.next().await? {
            Some(frame) => Ok(frame),
            None => Err(LinkError::Finished),
        }
    }

    /// Waits for the peer's proper end, then for the transport's close or the status that the peer's handler ends
    /// with. End the own direction first: the peer waits for it in turn. A further frame is [`LinkError::Surplus`].
    pub async fn end(mut self) -> Result<(), LinkError> {
        match self.next().await? {
            Some(_) => Err(LinkError::Surplus),
            None => self.closed().await,
        }
    }

    async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        if self.finished {
            return Ok(None);
        }
        match self.item().await? {
            Some(Item::Frame(frame)) => {
                self.frames += 1;
                Ok(Some(frame))
            }
            Some(Item::End { frames }) => {
                self.finished = true;
                if frames == self.frames { Ok(None) } else { Err(LinkError::WrongEnd) }
            }
            None => Err(LinkError::Ended),
        }
    }

    /// After the end mark only the status matters: that a transport is torn down loses nothing.
    async fn closed(&mut self) -> Result<(), LinkError> {
        match self.item().await {
            Ok(Some(_)) => Err(LinkError::Surplus),
            Err(error @ (LinkError::PeerStatus { .. } | LinkError::Malformed(_))) => Err(error),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    async fn item(&mut self) -> Result<Option<Item>, LinkError> {
        let item = timeout(self.idle_timeout, self.source.next()).await;
        item.map_err(|elapsed| LinkError::timed_out(Direction::Receiving, elapsed))?.transpose()
    }
}

impl std::fmt::Debug for LinkReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkReceiver").field("frames", &self.frames).finish_non_exhaustive()
    }
}

/// Which way a link was used when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer took no frames.
    Sending,
    /// The peer sent no frames.
    Receiving,
}

/// Why a link doesn't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There was no connection in the first place.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The peer's direction stopped without its end mark: cut.
    #[error("the stream was cut: it stopped without its end mark")]
    Ended,
    /// The transport broke, in its words.
    #[error("the connection was cut: {0}")]
    Cut(String),
    /// Nobody takes our frames any more; the receiving half knows why.
    #[error("the stream is closed")]
    Closed,
    /// The peer did nothing for as long as it may.
    #[error("the peer was idle for too long ({0:?})")]
    TimedOut(Direction),
    /// The peer's node stopped answering the transport's pings.
    #[error("the peer's node stopped answering")]
    KeepaliveTimedOut,
    /// The peer ended the call with this status.
    #[error("the peer ended the session: {code:?}, {text:?}")]
    PeerStatus {
        /// The gRPC status code.
        code: Code,
        /// The peer's text, at most 200 characters; to be escaped before it is printed (`{:?}` does).
        text: String,
    },
    /// What arrived doesn't decode.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// A frame beyond 1 MiB, ours or the peer's.
    #[error("a frame is larger than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
    /// The peer's end mark doesn't fit what arrived.
    #[error("the end mark doesn't fit the frames before it")]
    WrongEnd,
    /// The peer ended properly where a frame was expected.
    #[error("the peer ended the stream where a frame was expected")]
    Finished,
    /// A frame where the end was expected.
    #[error("the peer sent more where its end was expected")]
    Surplus,
}

impl LinkError {
    fn timed_out(direction: Direction, _: Elapsed) -> Self {
        Self::TimedOut(direction)
    }

    /// The TLS error inside, if that is what it is.
    pub fn tls(&self) -> Option<&TlsError> {
        match self {
            Self::Connect(ConnectError::Tls(error)) => Some(error),
            _ => None,
        }
    }
}
