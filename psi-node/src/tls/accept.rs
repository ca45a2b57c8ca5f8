//! The server's side: from a listening socket to streams of verified peers.
//!
//! Strangers are cheap: a connection over the cap is closed at once, a silent one when its handshake's time is over,
//! and a failing `accept` (too many open files) waits before it is tried again.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::{
    ALPN, NodeTls, TlsError,
    stream::{Counted, Traffic},
    verify,
};
use crate::identity::PublicKey;

/// Verified streams that wait to be taken.
const QUEUE: usize = 16;

/// What a listening node allows.
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// Time for the whole TLS handshake.
    pub handshake_timeout: Duration,
    /// Connections in the handshake at a time; one more is closed at once.
    pub max_handshakes: usize,
    /// Verified connections at a time; one more is closed after its handshake.
    pub max_connections: usize,
}

/// Who is at the other end of an accepted connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The pinned key that the peer has proved to hold.
    pub key: PublicKey,
    /// Where it called from.
    pub address: SocketAddr,
    /// The bytes of its connection.
    pub traffic: Arc<Traffic>,
}

/// Is told of every caller that was turned away, and why.
pub type TurnedAway = Arc<dyn Fn(SocketAddr, &TlsError) + Send + Sync>;

/// Verified streams, as tonic's `serve_with_incoming` takes them. Dropping it ends the accepting.
pub type Incoming = ReceiverStream<io::Result<AcceptedStream>>;

/// Accepts on `listener` in a task of its own until the returned [`Incoming`] is dropped. The [`Connections`] see and
/// end those that are open.
pub fn accept(
    listener: TcpListener,
    tls: &NodeTls,
    limits: AcceptLimits,
    turned_away: TurnedAway,
) -> (Incoming, Connections) {
    let (out, incoming) = mpsc::channel(QUEUE);
    let connections = Connections {
        open: Arc::new(Semaphore::new(limits.max_connections)),
        max: limits.max_connections,
        cut: watch::Sender::new(false),
    };
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(Arc::new(tls.server_config())),
        handshakes: Arc::new(Semaphore::new(limits.max_handshakes)),
        handshake_timeout: limits.handshake_timeout,
        connections: connections.clone(),
        turned_away,
        out,
    });
    tokio::spawn(door.stand(listener));
    (ReceiverStream::new(incoming), connections)
}

/// The open connections of one listener.
#[derive(Clone, Debug)]
pub struct Connections {
    open: Arc<Semaphore>,
    max: usize,
    cut: watch::Sender<bool>,
}

impl Connections {
    /// How many are open.
    pub fn count(&self) -> usize {
        self.max.saturating_sub(self.open.available_permits())
    }

    /// Cuts all, now and later: their next read or write fails.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    fn until_cut(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut cut = self.cut.subscribe();
        Box::pin(async move {
            if cut.wait_for(|cut| *cut).await.is_err() {
                std::future::pending().await
            }
        })
    }
}

struct Door {
    acceptor: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    handshake_timeout: Duration,
    connections: Connections,
    turned_away: TurnedAway,
    out: mpsc::Sender<io::Result<AcceptedStream>>,
}

impl Door {
    async fn stand(self: Arc<Self>, listener: TcpListener) {
        let mut failures = 0;
        loop {
            let accepted = tokio::select! {
                () = self.out.closed() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, address)) => {
                    failures = 0;
                    self.admit(socket, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(back_off(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: TcpStream, address: SocketAddr) {
        match self.handshakes.clone().try_acquire_owned() {
            Ok(permit) => drop(tokio::spawn(self.clone().welcome(socket, address, permit))),
            Err(_) => (self.turned_away)(address, &TlsError::Full),
        }
    }

    async fn welcome(
        self: Arc<Self>,
        socket: TcpStream,
        address: SocketAddr,
        _handshake: OwnedSemaphorePermit,
    ) {
        match self.verified(socket, address).await {
            Ok(stream) => drop(self.out.send(Ok(stream)).await),
            Err(error) => (self.turned_away)(address, &error),
        }
    }

    async fn verified(&self, socket: TcpStream, address: SocketAddr) -> Result<AcceptedStream, TlsError> {
        // Nagle's algorithm only costs time here; without the option the connection still works.
        let _ = socket.set_nodelay(true);
        let socket = Counted::new(socket);
        let traffic = socket.traffic().clone();
        let tls = timeout(self.handshake_timeout, self.acceptor.accept(socket))
            .await
            .map_err(|_| TlsError::TimedOut)?
            .map_err(|error| TlsError::from_io(&error))?;
        let peer = Peer { key: peer_key(&tls)?, address, traffic };
        let permit = self.connections.open.clone().try_acquire_owned().map_err(|_| TlsError::Full)?;
        Ok(AcceptedStream { tls, peer, cut: Some(self.connections.until_cut()), _permit: permit })
    }
}

fn peer_key(tls: &TlsStream<Counted<TcpStream>>) -> Result<PublicKey, TlsError> {
    let connection = tls.get_ref().1;
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(TlsError::NotHttp2);
    }
    let chain = connection.peer_certificates().ok_or(TlsError::MissingCertificate)?;
    verify::key_of(chain.first().ok_or(TlsError::MissingCertificate)?)
}

/// 50 ms, doubled with each failure in a row, at most 1.6 s.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(50 << failures.min(5))
}

/// A TLS connection of a verified peer.
pub struct AcceptedStream {
    tls: TlsStream<Counted<TcpStream>>,
    peer: Peer,
    /// Becomes ready when all connections are cut; `None` afterwards.
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _permit: OwnedSemaphorePermit,
}

impl AcceptedStream {
    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(cut) = &mut self.cut
            && cut.as_mut().poll(cx).is_ready()
        {
            self.cut = None;
        }
        if self.cut.is_some() { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }
}

impl Connected for AcceptedStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for AcceptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for AcceptedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_and_is_bounded() {
        let waits: Vec<u128> = [0, 1, 2, 5, 6, u32::MAX].map(|n| back_off(n).as_millis()).into();
        assert_eq!(waits, [50, 100, 200, 1600, 1600, 1600]);
    }
}
