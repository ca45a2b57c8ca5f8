//! TCP with its bytes counted.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection has carried on TCP: TLS and HTTP/2 included, TCP and IP headers not.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
    over: AtomicBool,
}

impl Traffic {
    /// Bytes given to the socket so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes taken from the socket so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the socket has said that it is over: the peer's end, or an error. A connection that we gave up
    /// because nothing came isn't.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub struct Counted<S> {
    stream: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    /// Counts the bytes of `stream` from here on.
    pub fn new(stream: S) -> Self {
        Self { stream, traffic: Arc::default() }
    }

    /// The counters, shared.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn count_sent(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        match result {
            Ok(bytes) => drop(self.traffic.sent.fetch_add(bytes as u64, Ordering::Relaxed)),
            Err(_) => self.traffic.over.store(true, Ordering::Relaxed),
        }
        Poll::Ready(result)
    }

    fn count_received(&self, result: io::Result<usize>) -> Poll<io::Result<()>> {
        match result {
            Ok(bytes) if bytes > 0 => drop(self.traffic.received.fetch_add(bytes as u64, Ordering::Relaxed)),
            Ok(_) | Err(_) => self.traffic.over.store(true, Ordering::Relaxed),
        }
        Poll::Ready(result.map(|_| ()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.count_received(result.map(|()| buf.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.count_sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.count_sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
