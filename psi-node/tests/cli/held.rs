//! A partner in this process whose answers stop at a place, so that where a signal meets the program is no chance.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

use psi_core::message::Resume;
use psi_node::{
    fault::Fault,
    home::Home,
    link::{
        Frame, Link, LinkError, LinkReceiver, LinkSender,
        grpc::{self, Handler, Pong, Status},
        memory,
    },
    node::Node,
    report::{Silent, Summary},
    run,
    tls::accept::Peer,
};
use tokio::{net::TcpListener, runtime::Runtime};

/// A node that serves from a thread of its own.
pub(crate) struct Held {
    /// Where it serves.
    pub(crate) address: SocketAddr,
    /// The first session has come so far, and gets no further.
    pub(crate) reached: mpsc::Receiver<()>,
    /// How each session ended for it.
    pub(crate) ended: mpsc::Receiver<Result<Option<Summary>, Fault>>,
    /// With how many steps each caller wanted to go on.
    pub(crate) resumed: mpsc::Receiver<u32>,
    _runtime: Runtime,
}

impl Held {
    /// Serves the node of that home; of the first session, so many frames go out.
    pub(crate) fn serve(home: &Path, frames: usize) -> Self {
        let ((at, reached), (done, ended), (steps, resumed)) =
            (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let node = Arc::new(Node::open(&Home::at(home)).unwrap());
        let answering = Answering { node: node.clone(), first: Mutex::new(Some((frames, at))), done, steps };
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let (tls, settings) = (node.tls(), node.settings());
            grpc::serve(listener, tls, Arc::new(answering), settings, std::future::pending()).await
        });
        Self { address, reached, ended, resumed, _runtime: runtime }
    }
}

/// After so many frames nothing more goes out, and somebody is told.
type Limit = (usize, mpsc::Sender<()>);

struct Answering {
    node: Arc<Node>,
    first: Mutex<Option<Limit>>,
    done: mpsc::Sender<Result<Option<Summary>, Fault>>,
    steps: mpsc::Sender<u32>,
}

impl Handler for Answering {
    async fn session(&self, peer: Peer, outer: Link) -> Result<(), Status> {
        let (near, far) = memory::pair(self.node.settings());
        let limit = self.first.lock().unwrap().take();
        let held = limit.is_some();
        let steps = self.steps.clone();
        let inward = pass(outer.receiver, near.sender, None, move |frame| {
            if let Frame::Resume(bytes) = frame {
                steps.send(Resume::decode(bytes).unwrap().steps).unwrap();
            }
        });
        let outward = pass(near.receiver, outer.sender, limit, |_| {});
        let relay = tokio::spawn(async { tokio::join!(inward, outward) });
        let answered = run::answer(&self.node, &peer, far, Arc::new(Silent)).await;
        if held {
            relay.abort();
        } else {
            let _ = relay.await;
        }
        self.done.send(answered).unwrap();
        Ok(())
    }

    async fn ping(&self, _: Peer) -> Result<Pong, Status> {
        unreachable!("nobody asks")
    }
}

async fn pass(
    mut from: LinkReceiver,
    mut to: LinkSender,
    mut limit: Option<Limit>,
    look: impl Fn(&Frame),
) -> Result<(), LinkError> {
    loop {
        if let Some((0, reached)) = &limit {
            reached.send(()).unwrap();
            std::future::pending::<()>().await;
        }
        match from.receive().await {
            Ok(frame) => {
                look(&frame);
                to.send(frame).await?;
            }
            Err(LinkError::Finished) => return to.end().await,
            Err(error) => return Err(error),
        }
        if let Some((left, _)) = &mut limit {
            *left -= 1;
        }
    }
}
