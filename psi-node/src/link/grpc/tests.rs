//! Two nodes over real loopback sockets.

mod sessions;
mod strangers;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::{
    clock::Mock,
    identity::{Identity, PublicKey},
    link::{Code, Frame, Link, LinkError, Settings},
    tls::{NodeTls, Pins, TlsError, accept::Peer},
};

const NOW: u64 = 1_790_000_000;
const DAY: u64 = 24 * 3600;
const SERVER: u8 = 1;
const CLIENT: u8 = 2;
const STRANGER: u8 = 3;

fn key(seed: u8) -> PublicKey {
    Identity::from_seed(&[seed; 32]).public_key()
}

fn node_at(seed: u8, clock: &Mock) -> NodeTls {
    let identity = Identity::from_seed(&[seed; 32]);
    NodeTls::new(identity, Pins::new([key(CLIENT)]), Arc::new(clock.clone())).unwrap()
}

fn node(seed: u8) -> NodeTls {
    node_at(seed, &Mock::at(NOW))
}

/// A node whose certificate was issued at `issued` while its clock is right now.
fn node_with_certificate_of(seed: u8, issued: u64) -> NodeTls {
    let clock = Mock::at(issued);
    let node = node_at(seed, &clock);
    clock.set(NOW);
    node
}

type Ending = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;
type Script = Box<dyn Fn(Peer, Link) -> Ending + Send + Sync>;

fn script<F>(run: impl Fn(Peer, Link) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    Box::new(move |peer, link| Box::pin(run(peer, link)))
}

/// Sends back what it gets until the end.
fn echo() -> Script {
    script(|_, mut link| async move {
        while let Ok(frame) = link.receiver.receive().await {
            link.sender.send(frame).await.unwrap();
        }
        link.sender.end().await.unwrap();
        link.receiver.end().await.unwrap();
        Ok(())
    })
}

struct Scripted {
    script: Script,
    turned_away: mpsc::UnboundedSender<TlsError>,
}

impl Handler for Scripted {
    async fn session(&self, peer: Peer, link: Link) -> Result<(), Status> {
        (self.script)(peer, link).await
    }

    async fn ping(&self, _: Peer) -> Result<Pong, Status> {
        Ok(Pong { software: SOFTWARE.into(), clock: Duration::from_secs(NOW) })
    }

    fn turned_away(&self, _: SocketAddr, error: &TlsError) {
        self.turned_away.send(error.clone()).unwrap();
    }
}

/// A node that serves.
struct Served {
    address: SocketAddr,
    tls: NodeTls,
    turned_away: mpsc::UnboundedReceiver<TlsError>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Served {
    async fn start(tls: NodeTls, script: Script, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (away, turned_away) = mpsc::unbounded_channel();
        let handler = Arc::new(Scripted { script, turned_away: away });
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tls.clone();
        let task = tokio::spawn(async move {
            serve(listener, &served, handler, &settings, async { drop(stopped.await) }).await
        });
        Self { address, tls, turned_away, stop, task }
    }

    fn target(&self) -> Target {
        target(self.address)
    }

    async fn next_turned_away(&mut self) -> TlsError {
        self.turned_away.recv().await.unwrap()
    }

    /// An honest node is still served.
    async fn still_serves(&self) {
        let connection = Connection::open(&self.target(), &node(CLIENT), &Settings::default()).await.unwrap();
        assert_eq!(connection.ping().await.unwrap().clock, Duration::from_secs(NOW));
    }
}

fn target(address: SocketAddr) -> Target {
    Target { endpoint: format!("https://{address}").parse().unwrap(), key: key(SERVER), proxy: None }
}

fn chunk(index: u32, bytes: usize) -> Frame {
    Frame::Masked { list: 0, index, elements: Bytes::from(vec![index as u8; bytes]) }
}

fn hello() -> Frame {
    Frame::Hello(Bytes::from_static(b"hello"))
}
