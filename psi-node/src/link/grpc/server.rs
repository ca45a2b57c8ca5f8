//! The listening side.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Streaming, transport::Server};

use super::{
    MAX_HEADER_BYTES, MAX_HTTP2_FRAME_BYTES, MAX_STREAMS, Pong,
    wire::{
        self,
        v1::{
            self, PingRequest, PingResponse,
            exchange_server::{Exchange, ExchangeServer},
        },
    },
};
use crate::{
    link::{Link, LinkSender, MAX_FRAME_BYTES, Settings},
    tls::{
        NodeTls, Pins, TlsError,
        accept::{AcceptLimits, Connections, Peer, accept},
    },
};

/// Time for the sessions to end after they were cut.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// A call's end as the peer sees it: a code and a fixed text, so that no path or identifier can get into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {text}")]
pub struct Status {
    /// The gRPC status code.
    pub code: Code,
    /// What the peer's operator reads.
    pub text: &'static str,
}

impl From<Status> for tonic::Status {
    fn from(status: Status) -> Self {
        Self::new(status.code, status.text)
    }
}

/// What a listening node does for verified peers.
pub trait Handler: Send + Sync + 'static {
    /// Runs one session in a task of its own. When it returns, the frames that are still queued go out, then the
    /// stream ends with the error's status, or properly.
    fn session(&self, peer: Peer, link: Link) -> impl Future<Output = Result<(), Status>> + Send;

    /// Answers a ping.
    fn ping(&self, peer: Peer) -> impl Future<Output = Result<Pong, Status>> + Send;

    /// Is told of a caller that was turned away before it could say anything.
    fn turned_away(&self, from: SocketAddr, error: &TlsError) {
        tracing::info!(%from, %error, "turned away");
    }
}

/// Serving ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("serving failed: {0}")]
pub struct ServeError(String);

/// Serves `listener` until `shutdown` is ready; then takes no new connections, lets open sessions go on for
/// `settings.drain`, and cuts what is left.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: &NodeTls,
    handler: Arc<H>,
    settings: &Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let sessions = Sessions::default();
    let told = handler.clone();
    let turned_away = Arc::new(move |from, error: &TlsError| told.turned_away(from, error));
    let (incoming, connections) = accept(listener, tls, accept_limits(settings), turned_away);
    let service =
        Service { handler, pins: tls.pins().clone(), settings: *settings, sessions: sessions.clone() };
    // Only peers whose key is pinned get as far as asking; whatever else watches the node asks on loopback.
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ExchangeServer<Service<H>>>().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = http2(settings)
        .add_service(limited(service))
        .add_service(health)
        .serve_with_incoming_shutdown(incoming, async {
            let _ = stopped.await;
        });
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(|error| ServeError(error.to_string())),
        () = shutdown => drop(stop),
    }
    reporter.set_not_serving::<ExchangeServer<Service<H>>>().await;
    drain(serving, &connections, &sessions, settings.drain).await;
    Ok(())
}

async fn drain(
    mut serving: impl Future + Unpin,
    connections: &Connections,
    sessions: &Sessions,
    limit: Duration,
) {
    if timeout(limit, &mut serving).await.is_err() {
        tracing::warn!(open = connections.count(), "open connections are cut");
        connections.cut();
        let _ = timeout(AFTER_CUT, &mut serving).await;
    }
    if timeout(AFTER_CUT, sessions.ended()).await.is_err() {
        sessions.open().abort_all();
    }
}

fn accept_limits(settings: &Settings) -> AcceptLimits {
    AcceptLimits {
        handshake_timeout: settings.handshake_timeout,
        max_handshakes: settings.max_handshakes,
        max_connections: settings.max_connections,
    }
}

fn http2(settings: &Settings) -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .max_frame_size(MAX_HTTP2_FRAME_BYTES)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .http2_keepalive_interval(Some(settings.keepalive_interval))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout))
}

fn limited<H: Handler>(service: Service<H>) -> ExchangeServer<Service<H>> {
    ExchangeServer::new(service)
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES)
}

/// The tasks of the open sessions.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<JoinSet<()>>>);

impl Sessions {
    fn open(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        let mut open = self.open();
        while open.try_join_next().is_some() {}
        open.spawn(session);
    }

    async fn ended(&self) {
        std::future::poll_fn(|cx| {
            let mut open = self.open();
            loop {
                match open.poll_join_next(cx) {
                    std::task::Poll::Ready(Some(_)) => {}
                    std::task::Poll::Ready(None) => return std::task::Poll::Ready(()),
                    std::task::Poll::Pending => return std::task::Poll::Pending,
                }
            }
        })
        .await;
    }
}

struct Service<H> {
    handler: Arc<H>,
    pins: Pins,
    settings: Settings,
    sessions: Sessions,
}

impl<H: Handler> Service<H> {
    /// The connection's peer, if its key is still pinned.
    fn peer<T>(&self, request: &Request<T>) -> Result<Peer, Status> {
        let peer = request.extensions().get::<Peer>();
        let unknown = Status { code: Code::Unauthenticated, text: "the caller's key is not pinned here" };
        peer.filter(|peer| self.pins.contains(&peer.key)).cloned().ok_or(unknown)
    }

    /// Runs the handler in a task of its own: it goes on when the peer is gone, so that it can put things in order.
    fn start(&self, peer: Peer, incoming: Streaming<v1::Frame>) -> Frames {
        let (queue, items) = mpsc::channel(self.settings.queue.max(1));
        let (last, ending) = mpsc::channel(1);
        let link = Link {
            sender: LinkSender::new(queue, self.settings.idle_timeout),
            receiver: wire::receiver(incoming, peer.traffic.clone(), self.settings.idle_timeout),
        };
        let handler = self.handler.clone();
        self.sessions.spawn(async move {
            if let Err(status) = handler.session(peer, link).await {
                // Nobody waits for it when the peer has gone.
                let _ = last.send(Err(status.into())).await;
            }
        });
        let frames = ReceiverStream::new(items).map(|item| Ok(wire::encode(item)));
        Box::pin(frames.chain(ReceiverStream::new(ending)))
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<v1::Frame, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl<H: Handler> Exchange for Service<H> {
    type SessionStream = Frames;

    async fn session(
        &self,
        request: Request<Streaming<v1::Frame>>,
    ) -> Result<Response<Frames>, tonic::Status> {
        let peer = self.peer(&request)?;
        Ok(Response::new(self.start(peer, request.into_inner())))
    }

    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PingResponse>, tonic::Status> {
        let Pong { software, clock } = self.handler.ping(self.peer(&request)?).await?;
        Ok(Response::new(PingResponse { software, unix_ms: clock.as_millis() as u64 }))
    }
}
