//! The listening node: answers partners, reissues its certificate, and takes changes of its configuration.

use std::{
    future::{Future, pending},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    time,
};
use tracing::{Instrument, field::Empty};

use crate::{
    fault::{Code, Fault},
    link::{
        Link, Settings,
        grpc::{self, Handler, Pong, Status},
    },
    node::{Node, SOFTWARE},
    report::Silent,
    run, scheduler,
    tls::accept::Peer,
};

/// How old the certificate may become; it is valid for 90 days.
const REISSUE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often its age is looked at, and that of unfinished runs: a clock that was set makes them older, or ones of the future.
const NAP: Duration = Duration::from_secs(60);
/// How often the configuration file is looked at for changes.
const LOOK: Duration = Duration::from_secs(2);
/// Time for what was asked to stop to tell its peer and to put things in order.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers partners, as [`answer`], and runs what is due; what runs when `shutdown` is ready has as long as a session.
///
/// # Errors
/// As [`answer`].
pub async fn serve(
    node: Arc<Node>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Fault> {
    let (stop, stopping) = watch::channel(false);
    let mut scheduler = tokio::spawn(scheduler::run(node.clone(), stopping));
    let asked = OnceLock::new();
    let stopped = async {
        shutdown.await;
        let _ = asked.set(time::Instant::now());
        let _ = stop.send(true);
    };
    let served = answer(node.clone(), listener, stopped).await;
    let _ = stop.send(true);
    let end = *asked.get_or_init(time::Instant::now) + node.settings().drain;
    if time::timeout_at(end, &mut scheduler).await.is_err() {
        farewell(&node);
        if time::timeout_at(end + FAREWELL, &mut scheduler).await.is_err() {
            tracing::warn!("scheduled runs are cut");
            scheduler.abort();
        }
    }
    served
}

/// Answers partners until `shutdown` is ready; open sessions then have seven seconds to end, the others are asked to, and it
/// returns within ten.
///
/// # Errors
/// [`Code::Unexpected`] if serving ends by itself.
pub async fn answer(
    node: Arc<Node>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Fault> {
    let upkeep = tokio::spawn(upkeep(node.clone()));
    let answering = Arc::new(Answering(node.clone()));
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        shutdown.await;
        drop(stop);
    };
    let late = async {
        let _ = stopped.await;
        time::sleep(node.settings().drain).await;
        farewell(&node);
        pending().await
    };
    let settings = Settings { drain: node.settings().drain + FAREWELL, ..*node.settings() };
    let served = tokio::select! {
        served = grpc::serve(listener, node.tls(), answering, &settings, shutdown) => served,
        never = late => never,
    };
    upkeep.abort();
    served.map_err(|error| Fault::new(Code::Unexpected, error.to_string()))
}

/// Whatever is under way ends, and tells its peer why; runs are kept.
fn farewell(node: &Node) {
    node.conversations().stop(&Fault::new(Code::Terminated, "the node was asked to stop"));
}

/// What happens by the clock and on SIGHUP.
async fn upkeep(node: Arc<Node>) {
    tokio::join!(age(&node), follow(&node));
}

/// Looks at what has grown old: a certificate is issued anew every day, and runs that nobody has gone on with in time are given up.
async fn age(node: &Node) {
    let clock = node.clock();
    let mut issued = clock.wall();
    loop {
        clock.sleep(NAP).await;
        if clock.wall().abs_diff(issued) >= REISSUE {
            match node.tls().credentials().reissue() {
                Ok(()) => {
                    issued = clock.wall();
                    tracing::info!("certificate reissued");
                }
                Err(error) => {
                    tracing::error!(%error, "the certificate could not be reissued; the old one stays");
                }
            }
        }
        run::expire(node);
    }
}

/// Takes changes of the configuration file.
async fn follow(node: &Node) {
    let mut look = time::interval(LOOK);
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let mut seen = modified(node);
    loop {
        tokio::select! {
            _ = look.tick() => {
                let now = modified(node);
                if now != seen {
                    seen = now;
                    reload(node);
                }
            }
            _ = hangup.recv() => reload(node),
        }
    }
}

fn modified(node: &Node) -> Option<std::time::SystemTime> {
    node.home().config().metadata().and_then(|metadata| metadata.modified()).ok()
}

fn reload(node: &Node) {
    match node.reload() {
        Ok(()) => tracing::info!("configuration read again"),
        Err(fault) => {
            tracing::error!(code = %fault.code, %fault, "the configuration can't be used; the old one stays")
        }
    }
}

/// Answers the calls of partners.
struct Answering(Arc<Node>);

impl Handler for Answering {
    async fn session(&self, peer: Peer, link: Link) -> Result<(), Status> {
        let span = tracing::info_span!("session", peer = self.name_of(&peer), job = Empty, run = Empty);
        self.answer(&peer, link).instrument(span).await
    }

    async fn ping(&self, _: Peer) -> Result<Pong, Status> {
        Ok(Pong { software: SOFTWARE.to_owned(), clock: self.0.clock().wall() })
    }
}

impl Answering {
    /// Every line that is logged meanwhile names the peer, and job and run once they are known.
    async fn answer(&self, peer: &Peer, link: Link) -> Result<(), Status> {
        let answered = run::answer(&self.0, peer, link, Arc::new(Silent)).await;
        self.0.tally().ended(&answered);
        match answered {
            Ok(None) => {
                tracing::info!("the peer took the statement of a finished run");
                Ok(())
            }
            Ok(Some(summary)) => {
                let (run, matches) = (&summary.run_id, summary.matches);
                tracing::info!(run, matches, rejected = summary.rows_rejected, "run complete");
                Ok(())
            }
            Err(fault) => {
                tracing::warn!(code = %fault.code, %fault, "session ended");
                let row = fault.refusal_row();
                Err(Status { code: row.grpc, text: row.cause })
            }
        }
    }

    fn name_of(&self, peer: &Peer) -> String {
        let config = self.0.config();
        let known = config.peers.iter().find(|(_, known)| known.key == peer.key);
        known.map_or_else(|| peer.key.to_string(), |(name, _)| name.clone())
    }
}
